//! The decoder of the Llama family and its relatives, over flat ragged batches and a paged cache.
//!
//! One implementation for all checkpoints whose differences [`DecoderConfig`] can say: Llama, Mistral,
//! Mixtral, Granite, Qwen 2 and 3 with and without experts, Gemma 1 to 3, Phi 1 and 2, Falcon 7B and
//! GPT-OSS. Follows the `modeling_*.py` of transformers; the tests named `golden` compare it with
//! those, and a quantised checkpoint with the same weights dequantised to float32.

mod attention;
mod config;
mod experts;
mod feed_forward;
mod flat;
mod layer;
mod layout;
mod lora;
mod memory;
mod norm;
mod pool;
mod rope;
mod source;

use std::collections::HashMap;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use engine::model::{CacheShape, Prelude, Recall, Rows, SequenceId, Step, StepModel};
use kernels::Precision;
use tasks::Failure;

pub use attention::CachePrecision;
pub use config::{
    Activation, Attention, Block, DecoderConfig, Experts, Factors, FeedForward, Local, Norm,
    NormKind, Rope, Scaling, Yarn,
};

use crate::device::float_type;
use crate::fit::Fit;
use crate::linear::{Embedding, Linear};
use crate::load::{Files, LoadError};
use crate::text::{ChatCompanion, Text};
use attention::{Plan, Tile};
pub(crate) use config::from_json;
use flat::Flat;
use layer::Layer;
pub(crate) use layout::Layout;
pub(crate) use lora::Shelf;
use lora::{Adapter, Deltas, Lora};
pub(crate) use memory::need;
pub(crate) use rope::Rotation;
use source::{Matrix, Scope, Source};

/// How finely packed weights round their inputs: SmolLM2's perplexity is 0.14 percent from float32's, with [`Precision::Fast`]
/// 0.6 percent.
const PRECISION: Precision = Precision::Outliers;
/// Half a cache's bytes are half the memory and, for long sequences, near half the time of a token.
const CACHE_PRECISION: CachePrecision = CachePrecision::Half;
/// Sequences that may be live at once.
const SEQUENCES: usize = 64;

/// A decoder on its device.
#[derive(Debug)]
pub struct Decoder {
    config: DecoderConfig,
    embedding: Embedding,
    /// None, where they are computed without tensors.
    layers: Vec<Layer>,
    flat: Option<Flat>,
    /// Memory of logits that were used.
    spare: Vec<f32>,
    norm: norm::Norm,
    head: Linear,
    rotation: Rotation,
    /// Of the layers that see the newest positions only.
    local_rotation: Option<Rotation>,
    /// Of the live sequences that have one.
    adapters: HashMap<SequenceId, Arc<Adapter>>,
    blocks: usize,
    dtype: DType,
    device: Device,
}

/// Loads a checkpoint: `model.gguf`, or safetensors with `config.json`, and its text side.
pub fn load(files: &Files, device: &Device) -> Result<(Arc<ChatCompanion>, Decoder), LoadError> {
    load_within(files, device, Fit::default())
}

/// As [`load`], with a cache for the memory and the window that are given.
pub fn load_within(
    files: &Files,
    device: &Device,
    fit: Fit,
) -> Result<(Arc<ChatCompanion>, Decoder), LoadError> {
    let (source, config) = Source::open(files)?;
    let text = match source.gguf() {
        Some(gguf) => Text::from_gguf(files, gguf)?,
        None => Text::from_files(files)?,
    };
    let shelf = fit.adapters.then(|| Shelf::new(&config)).flatten();
    let companion = ChatCompanion::new(text, config.vocabulary, config.window)?;
    let companion = companion.with_adapters(shelf);
    crate::program::give_back(); // what was read of it for this far
    let decoder = Decoder::read(files, &source, config, device, (fit, CACHE_PRECISION))?;
    Ok((Arc::new(companion), decoder))
}

impl Decoder {
    /// Loads the model without its text side.
    pub fn load(files: &Files, device: &Device) -> Result<Self, LoadError> {
        Self::load_with(files, device, CACHE_PRECISION)
    }

    /// The same, with a cache of this precision.
    pub fn load_with(
        files: &Files,
        device: &Device,
        cache: CachePrecision,
    ) -> Result<Self, LoadError> {
        let (source, config) = Source::open(files)?;
        Self::read(files, &source, config, device, (Fit::default(), cache))
    }

    /// The shape of the model.
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    fn read(
        files: &Files,
        source: &Source,
        config: DecoderConfig,
        device: &Device,
        (fit, cache): (Fit, CachePrecision),
    ) -> Result<Self, LoadError> {
        let dtype = float_type(device, source.elements());
        let packs = source.packs(files, device, dtype);
        let outside = Scope {
            source,
            packs: &packs,
            layer: None,
            dtype,
            device,
            precision: PRECISION,
        };
        let embedding = outside.embedding(&config)?;
        let blocks = memory::cache_blocks(source, &config, device, fit);
        let layers: Vec<_> = (0..config.layers)
            .map(|layer| {
                let scope = Scope {
                    layer: Some(layer),
                    ..outside
                };
                Layer::load(&scope, &config, layer, blocks, cache)
            })
            .collect::<Result<_, _>>()?;
        let name = source.layout().final_norm;
        let norm = norm::Norm::load(&outside, name, config.hidden, config.norm)?;
        let head = head(&outside, &config, &embedding)?;
        packs.finish();
        let flat = Flat::of(&config, blocks, &layers, (&embedding, &norm, &head));
        let layers = if flat.is_some() { Vec::new() } else { layers };
        Ok(Self {
            norm,
            head,
            embedding,
            layers,
            flat,
            spare: Vec::new(),
            rotation: Rotation::new(&config.rope),
            local_rotation: config
                .local
                .as_ref()
                .map(|local| Rotation::new(&local.rope)),
            adapters: HashMap::new(),
            blocks,
            dtype,
            device: device.clone(),
            config,
        })
    }

    /// What layers share in this step: those that see everything, or the newest positions only.
    fn plan<'a>(
        &self,
        step: &'a Step,
        rotation: &Rotation,
        window: Option<usize>,
    ) -> candle_core::Result<Plan<'a>> {
        let positions: Vec<usize> = step
            .spans
            .iter()
            .flat_map(|span| span.start..span.start + span.rows.len())
            .collect();
        let tiled = self.layers.iter().any(Layer::needs_tiles);
        let spans = step.spans.iter().filter(|_| tiled);
        Ok(Plan {
            step,
            angles: rotation.angles(&positions, self.dtype, &self.device)?,
            tiles: spans
                .map(|span| Tile::cut(span, window, &self.device))
                .collect::<candle_core::Result<_>>()?,
        })
    }

    /// Logits `[rows that want them, vocabulary]`; `None` where none does.
    fn forward(&mut self, step: &Step) -> candle_core::Result<Option<Tensor>> {
        let plan = self.plan(step, &self.rotation, None)?;
        let local_plan = match (&self.config.local, &self.local_rotation) {
            (Some(local), Some(rotation)) => Some(self.plan(step, rotation, Some(local.window))?),
            _ => None,
        };
        let deltas = Deltas::of(step, &self.adapters);
        let factors = self.config.factors;
        let mut rows = self.embedding.rows(&step.tokens, &self.device)?;
        if let Some(factor) = factors.embedding {
            rows = (rows * factor)?;
        }
        for (number, layer) in self.layers.iter_mut().enumerate() {
            let local = self.config.local(number).and(local_plan.as_ref());
            let lora = Lora::of(deltas.as_ref(), number);
            rows = layer.forward(&rows, local.unwrap_or(&plan), lora)?;
        }
        let wanted: Vec<u32> = step.logit_rows().map(|row| row as u32).collect();
        if wanted.is_empty() {
            return Ok(None);
        }
        let rows = rows.index_select(&Tensor::new(wanted.as_slice(), &self.device)?, 0)?;
        let logits = self.head.forward(&self.norm.forward(&rows)?)?;
        let mut logits = logits.to_dtype(DType::F32)?;
        if let Some(factor) = factors.logits {
            logits = (logits * factor)?;
        }
        if let Some(cap) = self.config.logit_cap {
            logits = ((logits / cap)?.tanh()? * cap)?;
        }
        Ok(Some(logits))
    }
}

/// The projection to logits: its own weights, or the embedding's.
fn head(
    outside: &Scope,
    config: &DecoderConfig,
    embedding: &Embedding,
) -> Result<Linear, LoadError> {
    let name = outside.layout().head;
    if !config.tied_head.unwrap_or_else(|| !outside.has(name)) {
        return outside.linear(Matrix {
            name,
            inner: config.hidden,
            outer: config.vocabulary,
            bias: config.head_bias,
            part: None,
        });
    }
    let bias = config
        .head_bias
        .then(|| outside.bias(name, config.vocabulary));
    Ok(embedding.head(PRECISION, bias.transpose()?))
}

impl StepModel for Decoder {
    fn cache(&self) -> CacheShape {
        CacheShape {
            blocks: self.blocks,
            sequences: SEQUENCES,
        }
    }

    fn recall(&self) -> Recall {
        // Without layers on tensors, all are packed.
        let exact = self.head.keeps_rows_apart() && self.layers.iter().all(Layer::keeps_rows_apart);
        if exact { Recall::Blocks } else { Recall::Cuts }
    }

    fn admit(&mut self, sequence: SequenceId, prelude: Option<Prelude>) -> Result<(), Failure> {
        let Some(prelude) = prelude else {
            return Ok(());
        };
        let adapter = prelude.downcast::<Arc<Adapter>>().map_err(|_| {
            Failure::Internal("a decoder was given a prelude that is no adapter".to_owned())
        })?;
        self.adapters.insert(sequence, *adapter);
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Result<Rows, Failure> {
        check(step, self.config.vocabulary)?;
        let width = self.config.vocabulary;
        if let Some(flat) = &mut self.flat {
            let mut logits = std::mem::take(&mut self.spare);
            let deltas = Deltas::of(step, &self.adapters);
            return match flat.forward(step, deltas.as_ref(), &mut logits) {
                Ok(()) => Ok(Rows { width, logits }),
                Err(error) => Err(Failure::Internal(format!("a step of the decoder: {error}"))),
            };
        }
        let logits = self
            .forward(step)
            .and_then(|logits| {
                logits.map_or_else(|| Ok(Vec::new()), |logits| logits.flatten_all()?.to_vec1())
            })
            .map_err(|error| Failure::Internal(format!("a step of the decoder: {error}")))?;
        Ok(Rows { width, logits })
    }

    fn reuse(&mut self, rows: Rows) {
        self.spare = rows.logits;
    }

    // Blocks belong to the engine.
    fn release(&mut self, sequence: SequenceId) {
        self.adapters.remove(&sequence);
    }
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
        if span.logits > span.rows.len() {
            return Err(Failure::Internal(format!(
                "the logits of {} rows of a span of {}",
                span.logits,
                span.rows.len()
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
