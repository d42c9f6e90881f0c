//! Encoder and decoder on whatever device there is: flat rows on the CPU, tensors elsewhere.

use candle_core::{Device, Tensor};
use kernels::NoBlock;
use tasks::Failure;

use super::align::Scores;
use super::config::{Config, Head};
use super::decoder::{Decoder, HeardCache, OwnCache};
use super::encoder::Encoder;
use super::flat::Flat;
use super::layers::Weights;
use crate::audio::mel::FRAMES;
use crate::checkpoint::Checkpoint;
use crate::load::LoadError;
use crate::quality::Quality;

/// Windows that go through the layers of a device in one pass: some thousands of rows keep it busy, and a
/// turn stays short for those who wait for their tokens.
pub(super) const WINDOWS_TOGETHER: usize = 4;

/// How many transcripts there may be at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places {
    /// Places that listen, each with a cache of its tokens.
    pub(super) slots: usize,
    /// More caches of tokens, for beams.
    pub(super) more: usize,
}

impl Places {
    pub(super) fn caches(self) -> usize {
        self.slots + self.more
    }
}

/// Rows of one transcript in a pass.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part<'a> {
    /// The place that has listened to its sound.
    pub(super) slot: usize,
    /// The cache of its tokens.
    pub(super) cache: usize,
    /// Position of the first row; what lies before it is in the cache.
    pub(super) start: usize,
    pub(super) tokens: &'a [u32],
}

/// The checkpoint on its device.
pub(super) enum Network {
    Flat(Box<Flat>),
    Tensors(Box<Tensors>),
}

pub(super) struct Tensors {
    encoder: Encoder,
    decoder: Decoder,
    bins: usize,
    alignment: Vec<Head>,
    slots: Vec<Option<HeardCache>>,
    /// Made when they are first written.
    caches: Vec<Option<OwnCache>>,
    /// Rows of the last pass, `[rows, width]`.
    hidden: Option<Tensor>,
    device: Device,
}

impl Network {
    /// Reads a checkpoint for so many slots, of each of which the cache of tokens has its number, and so many
    /// more caches.
    pub(super) fn load(
        checkpoint: &Checkpoint,
        config: &Config,
        alignment: &[Head],
        places: Places,
        (device, quality): (&Device, Quality),
    ) -> Result<Self, LoadError> {
        if device.is_cpu() {
            let flat = Flat::read(checkpoint, config, alignment, places, quality)?;
            return Ok(Self::Flat(Box::new(flat)));
        }
        Self::load_tensors(checkpoint, config, alignment, places, device)
    }

    /// The same as tensors of float32, on any device.
    pub(super) fn load_tensors(
        checkpoint: &Checkpoint,
        config: &Config,
        alignment: &[Head],
        places: Places,
        device: &Device,
    ) -> Result<Self, LoadError> {
        let weights = Weights::new(checkpoint, device, "model");
        Ok(Self::Tensors(Box::new(Tensors {
            encoder: Encoder::load(&weights.pp("encoder"), config)?,
            decoder: Decoder::load(&weights.pp("decoder"), config)?,
            bins: config.num_mel_bins,
            alignment: alignment.to_vec(),
            slots: (0..places.slots).map(|_| None).collect(),
            caches: (0..places.caches()).map(|_| None).collect(),
            hidden: None,
            device: device.clone(),
        })))
    }

    /// Encoder states `[ENCODER_POSITIONS, width]` of features `[bins, FRAMES]`.
    pub(super) fn encode(&mut self, features: &[f32]) -> Result<Vec<f32>, Failure> {
        match self {
            Self::Flat(flat) => Ok(flat.encode(features).map_err(lost)?.to_vec()),
            Self::Tensors(tensors) => tensors
                .encode(&[features])
                .and_then(|states| states.flatten_all()?.to_vec1())
                .map_err(|error| broken(&error)),
        }
    }

    /// Windows that are listened to in one pass. A processor's core is busy with the rows of one, and others
    /// would wait longer for their tokens.
    pub(super) fn windows_together(&self) -> usize {
        match self {
            Self::Flat(_) => 1,
            Self::Tensors(_) => WINDOWS_TOGETHER,
        }
    }

    /// Has slots listen to features `[bins, FRAMES]`, each to its own; the work of one pass for at most
    /// [`Network::windows_together`].
    pub(super) fn listen(&mut self, heard: &[(usize, &[f32])]) -> Result<(), Failure> {
        match self {
            Self::Flat(flat) => heard
                .iter()
                .try_for_each(|(slot, features)| flat.listen(*slot, features))
                .map_err(lost),
            Self::Tensors(tensors) => {
                let features: Vec<_> = heard.iter().map(|(_, features)| *features).collect();
                let caches = tensors
                    .encode(&features)
                    .and_then(|states| tensors.decoder.listen(&states))
                    .map_err(|error| broken(&error))?;
                for ((slot, _), cache) in heard.iter().zip(caches) {
                    tensors.slots[*slot] = Some(cache);
                }
                Ok(())
            }
        }
    }

    /// One pass over all rows of `parts`; gives the logits `[wanted.len(), vocabulary]` of the rows
    /// `wanted`. Tokens must be of the vocabulary, positions of the window.
    pub(super) fn forward(
        &mut self,
        parts: &[Part<'_>],
        wanted: &[usize],
    ) -> Result<Vec<f32>, Failure> {
        match self {
            Self::Flat(flat) => flat.forward(parts, wanted).map_err(lost),
            Self::Tensors(tensors) => {
                tensors.run(parts, None)?;
                tensors.logits(wanted)
            }
        }
    }

    /// One pass over a part from position 0, and the scores of its alignment heads over the first
    /// `positions` of the sound.
    pub(super) fn scores(&mut self, part: Part<'_>, positions: usize) -> Result<Scores, Failure> {
        match self {
            Self::Flat(flat) => flat.scores(part, positions).map_err(lost),
            Self::Tensors(tensors) => {
                let values = tensors.run(&[part], Some(positions))?;
                Ok(Scores {
                    values,
                    rows: part.tokens.len(),
                    positions,
                })
            }
        }
    }

    /// Logits of rows of the last pass.
    pub(super) fn logits(&mut self, wanted: &[usize]) -> Result<Vec<f32>, Failure> {
        match self {
            Self::Flat(flat) => Ok(flat.logits(wanted)),
            Self::Tensors(tensors) => tensors.logits(wanted),
        }
    }

    /// Makes the first `positions` of a cache of tokens those of another.
    pub(super) fn copy(&mut self, from: usize, to: usize, positions: usize) -> Result<(), Failure> {
        match self {
            Self::Flat(flat) => flat.copy(from, to, positions).map_err(lost),
            Self::Tensors(tensors) => {
                let copy = tensors.caches[from].as_ref().map(OwnCache::copy);
                tensors.caches[to] = copy.transpose().map_err(|error| broken(&error))?;
                Ok(())
            }
        }
    }

    /// Forgets what a slot listened to.
    pub(super) fn release(&mut self, slot: usize) {
        if let Self::Tensors(tensors) = self {
            tensors.slots[slot] = None;
            tensors.caches[slot] = None;
        }
    }

    /// Gives back the memory of a cache that no slot has, where the device can.
    pub(super) fn release_cache(&mut self, cache: usize) {
        if let Self::Tensors(tensors) = self {
            tensors.caches[cache] = None;
        }
    }
}

impl Tensors {
    /// States `[windows * ENCODER_POSITIONS, width]` of windows' features.
    fn encode(&self, features: &[&[f32]]) -> candle_core::Result<Tensor> {
        let shape = (features.len(), self.bins, FRAMES);
        let features = Tensor::from_vec(features.concat(), shape, &self.device)?;
        self.encoder.forward(&features)
    }

    /// All layers over all rows; gives the scores of the alignment heads over the first positions, where
    /// those are wanted.
    fn run(&mut self, parts: &[Part<'_>], positions: Option<usize>) -> Result<Vec<f32>, Failure> {
        for part in parts {
            if let Some(cache) = self.caches.get_mut(part.cache)
                && cache.is_none()
            {
                *cache = Some(self.decoder.own_cache().map_err(|error| broken(&error))?);
            }
        }
        let caches: Vec<_> = parts
            .iter()
            .map(|part| {
                let heard = self.slots.get(part.slot).and_then(Option::as_ref);
                let own = self.caches.get(part.cache).and_then(Option::as_ref);
                own.zip(heard)
                    .ok_or_else(|| Failure::Internal("a slot that has heard nothing".into()))
            })
            .collect::<Result<_, _>>()?;
        let wanted = positions.map(|positions| (self.alignment.as_slice(), positions));
        let (hidden, scores) = self
            .decoder
            .forward(parts, &caches, wanted)
            .map_err(|error| broken(&error))?;
        self.hidden = Some(hidden);
        Ok(scores)
    }

    fn logits(&self, wanted: &[usize]) -> Result<Vec<f32>, Failure> {
        match &self.hidden {
            Some(hidden) if !wanted.is_empty() => self
                .decoder
                .logits(hidden, wanted)
                .map_err(|error| broken(&error)),
            _ => Ok(Vec::new()),
        }
    }
}

fn broken(error: &candle_core::Error) -> Failure {
    Failure::Internal(format!("whisper: {error}"))
}

fn lost(error: NoBlock) -> Failure {
    Failure::Internal(format!("whisper: {error}"))
}
