//! The decoder of the Llama family, over flat ragged batches and a paged cache.
//!
//! One implementation for all checkpoints whose differences [`DecoderConfig`] can say. Follows
//! transformers' `modeling_llama.py`; the tests named `golden` compare it with that, and a quantised
//! checkpoint with the same weights dequantised to float32.

mod config;
mod layer;
mod memory;
mod pool;
mod rope;
mod source;

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use candle_nn::ops::rms_norm;
use engine::model::{CacheShape, Prelude, Rows, SequenceId, Step, StepModel};
use kernels::Precision;
use tasks::Failure;

pub use config::{DecoderConfig, Rope, Scaling};

use crate::device::float_type;
use crate::fit::Fit;
use crate::linear::{Embedding, Linear};
use crate::load::{Files, LoadError};
use crate::text::{ChatCompanion, Text};
use layer::{Layer, Plan, Tile};
pub(crate) use memory::need;
use rope::Rotation;
use source::{FINAL_NORM, HEAD, Scope, Source};

/// How finely packed weights round their inputs. With [`Precision::Fast`] SmolLM2's 20 largest logits
/// are up to 0.66 from float32, with this 0.003, and one stream reads the same bytes either way.
const PRECISION: Precision = Precision::Fine;
/// Sequences that may be live at once.
const SEQUENCES: usize = 64;

/// A decoder on its device.
#[derive(Debug)]
pub struct Decoder {
    config: DecoderConfig,
    embedding: Embedding,
    layers: Vec<Layer>,
    norm: Tensor,
    head: Linear,
    rotation: Rotation,
    blocks: usize,
    dtype: DType,
    device: Device,
}

/// Loads a checkpoint: `model.gguf`, or safetensors with `config.json`, and its text side.
pub fn load(files: &Files, device: &Device) -> Result<(Arc<ChatCompanion>, Decoder), LoadError> {
    load_within(files, device, Fit::default())
}

/// As [`load`], with a cache for the memory and the window that are given.
pub(crate) fn load_within(
    files: &Files,
    device: &Device,
    fit: Fit,
) -> Result<(Arc<ChatCompanion>, Decoder), LoadError> {
    let (source, config) = Source::open(files)?;
    let text = match &source {
        Source::Gguf(gguf) => Text::from_gguf(files, gguf)?,
        Source::HuggingFace(_) => Text::from_files(files)?,
    };
    let companion = ChatCompanion::new(text, config.vocabulary, config.window)?;
    let decoder = Decoder::read(&source, config, device, fit)?;
    Ok((Arc::new(companion), decoder))
}

impl Decoder {
    /// Loads the model without its text side.
    pub fn load(files: &Files, device: &Device) -> Result<Self, LoadError> {
        let (source, config) = Source::open(files)?;
        Self::read(&source, config, device, Fit::default())
    }

    /// The shape of the model.
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    fn read(
        source: &Source,
        config: DecoderConfig,
        device: &Device,
        fit: Fit,
    ) -> Result<Self, LoadError> {
        let dtype = float_type(device, source.elements());
        let outside = Scope {
            source,
            layer: None,
            dtype,
            device,
            precision: PRECISION,
        };
        let embedding = outside.embedding(&config)?;
        let tied = config.tied_head.unwrap_or_else(|| !source.has(HEAD));
        let head = if tied {
            embedding.head(PRECISION)
        } else {
            outside.linear(HEAD, config.hidden, config.vocabulary, false)?
        };
        let blocks = memory::cache_blocks(source, &config, device, fit);
        let layers = (0..config.layers)
            .map(|layer| {
                Layer::load(
                    &Scope {
                        layer: Some(layer),
                        ..outside
                    },
                    &config,
                    blocks,
                )
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            embedding,
            layers,
            norm: outside.weight(FINAL_NORM, &[config.hidden])?,
            head,
            rotation: Rotation::new(&config.rope, config.head_size),
            blocks,
            dtype,
            device: device.clone(),
            config,
        })
    }

    /// Logits `[spans that want them, vocabulary]`; `None` where no span does.
    fn forward(&mut self, step: &Step) -> candle_core::Result<Option<Tensor>> {
        let positions: Vec<usize> = step
            .spans
            .iter()
            .flat_map(|span| span.start..span.start + span.rows.len())
            .collect();
        let plan = Plan {
            step,
            angles: self.rotation.angles(&positions, self.dtype, &self.device)?,
            tiles: step
                .spans
                .iter()
                .map(|span| Tile::cut(&span.rows, span.start, &self.device))
                .collect::<candle_core::Result<_>>()?,
        };
        let mut rows = self.embedding.rows(&step.tokens, &self.device)?;
        for layer in &mut self.layers {
            rows = layer.forward(&rows, &plan)?;
        }
        let wanted = step.spans.iter().filter(|span| span.wants_logits);
        let wanted: Vec<u32> = wanted.map(|span| span.rows.end as u32 - 1).collect();
        if wanted.is_empty() {
            return Ok(None);
        }
        let rows = rows.index_select(&Tensor::new(wanted.as_slice(), &self.device)?, 0)?;
        let rows = rms_norm(&rows, &self.norm, self.config.norm_epsilon as f32)?;
        self.head.forward(&rows)?.to_dtype(DType::F32).map(Some)
    }
}

impl StepModel for Decoder {
    fn cache(&self) -> CacheShape {
        CacheShape {
            blocks: self.blocks,
            sequences: SEQUENCES,
        }
    }

    fn admit(&mut self, _: SequenceId, prelude: Option<Prelude>) -> Result<(), Failure> {
        match prelude {
            None => Ok(()),
            Some(_) => Err(Failure::Internal(
                "a decoder was given a prelude".to_owned(),
            )),
        }
    }

    fn step(&mut self, step: &Step) -> Result<Rows, Failure> {
        check(step, self.config.vocabulary)?;
        let width = self.config.vocabulary;
        let logits = self
            .forward(step)
            .and_then(|logits| {
                logits.map_or_else(|| Ok(Vec::new()), |logits| logits.flatten_all()?.to_vec1())
            })
            .map_err(|error| Failure::Internal(format!("a step of the decoder: {error}")))?;
        Ok(Rows { width, logits })
    }

    // Blocks belong to the engine, and nothing else is kept for a sequence.
    fn release(&mut self, _: SequenceId) {}
}

/// The promises of [`Step`] that arithmetic relies on.
fn check(step: &Step, vocabulary: usize) -> Result<(), Failure> {
    let mut at = 0;
    for span in &step.spans {
        if span.rows.start != at || span.rows.is_empty() {
            return Err(Failure::Internal(format!(
                "a span has the rows {:?} where {at} was next",
                span.rows
            )));
        }
        at = span.rows.end;
    }
    if at != step.tokens.len() || at == 0 {
        return Err(Failure::Internal(format!(
            "{} tokens for {at} rows",
            step.tokens.len()
        )));
    }
    match step
        .tokens
        .iter()
        .find(|&&token| token as usize >= vocabulary)
    {
        Some(token) => Err(Failure::Internal(format!(
            "token {token} of a vocabulary of {vocabulary}"
        ))),
        None => Ok(()),
    }
}
