//! The half that the device thread owns: encoder, decoder, and the caches of live transcripts.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use candle_core::{Device, Tensor};
use engine::model::{BLOCK_TOKENS, CacheShape, Prelude, Rows, SequenceId, Step, StepModel};
use tasks::Failure;

use super::config::Config;
use super::decoder::{Decoder, Part, TranscriptCache};
use super::encoder::Encoder;
use super::layers::Weights;
use crate::audio::mel::FRAMES;
use crate::checkpoint::Checkpoint;
use crate::load::LoadError;

/// Memory that the caches of live transcripts may take, in bytes.
const CACHE_MAX_BYTES: usize = 1 << 30;
/// Transcripts that may be live at once, within [`CACHE_MAX_BYTES`] or alone.
const SEQUENCES: RangeInclusive<usize> = 1..=16;

/// The log-mel features of up to 30 s: `[mel bins, 3000]`, row-major.
#[derive(Debug, Clone)]
pub struct Features(Vec<f32>);

impl Features {
    pub(super) fn new(mel: Vec<f32>) -> Self {
        Self(mel)
    }

    /// `[mel bins, 3000]`, row-major.
    pub fn mel(&self) -> &[f32] {
        &self.0
    }
}

/// Whisper on one device. Its prelude is [`Features`].
pub struct WhisperModel {
    encoder: Encoder,
    decoder: Decoder,
    config: Config,
    device: Device,
    live: HashMap<SequenceId, TranscriptCache>,
}

impl WhisperModel {
    pub(super) fn load(
        config: &Config,
        checkpoint: &Checkpoint,
        device: &Device,
    ) -> Result<Self, LoadError> {
        let weights = Weights::new(checkpoint, device, "model");
        Ok(Self {
            encoder: Encoder::load(&weights.pp("encoder"), config)?,
            decoder: Decoder::load(&weights.pp("decoder"), config)?,
            config: config.clone(),
            device: device.clone(),
            live: HashMap::new(),
        })
    }

    /// Encoder states `[1500, d_model]` of features.
    ///
    /// # Errors
    /// [`Failure::Internal`] for features of another size, or a device that failed.
    pub fn encode(&self, features: &Features) -> Result<Tensor, Failure> {
        let shape = (self.config.num_mel_bins, FRAMES);
        Tensor::from_slice(features.mel(), shape, &self.device)
            .and_then(|mel| self.encoder.forward(&mel))
            .map_err(|error| internal(&error))
    }

    fn parts<'a>(&'a self, step: &Step) -> Result<Vec<Part<'a>>, Failure> {
        let window = self.config.max_target_positions;
        if let Some(token) = step
            .tokens
            .iter()
            .find(|&&token| token as usize >= self.config.vocab_size)
        {
            return Err(Failure::Internal(format!(
                "token {token} is outside of the vocabulary"
            )));
        }
        step.spans
            .iter()
            .map(|span| {
                if span.start + span.rows.len() > window {
                    return Err(Failure::Internal(format!(
                        "a transcript of more than {window} tokens"
                    )));
                }
                let cache = self.live.get(&span.sequence).ok_or_else(|| {
                    Failure::Internal(format!("{:?} was not admitted", span.sequence))
                })?;
                Ok(Part {
                    rows: span.rows.clone(),
                    start: span.start,
                    cache,
                })
            })
            .collect()
    }
}

/// Transcripts that may be live at once.
pub(super) fn sequences(config: &Config) -> usize {
    let fit = CACHE_MAX_BYTES / Decoder::cache_bytes(config).max(1);
    fit.clamp(*SEQUENCES.start(), *SEQUENCES.end())
}

impl StepModel for WhisperModel {
    /// Each transcript has a window of its own, so block tables count but are not read.
    fn cache(&self) -> CacheShape {
        let sequences = sequences(&self.config);
        CacheShape {
            blocks: sequences * self.config.max_target_positions.div_ceil(BLOCK_TOKENS),
            sequences,
        }
    }

    fn admit(&mut self, sequence: SequenceId, prelude: Option<Prelude>) -> Result<(), Failure> {
        let features = prelude
            .and_then(|prelude| prelude.downcast::<Features>().ok())
            .ok_or_else(|| Failure::Internal("a transcript without features".into()))?;
        let states = self.encode(&features)?;
        let cache = self
            .decoder
            .listen(&states)
            .map_err(|error| internal(&error))?;
        self.live.insert(sequence, cache);
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Result<Rows, Failure> {
        let parts = self.parts(step)?;
        let wanted: Vec<u32> = step
            .spans
            .iter()
            .filter(|span| span.wants_logits && !span.rows.is_empty())
            .map(|span| span.rows.end as u32 - 1)
            .collect();
        let width = self.config.vocab_size;
        if step.tokens.is_empty() {
            return Ok(Rows {
                width,
                logits: Vec::new(),
            });
        }
        let logits = self
            .decoder
            .forward(&step.tokens, &parts, &wanted)
            .map_err(|error| internal(&error))?;
        Ok(Rows { width, logits })
    }

    fn release(&mut self, sequence: SequenceId) {
        self.live.remove(&sequence);
    }
}

fn internal(error: &candle_core::Error) -> Failure {
    Failure::Internal(format!("whisper: {error}"))
}
