//! The encoder on flat rows: two convolutions as products, and a transformer over 30 s of features.

use kernels::{
    Activations, Attention, Backend, CACHE_BLOCK_POSITIONS, Gate, NoBlock, PagedCache, Queries,
    gated,
};

use super::linear::{Linear, Norm, add, part};
use crate::audio::mel::FRAMES;
use crate::checkpoint::Checkpoint;
use crate::load::LoadError;
use crate::quality::Quality;
use crate::whisper::config::{Config, ENCODER_POSITIONS};

/// The taps of both convolutions.
const TAPS: usize = 3;

#[derive(Debug)]
pub(super) struct Encoder {
    width: usize,
    heads: usize,
    bins: usize,
    conv1: Linear,
    conv2: Linear,
    /// Loaded, not computed: checkpoints hold them rounded to F16.
    positions: Vec<f32>,
    layers: Vec<Layer>,
    norm: Norm,
    /// Keys and values of one layer; used again for the next.
    cache: PagedCache,
    blocks: Vec<u32>,
    rows: Buffers,
}

#[derive(Debug)]
struct Layer {
    attention_norm: Norm,
    query_key_value: Linear,
    output: Linear,
    norm: Norm,
    inner: Linear,
    outer: Linear,
}

/// Used again by each pass.
#[derive(Debug, Default)]
struct Buffers {
    hidden: Vec<f32>,
    normed: Vec<f32>,
    projected: Vec<f32>,
    queries: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
    attended: Vec<f32>,
    inner: Vec<f32>,
    sums: Vec<f32>,
    activations: Activations,
}

impl Encoder {
    pub(super) fn read(
        checkpoint: &Checkpoint,
        config: &Config,
        quality: Quality,
    ) -> Result<Self, LoadError> {
        const PREFIX: &str = "model.encoder";
        let (width, inner) = (config.d_model, config.encoder_ffn_dim);
        let layer = |index: usize| -> Result<Layer, LoadError> {
            let prefix = format!("{PREFIX}.layers.{index}.");
            let linear = |parts, shape| Linear::read(checkpoint, &prefix, parts, shape, quality);
            let norm = |name| Norm::read(checkpoint, &format!("{prefix}{name}"), width);
            Ok(Layer {
                attention_norm: norm("self_attn_layer_norm")?,
                query_key_value: linear(
                    &[
                        ("self_attn.q_proj", true),
                        ("self_attn.k_proj", false),
                        ("self_attn.v_proj", true),
                    ],
                    (width, width),
                )?,
                output: linear(&[("self_attn.out_proj", true)], (width, width))?,
                norm: norm("final_layer_norm")?,
                inner: linear(&[("fc1", true)], (inner, width))?,
                outer: linear(&[("fc2", true)], (width, inner))?,
            })
        };
        let heads = config.encoder_attention_heads;
        let blocks = ENCODER_POSITIONS.div_ceil(CACHE_BLOCK_POSITIONS);
        Ok(Self {
            width,
            heads,
            bins: config.num_mel_bins,
            conv1: convolution(
                checkpoint,
                &format!("{PREFIX}.conv1"),
                config.num_mel_bins,
                width,
            )?,
            conv2: convolution(checkpoint, &format!("{PREFIX}.conv2"), width, width)?,
            positions: checkpoint.floats(
                &format!("{PREFIX}.embed_positions.weight"),
                &[ENCODER_POSITIONS, width],
            )?,
            layers: (0..config.encoder_layers)
                .map(layer)
                .collect::<Result<_, _>>()?,
            norm: Norm::read(checkpoint, &format!("{PREFIX}.layer_norm"), width)?,
            cache: PagedCache::new(blocks, heads, width / heads),
            blocks: (0..blocks as u32).collect(),
            rows: Buffers::default(),
        })
    }

    /// Features `[bins, FRAMES]` to states `[ENCODER_POSITIONS, width]`.
    pub(super) fn forward(&mut self, features: &[f32]) -> Result<&[f32], NoBlock> {
        self.convolve(features);
        for layer in 0..self.layers.len() {
            self.attend(layer)?;
            self.feed_forward(layer);
        }
        let rows = &mut self.rows;
        self.norm.forward(&rows.hidden, &mut rows.normed);
        Ok(&rows.normed)
    }

    /// Both convolutions and the positions, into `hidden`.
    fn convolve(&mut self, features: &[f32]) {
        let (bins, width, rows) = (self.bins, self.width, &mut self.rows);
        // Frames side by side, with silence of the features before the first and behind the last.
        let frames = &mut rows.keys;
        frames.clear();
        frames.resize((FRAMES + 2) * bins, 0.0);
        for (bin, row) in features.chunks_exact(FRAMES).enumerate() {
            for (frame, value) in row.iter().enumerate() {
                frames[(frame + 1) * bins + bin] = *value;
            }
        }
        unfold(frames, bins, 1, &mut rows.projected);
        self.conv1
            .forward(&rows.projected, &mut rows.inner, &mut rows.activations);
        gated(Gate::GeluErf, &mut rows.inner, None, Backend::best());
        frames.clear();
        frames.resize(width, 0.0);
        frames.extend_from_slice(&rows.inner);
        frames.resize((FRAMES + 2) * width, 0.0);
        unfold(frames, width, 2, &mut rows.projected);
        self.conv2
            .forward(&rows.projected, &mut rows.hidden, &mut rows.activations);
        gated(Gate::GeluErf, &mut rows.hidden, None, Backend::best());
        add(&mut rows.hidden, &self.positions);
    }

    /// `hidden += attention(norm(hidden))`.
    fn attend(&mut self, layer: usize) -> Result<(), NoBlock> {
        let (layer, rows) = (&self.layers[layer], &mut self.rows);
        layer.attention_norm.forward(&rows.hidden, &mut rows.normed);
        layer
            .query_key_value
            .forward(&rows.normed, &mut rows.projected, &mut rows.activations);
        let parts = [&mut rows.queries, &mut rows.keys, &mut rows.values];
        part(&rows.projected, self.width, parts);
        self.cache
            .write(&rows.keys, &rows.values, 0, &self.blocks)?;
        rows.attended.resize(rows.queries.len(), 0.0);
        let attention = to_all(self.heads, self.width);
        let queries = Queries {
            rows: &rows.queries,
            start: 0,
            blocks: &self.blocks,
        };
        attention.run(&self.cache, queries, &mut rows.attended, Backend::best())?;
        layer
            .output
            .forward(&rows.attended, &mut rows.sums, &mut rows.activations);
        add(&mut rows.hidden, &rows.sums);
        Ok(())
    }

    /// `hidden += outer(gelu(inner(norm(hidden))))`.
    fn feed_forward(&mut self, layer: usize) {
        let (layer, rows) = (&self.layers[layer], &mut self.rows);
        layer.norm.forward(&rows.hidden, &mut rows.normed);
        layer
            .inner
            .forward(&rows.normed, &mut rows.inner, &mut rows.activations);
        gated(Gate::GeluErf, &mut rows.inner, None, Backend::best());
        layer
            .outer
            .forward(&rows.inner, &mut rows.sums, &mut rows.activations);
        add(&mut rows.hidden, &rows.sums);
    }
}

/// Attention of each row to all positions.
pub(super) fn to_all(heads: usize, width: usize) -> Attention<'static> {
    Attention {
        heads,
        scale: ((width / heads) as f32).powf(-0.5),
        soft_cap: None,
        causal: false,
        window: None,
        sinks: None,
    }
}

/// Reads a convolution as a product with rows of `[taps, inputs]`. Its weights stay floats: features and
/// what comes of them first span more than 8 bits show.
fn convolution(
    checkpoint: &Checkpoint,
    name: &str,
    inputs: usize,
    outputs: usize,
) -> Result<Linear, LoadError> {
    let weight = checkpoint.floats(&format!("{name}.weight"), &[outputs, inputs, TAPS])?;
    let mut turned = Vec::with_capacity(weight.len());
    for filter in weight.chunks_exact(inputs * TAPS) {
        for tap in 0..TAPS {
            turned.extend(filter.iter().skip(tap).step_by(TAPS));
        }
    }
    let bias = checkpoint.floats(&format!("{name}.bias"), &[outputs])?;
    Ok(Linear::of_floats(&turned, bias, TAPS * inputs))
}

/// Rows of three neighbours of `width` each, every `stride` rows.
fn unfold(rows: &[f32], width: usize, stride: usize, out: &mut Vec<f32>) {
    out.clear();
    let span = TAPS * width;
    let mut start = 0;
    while let Some(taps) = rows.get(start..start + span) {
        out.extend_from_slice(taps);
        start += stride * width;
    }
}
