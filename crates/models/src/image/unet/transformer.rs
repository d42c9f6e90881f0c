//! Transformer layers over the pixels of a level, which look at the prompt.

use candle_core::{D, DType, Result, Tensor};

use crate::image::activation::Activation;
use crate::image::attention::attend_rows;
use crate::image::linear::Linear;
use crate::image::norm::{GroupNorm, LayerNorm};
use crate::image::source::Source;
use crate::load::LoadError;

/// The epsilon of the norm before the layers, and of those within, in diffusers.
const OUTER_EPSILON: f64 = 1e-6;
const INNER_EPSILON: f64 = 1e-5;

/// The sizes of a transformer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) channels: usize,
    pub(super) heads: usize,
    pub(super) layers: usize,
    pub(super) context: usize,
    pub(super) groups: usize,
    /// Whether attention is computed in single precision.
    pub(super) upcasts: bool,
}

pub(super) struct Transformer {
    norm: GroupNorm,
    inward: Linear,
    layers: Vec<Layer>,
    outward: Linear,
}

struct Layer {
    norms: [LayerNorm; 3],
    /// Queries, keys and values of the pixels.
    own: Linear,
    own_out: Linear,
    queries: Linear,
    /// Keys and values of the prompt.
    prompt: Linear,
    prompt_out: Linear,
    /// What passes the gate, then the gate.
    inner: Linear,
    outer: Linear,
    heads: usize,
    upcasts: bool,
}

impl Transformer {
    pub(super) fn read(source: &Source<'_>, sizes: Sizes) -> std::result::Result<Self, LoadError> {
        let Sizes {
            channels, groups, ..
        } = sizes;
        let blocks = source.at("transformer_blocks");
        Ok(Self {
            norm: GroupNorm::read(&source.at("norm"), channels, groups, OUTER_EPSILON)?,
            inward: Linear::read(&source.at("proj_in"), channels, channels)?,
            layers: (0..sizes.layers)
                .map(|layer| Layer::read(&blocks.at(layer), sizes))
                .collect::<std::result::Result<_, _>>()?,
            outward: Linear::read(&source.at("proj_out"), channels, channels)?,
        })
    }

    /// Pixels `[batch, channels, height, width]` and a prompt `[batch, tokens, context]` to pixels.
    pub(super) fn forward(&self, pixels: &Tensor, prompt: &Tensor) -> Result<Tensor> {
        let (batch, channels, height, width) = pixels.dims4()?;
        let rows = self
            .norm
            .forward(pixels)?
            .reshape((batch, channels, height * width))?;
        let mut rows = self.inward.forward(&rows.transpose(1, 2)?.contiguous()?)?;
        for layer in &self.layers {
            rows = layer.forward(&rows, prompt)?;
        }
        let rows = self.outward.forward(&rows)?.transpose(1, 2)?;
        rows.reshape((batch, channels, height, width))? + pixels
    }
}

impl Layer {
    fn read(source: &Source<'_>, sizes: Sizes) -> std::result::Result<Self, LoadError> {
        let Sizes {
            channels, context, ..
        } = sizes;
        let norm = |name| LayerNorm::read(&source.at(name), channels, INNER_EPSILON);
        let (own, cross) = (source.at("attn1"), source.at("attn2"));
        let three = ["to_q", "to_k", "to_v"].map(|name| own.at(name));
        let two = ["to_k", "to_v"].map(|name| cross.at(name));
        let inner = channels * 4;
        Ok(Self {
            norms: [norm("norm1")?, norm("norm2")?, norm("norm3")?],
            own: Linear::joined(&three, channels, &[channels; 3])?,
            own_out: Linear::read(&own.at("to_out.0"), channels, channels)?,
            queries: Linear::read(&cross.at("to_q"), channels, channels)?,
            prompt: Linear::joined(&two, context, &[channels; 2])?,
            prompt_out: Linear::read(&cross.at("to_out.0"), channels, channels)?,
            inner: Linear::read(&source.at("ff.net.0.proj"), channels, inner * 2)?,
            outer: Linear::read(&source.at("ff.net.2"), inner, channels)?,
            heads: sizes.heads,
            upcasts: sizes.upcasts,
        })
    }

    fn forward(&self, rows: &Tensor, prompt: &Tensor) -> Result<Tensor> {
        let own = self.own.forward(&self.norms[0].forward(rows)?)?;
        let own = own.chunk(3, D::Minus1)?;
        let attended = self.attended([&own[0], &own[1], &own[2]])?;
        let rows = (rows + self.own_out.forward(&attended)?)?;
        let queries = self.queries.forward(&self.norms[1].forward(&rows)?)?;
        let pair = self.prompt.forward(prompt)?.chunk(2, D::Minus1)?;
        let attended = self.attended([&queries, &pair[0], &pair[1]])?;
        let rows = (rows + self.prompt_out.forward(&attended)?)?;
        let both = self.inner.forward(&self.norms[2].forward(&rows)?)?;
        let both = both.chunk(2, D::Minus1)?;
        let inner = Activation::Gelu.gated(&both[1], &both[0])?;
        rows + self.outer.forward(&inner)?
    }
    /// Queries, keys and values `[batch, length, channels]` to what is attended, likewise.
    fn attended(&self, three: [&Tensor; 3]) -> Result<Tensor> {
        let dtype = three[0].dtype();
        let scale = ((three[0].dim(D::Minus1)? / self.heads) as f64)
            .sqrt()
            .recip();
        if !self.upcasts {
            return attend_rows(three, self.heads, scale);
        }
        let [queries, keys, values] = three.map(|x| x.to_dtype(DType::F32));
        attend_rows([&queries?, &keys?, &values?], self.heads, scale)?.to_dtype(dtype)
    }
}
