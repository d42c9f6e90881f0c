//! The encoder: two convolutions and a transformer over windows of 30 s of features. The rows of all
//! windows go through the layers together; attention is each window's own.

use candle_core::{D, Result, Tensor};

use super::config::{Config, ENCODER_POSITIONS};
use super::layers::{Attention, FeedForward, Norm, Weights, attend_to_all, joined};
use crate::load::LoadError;

/// The taps of both convolutions.
const TAPS: usize = 3;

pub(super) struct Encoder {
    conv1: Convolution,
    conv2: Convolution,
    /// Loaded, not computed: checkpoints hold them rounded to F16.
    embed_positions: Tensor,
    layers: Vec<EncoderLayer>,
    layer_norm: Norm,
}

struct EncoderLayer {
    self_attn_layer_norm: Norm,
    self_attn: Attention,
    final_layer_norm: Norm,
    feed_forward: FeedForward,
}

struct Convolution {
    weight: Tensor,
    bias: Tensor,
    stride: usize,
}

impl Encoder {
    pub(super) fn load(weights: &Weights, config: &Config) -> std::result::Result<Self, LoadError> {
        let width = config.d_model;
        Ok(Self {
            conv1: Convolution::load(&weights.pp("conv1"), config.num_mel_bins, width, 1)?,
            conv2: Convolution::load(&weights.pp("conv2"), width, width, 2)?,
            embed_positions: weights
                .tensor("embed_positions.weight", &[ENCODER_POSITIONS, width])?,
            layers: (0..config.encoder_layers)
                .map(|index| EncoderLayer::load(&weights.pp("layers").pp(index), config))
                .collect::<std::result::Result<_, _>>()?,
            layer_norm: Norm::load(&weights.pp("layer_norm"), width)?,
        })
    }

    /// Features `[windows, bins, frames]` to states `[windows * ENCODER_POSITIONS, width]`.
    pub(super) fn forward(&self, features: &Tensor) -> Result<Tensor> {
        let x = self.conv1.forward(features)?.gelu_erf()?;
        let x = self.conv2.forward(&x)?.gelu_erf()?;
        let mut x = x
            .transpose(1, 2)?
            .contiguous()?
            .broadcast_add(&self.embed_positions)?
            .flatten_to(1)?;
        for layer in &self.layers {
            x = layer.forward(&x)?;
        }
        self.layer_norm.forward(&x)
    }
}

impl EncoderLayer {
    fn load(weights: &Weights, config: &Config) -> std::result::Result<Self, LoadError> {
        let width = config.d_model;
        Ok(Self {
            self_attn_layer_norm: Norm::load(&weights.pp("self_attn_layer_norm"), width)?,
            self_attn: Attention::load(
                &weights.pp("self_attn"),
                width,
                config.encoder_attention_heads,
            )?,
            final_layer_norm: Norm::load(&weights.pp("final_layer_norm"), width)?,
            feed_forward: FeedForward::load(weights, width, config.encoder_ffn_dim)?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let normed = self.self_attn_layer_norm.forward(x)?;
        let attention = &self.self_attn;
        let q = attention.queries(&normed)?;
        let (k, v) = attention.keys_values(&normed)?;
        // One window after the other: the scores of one are as much work as a device does at once, and most
        // of the memory.
        let attended = (0..x.dim(0)?)
            .step_by(ENCODER_POSITIONS)
            .map(|first| {
                let own =
                    |rows: &Tensor| attention.split(&rows.narrow(0, first, ENCODER_POSITIONS)?);
                attend_to_all(&own(&q)?, &own(&k)?, &own(&v)?)
            })
            .collect::<Result<Vec<_>>>()?;
        let attended = joined(attended)?;
        let x = (x + attention.output(&attended)?)?;
        let normed = self.final_layer_norm.forward(&x)?;
        x + self.feed_forward.forward(&normed)?
    }
}

impl Convolution {
    fn load(
        weights: &Weights,
        inputs: usize,
        outputs: usize,
        stride: usize,
    ) -> std::result::Result<Self, LoadError> {
        Ok(Self {
            weight: weights.tensor("weight", &[outputs, inputs, TAPS])?,
            bias: weights
                .tensor("bias", &[outputs])?
                .unsqueeze(D::Minus1)
                .map_err(|e| LoadError::device(&e))?,
            stride,
        })
    }

    /// `[windows, inputs, frames]` to `[windows, outputs, frames / stride]`.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x.conv1d(&self.weight, TAPS / 2, self.stride, 1, 1)?
            .broadcast_add(&self.bias)
    }
}
