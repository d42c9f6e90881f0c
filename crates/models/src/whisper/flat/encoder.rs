//! The encoder on flat rows: two convolutions as products, and a transformer over 30 s of features.

use kernels::{Backend, CACHE_BLOCK_POSITIONS, Gate, NoBlock, PagedCache, Queries, gated};

use super::layer::{Buffers, FeedForward, LayerReader, SelfAttention, to_all};
use super::linear::{Linear, Norm, add};
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
    attention: SelfAttention,
    feed_forward: FeedForward,
}

impl Encoder {
    pub(super) fn read(
        checkpoint: &Checkpoint,
        config: &Config,
        quality: Quality,
    ) -> Result<Self, LoadError> {
        const PREFIX: &str = "model.encoder";
        let width = config.d_model;
        let layer = |index: usize| -> Result<Layer, LoadError> {
            let reader = LayerReader {
                checkpoint,
                prefix: format!("{PREFIX}.layers.{index}."),
                width,
                inner: config.encoder_ffn_dim,
                quality,
            };
            Ok(Layer {
                attention: reader.self_attention()?,
                feed_forward: reader.feed_forward()?,
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
            self.layers[layer].feed_forward.forward(&mut self.rows);
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
        layer.attention.project(rows);
        self.cache
            .write(&rows.keys, &rows.values, 0, &self.blocks)?;
        let queries = Queries {
            rows: &rows.queries,
            start: 0,
            blocks: &self.blocks,
        };
        let attention = to_all(self.heads, self.width);
        attention.run(&self.cache, queries, &mut rows.attended, Backend::best())?;
        rows.add_attended(&layer.attention.output);
        Ok(())
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
