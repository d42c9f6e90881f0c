//! One layer of the decoder on flat rows: grouped-query attention (Ainslie et al. 2023) over the
//! paged cache, and a gated feed-forward (Shazeer 2020), each after an RMS norm and added back.

use std::ops::Range;

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::ops::{rms_norm, silu, softmax_last_dim};
use engine::model::Step;

use super::config::DecoderConfig;
use super::pool::Pool;
use super::rope::Angles;
use super::source::{
    ATTENTION_NORM, DOWN, FEED_FORWARD_NORM, GATE, KEY, OUTPUT, QUERY, Scope, UP, VALUE,
};
use crate::linear::Linear;
use crate::load::LoadError;

/// Query rows that attend at once: bounds the scores to `[heads, ATTENTION_ROWS, length]`.
const ATTENTION_ROWS: usize = 128;

/// Weights and cache of one layer.
#[derive(Debug)]
pub(crate) struct Layer {
    attention: Attention,
    feed_forward: FeedForward,
}

#[derive(Debug)]
struct Attention {
    norm: Tensor,
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    keys: Pool,
    values: Pool,
    heads: usize,
    kv_heads: usize,
    epsilon: f32,
}

#[derive(Debug)]
struct FeedForward {
    norm: Tensor,
    gate: Linear,
    up: Linear,
    down: Linear,
    epsilon: f32,
}

/// What all layers of a step share.
pub(crate) struct Plan<'a> {
    pub(crate) step: &'a Step,
    pub(crate) angles: Angles,
    /// The tiles of each span.
    pub(crate) tiles: Vec<Vec<Tile>>,
}

/// Rows of one span that attend together.
pub(crate) struct Tile {
    /// Within the step.
    rows: Range<usize>,
    /// Positions that the last row sees; an earlier row sees fewer.
    length: usize,
    /// Added to the scores, `[rows, length]`: minus infinity for later positions. None for one row.
    mask: Option<Tensor>,
}

impl Tile {
    /// Cuts a span that begins at position `start` into tiles.
    pub(crate) fn cut(rows: &Range<usize>, start: usize, device: &Device) -> Result<Vec<Self>> {
        rows.clone()
            .step_by(ATTENTION_ROWS)
            .map(|first| {
                let tile = first..rows.end.min(first + ATTENTION_ROWS);
                let before = start + first - rows.start;
                let length = before + tile.len();
                let mask = if tile.len() > 1 {
                    Some(causal_mask(before, tile.len(), device)?)
                } else {
                    None
                };
                Ok(Self {
                    rows: tile,
                    length,
                    mask,
                })
            })
            .collect()
    }
}

/// `[rows, before + rows]`: row `r` sees the positions up to `before + r`.
fn causal_mask(before: usize, rows: usize, device: &Device) -> Result<Tensor> {
    let length = before + rows;
    let mut mask = vec![0f32; rows * length];
    for (row, line) in mask.chunks_exact_mut(length).enumerate() {
        line[before + row + 1..].fill(f32::NEG_INFINITY);
    }
    Tensor::from_vec(mask, (rows, length), device)
}

impl Layer {
    /// Reads a layer; its cache holds `blocks` blocks.
    pub(crate) fn load(
        scope: &Scope,
        config: &DecoderConfig,
        blocks: usize,
    ) -> std::result::Result<Self, LoadError> {
        let (hidden, inner) = (config.hidden, config.intermediate);
        let (queries, keys) = (config.query_width(), config.key_width());
        let (attention_bias, bias) = (config.attention_bias, config.feed_forward_bias);
        let epsilon = config.norm_epsilon as f32;
        let attention = Attention {
            norm: scope.weight(ATTENTION_NORM, &[hidden])?,
            query: scope.rotated(QUERY, config.heads, config)?,
            key: scope.rotated(KEY, config.kv_heads, config)?,
            value: scope.linear(VALUE, hidden, keys, attention_bias)?,
            output: scope.linear(OUTPUT, queries, hidden, attention_bias)?,
            keys: Pool::new(blocks, keys, scope.dtype, scope.device),
            values: Pool::new(blocks, keys, scope.dtype, scope.device),
            heads: config.heads,
            kv_heads: config.kv_heads,
            epsilon,
        };
        let feed_forward = FeedForward {
            norm: scope.weight(FEED_FORWARD_NORM, &[hidden])?,
            gate: scope.linear(GATE, hidden, inner, bias)?,
            up: scope.linear(UP, hidden, inner, bias)?,
            down: scope.linear(DOWN, inner, hidden, bias)?,
            epsilon,
        };
        Ok(Self {
            attention,
            feed_forward,
        })
    }

    /// `[rows, hidden]` to the same, writing the rows' keys and values to the cache.
    pub(crate) fn forward(&mut self, rows: &Tensor, plan: &Plan) -> Result<Tensor> {
        let rows = (rows + self.attention.forward(rows, plan)?)?;
        &rows + self.feed_forward.forward(&rows)?
    }
}

impl Attention {
    fn forward(&mut self, rows: &Tensor, plan: &Plan) -> Result<Tensor> {
        let rows = rms_norm(rows, &self.norm, self.epsilon)?;
        let queries = plan
            .angles
            .rotate(&self.query.forward(&rows)?, self.heads)?;
        let keys = plan
            .angles
            .rotate(&self.key.forward(&rows)?, self.kv_heads)?;
        let values = self.value.forward(&rows)?;
        let mut attended = Vec::new();
        for (span, tiles) in plan.step.spans.iter().zip(&plan.tiles) {
            let (first, count) = (span.rows.start, span.rows.len());
            self.keys
                .write(&keys.narrow(0, first, count)?, span.start, &span.blocks)?;
            self.values
                .write(&values.narrow(0, first, count)?, span.start, &span.blocks)?;
            let seen_keys = self.keys.read(span.start + count, &span.blocks)?;
            let seen_values = self.values.read(span.start + count, &span.blocks)?;
            for tile in tiles {
                let queries = queries.narrow(0, tile.rows.start, tile.rows.len())?;
                let keys = seen_keys.narrow(0, 0, tile.length)?;
                let values = seen_values.narrow(0, 0, tile.length)?;
                attended.push(self.attend(&queries, &keys, &values, tile.mask.as_ref())?);
            }
        }
        self.output.forward(&Tensor::cat(&attended, 0)?)
    }

    /// Queries `[rows, heads * size]` over keys and values `[length, kv_heads * size]`. The query
    /// heads that share a key head are rows of one product, so keys are never repeated.
    fn attend(
        &self,
        queries: &Tensor,
        keys: &Tensor,
        values: &Tensor,
        mask: Option<&Tensor>,
    ) -> Result<Tensor> {
        let (rows, width) = queries.dims2()?;
        let (length, kv_heads) = (keys.dim(0)?, self.kv_heads);
        let (size, group) = (width / self.heads, self.heads / kv_heads);
        let queries = (queries * (size as f64).powf(-0.5))?;
        let queries = queries
            .reshape((rows, kv_heads, group, size))?
            .permute((1, 2, 0, 3))?;
        let queries = queries
            .contiguous()?
            .reshape((kv_heads, group * rows, size))?;
        let scores = queries
            .matmul(&by_head(keys, kv_heads)?.t()?)?
            .to_dtype(DType::F32)?;
        let scores = match mask {
            Some(mask) => scores
                .reshape((kv_heads, group, rows, length))?
                .broadcast_add(mask)?,
            None => scores,
        };
        let weights = softmax_last_dim(&scores)?.to_dtype(values.dtype())?;
        let weights = weights.reshape((kv_heads, group * rows, length))?;
        let attended = weights.matmul(&by_head(values, kv_heads)?)?;
        attended
            .reshape((kv_heads, group, rows, size))?
            .permute((2, 0, 1, 3))?
            .contiguous()?
            .reshape((rows, width))
    }
}

/// `[length, kv_heads * size]` to `[kv_heads, length, size]`. The CPU's product takes it as it lies;
/// other devices want it in order.
fn by_head(rows: &Tensor, kv_heads: usize) -> Result<Tensor> {
    let (length, width) = rows.dims2()?;
    let split = rows
        .reshape((length, kv_heads, width / kv_heads))?
        .transpose(0, 1)?;
    if rows.device().is_cpu() {
        Ok(split)
    } else {
        split.contiguous()
    }
}

impl FeedForward {
    fn forward(&self, rows: &Tensor) -> Result<Tensor> {
        let rows = rms_norm(rows, &self.norm, self.epsilon)?;
        let gate = silu(&self.gate.forward(&rows)?)?;
        self.down.forward(&(gate * self.up.forward(&rows)?)?)
    }
}
