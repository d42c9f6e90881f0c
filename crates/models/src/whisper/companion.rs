//! The shared half: decodes audio, hears features, and sets up rules and writer.

use std::sync::Arc;

use engine::model::{Admission, StepCompanion};
use tasks::{Failure, Sampling, Transcribe, TranscribeOptions, TranscribeRequest};

use super::config::{Config, Generation};
use super::model::Features;
use super::rules::TranscriptRules;
use super::vocabulary::Vocabulary;
use super::writer::TranscriptWriter;
use crate::audio::decode::decode;
use crate::audio::mel::{CHUNK_SECONDS, LogMel};
use crate::load::{Files, LoadError};

/// The most tokens of one transcript: half of the decoder's 448, as in the reference
/// implementation.
const TRANSCRIPT_MAX_TOKENS: usize = 224;

/// Prepares audio for [`super::WhisperModel`].
pub struct WhisperCompanion {
    vocabulary: Arc<Vocabulary>,
    generation: Arc<Generation>,
    mel: LogMel,
    window: usize,
}

impl WhisperCompanion {
    pub(super) fn load(
        files: &Files,
        config: &Config,
        generation: &Generation,
    ) -> Result<Self, LoadError> {
        Ok(Self {
            vocabulary: Arc::new(Vocabulary::load(files, config)?),
            generation: Arc::new(generation.clone()),
            mel: LogMel::new(config.num_mel_bins),
            window: config.max_target_positions,
        })
    }

    /// Features of mono samples at 16 kHz, padded with silence to 30 s.
    ///
    /// # Errors
    /// [`Failure::Internal`] when the transform breaks a promise.
    pub fn features(&self, samples: &[f32]) -> Result<Features, Failure> {
        self.mel
            .features(samples)
            .map(Features::new)
            .map_err(Failure::Internal)
    }
}

impl StepCompanion<Transcribe> for WhisperCompanion {
    fn admit(&self, request: TranscribeRequest) -> Result<Admission<Transcribe>, Failure> {
        serves(&request.options)?;
        let audio = decode(request.audio, CHUNK_SECONDS)?;
        let features = self.features(&audio.samples)?;
        let tokens = vec![self.vocabulary.start];
        let lead = TranscriptRules::lead(&self.generation);
        Ok(Admission {
            max_new_tokens: (lead + TRANSCRIPT_MAX_TOKENS).min(self.window - tokens.len()),
            tokens,
            sampling: Sampling::greedy(),
            rules: Some(Box::new(TranscriptRules {
                vocabulary: self.vocabulary.clone(),
                generation: self.generation.clone(),
            })),
            prelude: Some(Box::new(features)),
            writer: Box::new(TranscriptWriter::new(
                self.vocabulary.clone(),
                audio.seconds,
            )),
        })
    }
}

/// Refuses what this model cannot do yet, rather than leaving it out. Times of words are left out:
/// an answer without them is in the contract.
fn serves(options: &TranscribeOptions) -> Result<(), Failure> {
    let plain = TranscribeOptions {
        words: options.words,
        ..TranscribeOptions::default()
    };
    if *options == plain {
        return Ok(());
    }
    Err(Failure::Unsupported(
        "options of speech recognition (task, language, vad_filter, prompts, thresholds) are not \
         served by this version of hearth"
            .into(),
    ))
}
