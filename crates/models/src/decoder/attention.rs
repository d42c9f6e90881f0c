//! Grouped-query attention (Ainslie et al. 2023) on flat rows over the paged cache, over a whole
//! sequence or its newest positions.

use std::ops::Range;

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::ops::softmax_last_dim;
use engine::model::{Span, Step};
use kernels::{Backend, PagedCache, Queries};

use super::config::DecoderConfig;
use super::lora::{Lora, Module};
use super::norm::Norm;
use super::pool::Pool;
use super::rope::Angles;
use super::source::{Matrix, Scope};
use crate::floats::with_floats;
use crate::linear::Linear;
use crate::load::LoadError;

/// Query rows that attend at once: bounds the scores to `[heads, ATTENTION_ROWS, length]`.
pub(crate) const ATTENTION_ROWS: usize = 128;

/// Weights and cache of a layer's attention.
#[derive(Debug)]
pub(crate) struct Attention {
    pub(super) projections: Projections,
    /// Of queries and of keys.
    pub(super) head_norms: Option<[Norm; 2]>,
    pub(super) output: Linear,
    pub(super) cache: Cache,
    pub(super) sinks: Option<Sinks>,
    pub(super) heads: usize,
    kv_heads: usize,
    pub(super) scale: f64,
    pub(super) soft_cap: Option<f64>,
    pub(super) window: Option<usize>,
}

/// To queries, keys and values.
#[derive(Debug)]
pub(super) enum Projections {
    Separate([Linear; 3]),
    /// One below the other.
    Fused(Linear),
}

/// Keys and values of a layer.
#[derive(Debug)]
pub(super) enum Cache {
    /// In half precision, read in place by the CPU's kernel.
    Half(PagedCache),
    /// In the precision of the model, on its device.
    Full { keys: Pool, values: Pool },
}

/// What a KV cache holds its numbers in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CachePrecision {
    /// Half precision, on the CPU; as [`CachePrecision::Full`] elsewhere.
    Half,
    /// The precision that the model computes in.
    Full,
}

/// Whether a cache is in half precision: the kernel that reads it computes in float32 on the CPU.
pub(crate) fn has_half_cache(precision: CachePrecision, device: &Device, dtype: DType) -> bool {
    precision == CachePrecision::Half && device.is_cpu() && dtype == DType::F32
}

/// A score of each head without a value.
#[derive(Debug)]
pub(super) struct Sinks {
    pub(super) floats: Vec<f32>,
    /// The same, `[kv_heads, group, 1, 1]`.
    tensor: Tensor,
}

/// What all layers of one kind share in a step.
pub(crate) struct Plan<'a> {
    pub(crate) step: &'a Step,
    pub(crate) angles: Angles,
    /// The tiles of each span, for a cache in full precision.
    pub(crate) tiles: Vec<Vec<Tile>>,
}

/// Rows of one span that attend together.
pub(crate) struct Tile {
    /// Within the step.
    rows: Range<usize>,
    /// Positions that any of the rows sees.
    seen: Range<usize>,
    /// Added to the scores, `[rows, seen]`: minus infinity for what a row does not see. None if all
    /// see all.
    mask: Option<Tensor>,
}

impl Tile {
    /// Cuts a span into tiles whose rows see the positions before them, or the newest `window`.
    pub(crate) fn cut(span: &Span, window: Option<usize>, device: &Device) -> Result<Vec<Self>> {
        span.rows
            .clone()
            .step_by(ATTENTION_ROWS)
            .map(|first| {
                let rows = first..span.rows.end.min(first + ATTENTION_ROWS);
                let start = span.start + first - span.rows.start;
                let seen = first_seen(start, window)..start + rows.len();
                let mask = if rows.len() > 1 {
                    Some(mask(start, rows.len(), &seen, window, device)?)
                } else {
                    None
                };
                Ok(Self { rows, seen, mask })
            })
            .collect()
    }
}

/// The first position that a row at `position` sees.
fn first_seen(position: usize, window: Option<usize>) -> usize {
    window.map_or(0, |window| (position + 1).saturating_sub(window))
}

fn mask(
    start: usize,
    rows: usize,
    seen: &Range<usize>,
    window: Option<usize>,
    device: &Device,
) -> Result<Tensor> {
    let mut mask = vec![f32::NEG_INFINITY; rows * seen.len()];
    for (row, line) in mask.chunks_exact_mut(seen.len()).enumerate() {
        let position = start + row;
        line[first_seen(position, window) - seen.start..=position - seen.start].fill(0.0);
    }
    Tensor::from_vec(mask, (rows, seen.len()), device)
}

impl Attention {
    /// Reads the attention of a layer; its cache holds `blocks` blocks.
    pub(crate) fn load(
        scope: &Scope,
        config: &DecoderConfig,
        layer: usize,
        blocks: usize,
        precision: CachePrecision,
    ) -> std::result::Result<Self, LoadError> {
        let (layout, attention) = (scope.layout(), &config.attention);
        let (queries, keys) = (config.query_width(), config.key_width());
        let matrix = |name, inner, outer, bias| Matrix {
            name,
            inner,
            outer,
            bias,
            part: None,
        };
        let input = |name, outer| matrix(name, config.hidden, outer, attention.input_bias);
        let projections = if scope.has(layout.fused) {
            Projections::Fused(scope.linear(input(layout.fused, queries + 2 * keys))?)
        } else {
            Projections::Separate([
                scope.rotated(input(layout.query, queries), config.head_size)?,
                scope.rotated(input(layout.key, keys), config.head_size)?,
                scope.linear(input(layout.value, keys))?,
            ])
        };
        let norm = |name| Norm::load(scope, name, config.head_size, config.norm);
        let head_norms = attention
            .head_norms
            .then(|| Ok([norm(layout.query_norm)?, norm(layout.key_norm)?]))
            .transpose()?;
        let output = matrix(layout.output, queries, config.hidden, attention.output_bias);
        let cache = if has_half_cache(precision, scope.device, scope.dtype) {
            Cache::Half(PagedCache::new(blocks, config.kv_heads, config.head_size))
        } else {
            Cache::Full {
                keys: Pool::new(blocks, keys, scope.dtype, scope.device),
                values: Pool::new(blocks, keys, scope.dtype, scope.device),
            }
        };
        let sinks = attention.sinks.then(|| Sinks::load(scope, config));
        Ok(Self {
            projections,
            head_norms,
            output: scope.linear(output)?,
            cache,
            sinks: sinks.transpose()?,
            heads: config.heads,
            kv_heads: config.kv_heads,
            scale: attention.scale,
            soft_cap: attention.soft_cap,
            window: config.local(layer).map(|local| local.window),
        })
    }

    /// Whether its cache needs the tiles of a [`Plan`].
    pub(crate) fn needs_tiles(&self) -> bool {
        matches!(self.cache, Cache::Full { .. })
    }

    /// Whether a row's bits are the same whatever rows are beside it.
    pub(crate) fn keeps_rows_apart(&self) -> bool {
        let projections = match &self.projections {
            Projections::Separate(projections) => projections.as_slice(),
            Projections::Fused(fused) => std::slice::from_ref(fused),
        };
        matches!(self.cache, Cache::Half(_))
            && self.output.keeps_rows_apart()
            && projections.iter().all(Linear::keeps_rows_apart)
    }

    /// `[rows, hidden]` to the same, writing the rows' keys and values to the cache.
    pub(crate) fn forward(&mut self, rows: &Tensor, plan: &Plan, lora: Lora) -> Result<Tensor> {
        let projected = self.projections.forward(rows, self)?;
        let [mut queries, mut keys, values] = lora.add_to_all(rows, projected)?;
        if let Some([query_norm, key_norm]) = &self.head_norms {
            queries = by_heads(&queries, self.heads, query_norm)?;
            keys = by_heads(&keys, self.kv_heads, key_norm)?;
        }
        let queries = plan.angles.rotate(&queries, self.heads)?;
        let keys = plan.angles.rotate(&keys, self.kv_heads)?;
        let attended = match &mut self.cache {
            Cache::Half(_) => self.attend_in_place(&queries, &keys, &values, plan.step)?,
            Cache::Full { .. } => self.attend_gathered(&queries, &keys, &values, plan)?,
        };
        lora.add(Module::Output, &attended, self.output.forward(&attended)?)
    }

    fn attend_in_place(
        &mut self,
        queries: &Tensor,
        keys: &Tensor,
        values: &Tensor,
        step: &Step,
    ) -> Result<Tensor> {
        let Cache::Half(cache) = &mut self.cache else {
            candle_core::bail!("the cache is in full precision");
        };
        let shape = queries.dims2()?;
        let width = shape.1;
        let key_width = keys.dim(1)?;
        let attention = kernels::Attention {
            heads: self.heads,
            scale: self.scale as f32,
            causal: true,
            soft_cap: self.soft_cap.map(|cap| cap as f32),
            window: self.window,
            sinks: self.sinks.as_ref().map(|sinks| sinks.floats.as_slice()),
        };
        let mut out = vec![0.0; shape.0 * width];
        with_floats([queries, keys, values], |[queries, keys, values]| {
            for Span {
                rows,
                start,
                blocks,
                ..
            } in &step.spans
            {
                let lines = rows.start * key_width..rows.end * key_width;
                cache
                    .write(&keys[lines.clone()], &values[lines], *start, blocks)
                    .map_err(candle_core::Error::wrap)?;
                let lines = rows.start * width..rows.end * width;
                let queries = Queries {
                    rows: &queries[lines.clone()],
                    start: *start,
                    blocks,
                };
                attention
                    .run(cache, queries, &mut out[lines], Backend::best())
                    .map_err(candle_core::Error::wrap)?;
            }
            Ok(())
        })?;
        Tensor::from_vec(out, shape, queries.device())
    }

    fn attend_gathered(
        &mut self,
        queries: &Tensor,
        keys: &Tensor,
        values: &Tensor,
        plan: &Plan,
    ) -> Result<Tensor> {
        let mut attended = Vec::new();
        for (span, tiles) in plan.step.spans.iter().zip(&plan.tiles) {
            let Cache::Full {
                keys: key_pool,
                values: value_pool,
            } = &mut self.cache
            else {
                candle_core::bail!("the cache is in half precision");
            };
            let (first, count) = (span.rows.start, span.rows.len());
            key_pool.write(&keys.narrow(0, first, count)?, span.start, &span.blocks)?;
            value_pool.write(&values.narrow(0, first, count)?, span.start, &span.blocks)?;
            let from = first_seen(span.start, self.window);
            let length = span.start + count - from;
            let seen_keys = key_pool.read(from, length, &span.blocks)?;
            let seen_values = value_pool.read(from, length, &span.blocks)?;
            for tile in tiles {
                let queries = queries.narrow(0, tile.rows.start, tile.rows.len())?;
                let (start, length) = (tile.seen.start - from, tile.seen.len());
                let keys = seen_keys.narrow(0, start, length)?;
                let values = seen_values.narrow(0, start, length)?;
                attended.push(self.attend(&queries, &keys, &values, tile.mask.as_ref())?);
            }
        }
        Tensor::cat(&attended, 0)
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
        let queries = (queries * self.scale)?;
        let queries = queries
            .reshape((rows, kv_heads, group, size))?
            .permute((1, 2, 0, 3))?;
        let queries = queries
            .contiguous()?
            .reshape((kv_heads, group * rows, size))?;
        let scores = queries
            .matmul(&by_head(keys, kv_heads)?.t()?)?
            .to_dtype(DType::F32)?
            .reshape((kv_heads, group, rows, length))?;
        let scores = match self.soft_cap {
            Some(cap) => ((scores / cap)?.tanh()? * cap)?,
            None => scores,
        };
        let scores = match mask {
            Some(mask) => scores.broadcast_add(mask)?,
            None => scores,
        };
        let weights = match &self.sinks {
            Some(sinks) => {
                let sinks = sinks.tensor.expand((kv_heads, group, rows, 1))?;
                let scores = Tensor::cat(&[&scores, &sinks], 3)?.contiguous()?;
                let weights = softmax_last_dim(&scores)?;
                weights.narrow(3, 0, length)?
            }
            None => softmax_last_dim(&scores)?,
        };
        let weights = weights.to_dtype(values.dtype())?.contiguous()?;
        let weights = weights.reshape((kv_heads, group * rows, length))?;
        let attended = weights.matmul(&by_head(values, kv_heads)?)?;
        attended
            .reshape((kv_heads, group, rows, size))?
            .permute((2, 0, 1, 3))?
            .contiguous()?
            .reshape((rows, width))
    }
}

impl Projections {
    /// Queries, keys and values, `[rows, width]` each.
    fn forward(&self, rows: &Tensor, attention: &Attention) -> Result<[Tensor; 3]> {
        match self {
            Self::Separate(layers) => Linear::forward_all(layers.each_ref(), rows),
            Self::Fused(fused) => {
                let all = fused.forward(rows)?;
                let size = all.dim(1)? / (attention.heads + 2 * attention.kv_heads);
                let (queries, keys) = (attention.heads * size, attention.kv_heads * size);
                let part = |start, width| all.narrow(1, start, width)?.contiguous();
                Ok([
                    part(0, queries)?,
                    part(queries, keys)?,
                    part(queries + keys, keys)?,
                ])
            }
        }
    }
}

impl Sinks {
    fn load(scope: &Scope, config: &DecoderConfig) -> std::result::Result<Self, LoadError> {
        let sinks = scope.tensor(scope.layout().sinks, &[config.heads])?;
        let shape = (config.kv_heads, config.heads / config.kv_heads, 1, 1);
        let read = || -> Result<Self> {
            let sinks = sinks.to_dtype(DType::F32)?;
            Ok(Self {
                floats: sinks.to_vec1()?,
                tensor: sinks.reshape(shape)?,
            })
        };
        read().map_err(|error| LoadError::device(&error))
    }
}

/// A norm of each head of `[rows, heads * size]`.
fn by_heads(rows: &Tensor, heads: usize, norm: &Norm) -> Result<Tensor> {
    let (count, width) = rows.dims2()?;
    let split = rows.reshape((count * heads, width / heads))?;
    norm.forward(&split)?.reshape((count, width))
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
