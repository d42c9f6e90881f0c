//! Whisper on flat rows for the CPU, on `kernels`, without tensors.

mod decoder;
mod encoder;
mod layer;
mod linear;

use kernels::NoBlock;

use self::decoder::Decoder;
use self::encoder::Encoder;
use super::align::Scores;
use super::config::{Config, Head};
use super::network::{Part, Places};
use crate::checkpoint::Checkpoint;
use crate::load::LoadError;
use crate::quality::Quality;

/// Encoder and decoder.
#[derive(Debug)]
pub(super) struct Flat {
    encoder: Encoder,
    decoder: Decoder,
}

impl Flat {
    pub(super) fn read(
        checkpoint: &Checkpoint,
        config: &Config,
        alignment: &[Head],
        places: Places,
        quality: Quality,
    ) -> Result<Self, LoadError> {
        Ok(Self {
            encoder: Encoder::read(checkpoint, config, quality)?,
            decoder: Decoder::read(checkpoint, config, alignment, places, quality)?,
        })
    }

    /// Encoder states `[ENCODER_POSITIONS, width]` of features.
    pub(super) fn encode(&mut self, features: &[f32]) -> Result<&[f32], NoBlock> {
        self.encoder.forward(features)
    }

    /// Has a slot listen to features.
    pub(super) fn listen(&mut self, slot: usize, features: &[f32]) -> Result<(), NoBlock> {
        let states = self.encoder.forward(features)?;
        self.decoder.listen(slot, states)
    }

    /// See [`super::network::Network::forward`].
    pub(super) fn forward(
        &mut self,
        parts: &[Part<'_>],
        wanted: &[usize],
    ) -> Result<Vec<f32>, NoBlock> {
        self.decoder.forward(parts, wanted)
    }

    /// See [`super::network::Network::scores`].
    pub(super) fn scores(&mut self, part: Part<'_>, positions: usize) -> Result<Scores, NoBlock> {
        self.decoder.scores(part, positions)
    }

    /// See [`super::network::Network::copy`].
    pub(super) fn copy(&mut self, from: usize, to: usize, positions: usize) -> Result<(), NoBlock> {
        self.decoder.copy(from, to, positions)
    }

    /// Logits of rows of the last pass.
    pub(super) fn logits(&mut self, wanted: &[usize]) -> Vec<f32> {
        self.decoder.logits(wanted)
    }
}
