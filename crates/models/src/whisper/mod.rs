//! Whisper: speech to text with timestamps.
//!
//! Radford et al. 2022, "Robust Speech Recognition via Large-Scale Weak Supervision"; layout and
//! tensor names of the Hugging Face checkpoints (`WhisperForConditionalGeneration`), rules of
//! decoding of openai/whisper. Golden test: `tests/whisper.rs` with tiny-whisper (80 mel bins) and
//! tiny-whisper-v3 (128).

mod companion;
mod config;
mod decoder;
mod encoder;
mod layers;
mod memory;
mod model;
mod rules;
mod vocabulary;
mod writer;

use std::sync::Arc;

use candle_core::Device;

use crate::checkpoint::Checkpoint;
use crate::load::{Files, LoadError};

pub use companion::WhisperCompanion;
pub(crate) use memory::need;
pub use model::{Features, WhisperModel};

/// Loads a checkpoint: `config.json`, `generation_config.json` (may be absent), `tokenizer.json`
/// and safetensors of any float type. Arithmetic is in F32.
///
/// # Errors
/// [`LoadError`] says which file is missing, damaged, or asks for what is not built here.
pub fn load(
    files: &Files,
    device: &Device,
) -> Result<(Arc<WhisperCompanion>, WhisperModel), LoadError> {
    let config = config::Config::load(files)?;
    let generation = config::Generation::load(files, &config)?;
    let companion = WhisperCompanion::load(files, &config, &generation)?;
    let checkpoint = Checkpoint::open(files)?;
    let model = WhisperModel::load(&config, &checkpoint, device)?;
    Ok((Arc::new(companion), model))
}
