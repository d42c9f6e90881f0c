//! Whisper: speech to text with timestamps.
//!
//! Radford et al. 2022, "Robust Speech Recognition via Large-Scale Weak Supervision"; layout and
//! tensor names of the Hugging Face checkpoints (`WhisperForConditionalGeneration`), rules of
//! decoding of openai/whisper. Golden test: `tests/whisper.rs` with tiny-whisper (80 mel bins) and
//! tiny-whisper-v3 (128).

mod align;
mod attempt;
mod beams;
mod companion;
mod config;
mod decoder;
mod encoder;
mod flat;
mod layers;
mod memory;
mod model;
mod network;
mod rules;
mod seek;
mod segment;
mod session;
mod vocabulary;
mod words;

use std::sync::Arc;

use candle_core::Device;

use crate::checkpoint::Checkpoint;
use crate::load::{Files, LoadError};
use crate::quality::Quality;

pub(crate) use companion::VOICE_WEIGHTS;
pub use companion::WhisperCompanion;
pub(crate) use memory::need;
pub use model::{Features, SlotRows, WhisperModel};
pub use session::Hearing;

/// Loads a checkpoint: `config.json`, `generation_config.json` (may be absent), `tokenizer.json`
/// and safetensors of any float type. The CPU computes on flat rows, with floats as they are or rounded to
/// eight bits; other devices compute in F32.
///
/// # Errors
/// [`LoadError`] says which file is missing, damaged, or asks for what is not built here.
pub fn load(
    files: &Files,
    device: &Device,
    quality: Quality,
) -> Result<(Arc<WhisperCompanion>, WhisperModel), LoadError> {
    let parts = Parts::load(files)?;
    let model = WhisperModel::load(
        &parts.config,
        parts.words(),
        &parts.checkpoint,
        device,
        quality,
    )?;
    Ok((parts.companion(files), model))
}

/// Loads a checkpoint as tensors of F32 on any device: what devices other than the CPU do.
///
/// # Errors
/// As [`load`].
pub fn load_tensors(
    files: &Files,
    device: &Device,
) -> Result<(Arc<WhisperCompanion>, WhisperModel), LoadError> {
    let parts = Parts::load(files)?;
    let model =
        WhisperModel::load_tensors(&parts.config, parts.words(), &parts.checkpoint, device)?;
    Ok((parts.companion(files), model))
}

/// The files of a checkpoint, read.
struct Parts {
    config: config::Config,
    generation: Arc<config::Generation>,
    vocabulary: Arc<vocabulary::Vocabulary>,
    checkpoint: Checkpoint,
}

impl Parts {
    fn load(files: &Files) -> Result<Self, LoadError> {
        let config = config::Config::load(files)?;
        Ok(Self {
            generation: Arc::new(config::Generation::load(files, &config)?),
            vocabulary: Arc::new(vocabulary::Vocabulary::load(files, &config)?),
            checkpoint: Checkpoint::open(files)?,
            config,
        })
    }

    fn words(&self) -> (Arc<vocabulary::Vocabulary>, Arc<config::Generation>) {
        (self.vocabulary.clone(), self.generation.clone())
    }

    fn companion(&self, files: &Files) -> Arc<WhisperCompanion> {
        let (vocabulary, generation) = self.words();
        let companion = WhisperCompanion::new(files, &self.config, vocabulary, generation);
        Arc::new(companion)
    }
}
