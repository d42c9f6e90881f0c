//! Attention of a layer on flat rows, over the paged cache in place.

use engine::model::{Span, Step};
use kernels::{Backend, NoBlock, PagedCache, Queries, rotate};

use super::arena::Arena;
use super::linear::Projection;
use super::norm::Norm;
use crate::decoder::attention::{
    Attention as TensorAttention, Cache, Projections as TensorProjections,
};
use crate::decoder::lora::{Lora, Module};

#[derive(Debug)]
pub(super) struct Attention {
    projections: Projections,
    /// Of queries and of keys.
    head_norms: Option<[Norm; 2]>,
    output: Projection,
    cache: PagedCache,
    sinks: Option<Vec<f32>>,
    heads: usize,
    scale: f32,
    soft_cap: Option<f32>,
    window: Option<usize>,
    /// Which of the arena's.
    angles: usize,
}

/// To queries, keys and values.
#[derive(Debug)]
enum Projections {
    Separate([Projection; 3]),
    /// One below the other.
    Fused(Projection),
}

impl Projections {
    fn of(projections: &TensorProjections) -> Option<Self> {
        Some(match projections {
            TensorProjections::Separate([query, key, value]) => Self::Separate([
                Projection::of(query)?,
                Projection::of(key)?,
                Projection::of(value)?,
            ]),
            TensorProjections::Fused(fused) => Self::Fused(Projection::of(fused)?),
        })
    }
}

impl Attention {
    /// The same attention with an empty cache, whose rows turn by one of the arena's angles; `None`: it is of
    /// another kind.
    pub(super) fn of(attention: &TensorAttention, blocks: usize, angles: usize) -> Option<Self> {
        let Cache::Half(cache) = &attention.cache else {
            return None;
        };
        let head_norms = match &attention.head_norms {
            Some([query, key]) => Some([Norm::of(query)?, Norm::of(key)?]),
            None => None,
        };
        let sinks = attention.sinks.as_ref();
        Some(Self {
            projections: Projections::of(&attention.projections)?,
            head_norms,
            output: Projection::of(&attention.output)?,
            cache: PagedCache::new(blocks, cache.heads(), cache.size()),
            sinks: sinks.map(|sinks| sinks.floats.clone()),
            heads: attention.heads,
            scale: attention.scale as f32,
            soft_cap: attention.soft_cap.map(|cap| cap as f32),
            window: attention.window,
            angles,
        })
    }

    /// `arena.normed` to `arena.sums`, writing the rows' keys and values to the cache.
    pub(super) fn forward(
        &mut self,
        step: &Step,
        arena: &mut Arena,
        lora: Lora,
    ) -> Result<(), NoBlock> {
        self.project(arena);
        lora.add_rows(Module::Query, &arena.normed, &mut arena.queries);
        lora.add_rows(Module::Key, &arena.normed, &mut arena.keys);
        lora.add_rows(Module::Value, &arena.normed, &mut arena.values);
        let size = self.cache.size();
        let heads = [(self.heads, size), (self.cache.heads(), size)];
        if let Some([query_norm, key_norm]) = &self.head_norms {
            query_norm.forward(&arena.queries, &mut arena.attended);
            std::mem::swap(&mut arena.queries, &mut arena.attended);
            key_norm.forward(&arena.keys, &mut arena.attended);
            std::mem::swap(&mut arena.keys, &mut arena.attended);
        }
        let angles = &arena.angles[self.angles];
        let turns = (angles.sines.as_slice(), angles.cosines.as_slice());
        for (rows, heads) in [&mut arena.queries, &mut arena.keys].into_iter().zip(heads) {
            rotate(rows, heads, turns, Backend::best());
        }
        self.attend(step, arena)?;
        let inputs = arena.rounded.take(&arena.attended, self.output.inputs());
        self.output.forward(inputs, &mut arena.sums);
        lora.add_rows(Module::Output, &arena.attended, &mut arena.sums);
        Ok(())
    }

    fn project(&self, arena: &mut Arena) {
        match &self.projections {
            Projections::Separate([query, key, value]) => {
                let inputs = arena.rounded.take(&arena.normed, query.inputs());
                query.forward(inputs, &mut arena.queries);
                key.forward(inputs, &mut arena.keys);
                value.forward(inputs, &mut arena.values);
            }
            Projections::Fused(fused) => {
                let inputs = arena.rounded.take(&arena.normed, fused.inputs());
                fused.forward(inputs, &mut arena.fused);
                let width = self.heads * self.cache.size();
                let key_width = self.cache.heads() * self.cache.size();
                arena.queries.clear();
                arena.keys.clear();
                arena.values.clear();
                for row in arena.fused.chunks_exact(width + 2 * key_width) {
                    let (queries, rest) = row.split_at(width);
                    let (keys, values) = rest.split_at(key_width);
                    arena.queries.extend_from_slice(queries);
                    arena.keys.extend_from_slice(keys);
                    arena.values.extend_from_slice(values);
                }
            }
        }
    }

    fn attend(&mut self, step: &Step, arena: &mut Arena) -> Result<(), NoBlock> {
        let width = self.heads * self.cache.size();
        let key_width = self.cache.heads() * self.cache.size();
        arena.attended.resize(arena.queries.len(), 0.0);
        let attention = kernels::Attention {
            heads: self.heads,
            scale: self.scale,
            causal: true,
            soft_cap: self.soft_cap,
            window: self.window,
            sinks: self.sinks.as_deref(),
        };
        for Span {
            rows,
            start,
            blocks,
            ..
        } in &step.spans
        {
            let lines = rows.start * key_width..rows.end * key_width;
            let (keys, values) = (&arena.keys[lines.clone()], &arena.values[lines]);
            self.cache.write(keys, values, *start, blocks)?;
            let lines = rows.start * width..rows.end * width;
            let queries = Queries {
                rows: &arena.queries[lines.clone()],
                start: *start,
                blocks,
            };
            attention.run(
                &self.cache,
                queries,
                &mut arena.attended[lines],
                Backend::best(),
            )?;
        }
        Ok(())
    }
}
