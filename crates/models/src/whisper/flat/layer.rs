//! What the layers of encoder and decoder have in common: self-attention's projections, the feed-forward
//! part, and the rows between them.

use kernels::{Activations, Attention, Backend, Gate, gated};

use super::linear::{Linear, Norm, Parts, add, part};
use crate::checkpoint::Checkpoint;
use crate::load::LoadError;
use crate::quality::Quality;

/// Rows of a pass; used again by the next.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    /// What layers add to.
    pub(super) hidden: Vec<f32>,
    pub(super) normed: Vec<f32>,
    pub(super) projected: Vec<f32>,
    pub(super) queries: Vec<f32>,
    pub(super) keys: Vec<f32>,
    pub(super) values: Vec<f32>,
    pub(super) attended: Vec<f32>,
    pub(super) inner: Vec<f32>,
    pub(super) sums: Vec<f32>,
    pub(super) activations: Activations,
}

impl Buffers {
    /// `hidden += layer(attended)`.
    pub(super) fn add_attended(&mut self, layer: &Linear) {
        layer.forward(&self.attended, &mut self.sums, &mut self.activations);
        add(&mut self.hidden, &self.sums);
    }
}

/// Reads the tensors of one layer.
pub(super) struct LayerReader<'a> {
    pub(super) checkpoint: &'a Checkpoint,
    /// Up to the name within the layer.
    pub(super) prefix: String,
    pub(super) width: usize,
    /// Width of the feed-forward part.
    pub(super) inner: usize,
    pub(super) quality: Quality,
}

impl LayerReader<'_> {
    /// Parts `[width, width]`, one after the other.
    pub(super) fn square(&self, parts: Parts<'_>) -> Result<Linear, LoadError> {
        self.linear(parts, (self.width, self.width))
    }

    fn linear(&self, parts: Parts<'_>, shape: (usize, usize)) -> Result<Linear, LoadError> {
        Linear::read(self.checkpoint, &self.prefix, parts, shape, self.quality)
    }

    pub(super) fn norm(&self, name: &str) -> Result<Norm, LoadError> {
        let name = format!("{}{name}", self.prefix);
        Norm::read(self.checkpoint, &name, self.width)
    }

    pub(super) fn self_attention(&self) -> Result<SelfAttention, LoadError> {
        Ok(SelfAttention {
            norm: self.norm("self_attn_layer_norm")?,
            query_key_value: self.square(&[
                ("self_attn.q_proj", true),
                ("self_attn.k_proj", false),
                ("self_attn.v_proj", true),
            ])?,
            output: self.square(&[("self_attn.out_proj", true)])?,
            width: self.width,
        })
    }

    pub(super) fn feed_forward(&self) -> Result<FeedForward, LoadError> {
        Ok(FeedForward {
            norm: self.norm("final_layer_norm")?,
            inner: self.linear(&[("fc1", true)], (self.inner, self.width))?,
            outer: self.linear(&[("fc2", true)], (self.width, self.inner))?,
        })
    }
}

/// The projections of self-attention.
#[derive(Debug)]
pub(super) struct SelfAttention {
    norm: Norm,
    query_key_value: Linear,
    pub(super) output: Linear,
    width: usize,
}

impl SelfAttention {
    /// `queries`, `keys` and `values` of `norm(hidden)`, and room for what is attended to.
    pub(super) fn project(&self, rows: &mut Buffers) {
        self.norm.forward(&rows.hidden, &mut rows.normed);
        self.query_key_value
            .forward(&rows.normed, &mut rows.projected, &mut rows.activations);
        let parts = [&mut rows.queries, &mut rows.keys, &mut rows.values];
        part(&rows.projected, self.width, parts);
        rows.attended.resize(rows.queries.len(), 0.0);
    }
}

/// Two linear layers with the exact GELU (by the error function) between them.
#[derive(Debug)]
pub(super) struct FeedForward {
    norm: Norm,
    inner: Linear,
    outer: Linear,
}

impl FeedForward {
    /// `hidden += outer(gelu(inner(norm(hidden))))`.
    pub(super) fn forward(&self, rows: &mut Buffers) {
        self.norm.forward(&rows.hidden, &mut rows.normed);
        self.inner
            .forward(&rows.normed, &mut rows.inner, &mut rows.activations);
        gated(Gate::GeluErf, &mut rows.inner, None, Backend::best());
        self.outer
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
