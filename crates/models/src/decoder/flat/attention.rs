//! Attention of a layer on flat rows, over the paged cache in place.

use kernels::{Backend, NoBlock, PagedCache, Queries, rotate};

use super::arena::{Angles, Lines};
use super::linear::Projection;
use super::norm::Norm;
use super::part::{Part, Piece};
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

    /// All its weight matrices.
    pub(super) fn projections(&self) -> impl Iterator<Item = &Projection> {
        let inward = match &self.projections {
            Projections::Separate(all) => all.as_slice(),
            Projections::Fused(fused) => std::slice::from_ref(fused),
        };
        inward.iter().chain([&self.output])
    }

    /// `lines.normed` to `lines.sums`, writing the rows' keys and values to the cache.
    pub(super) fn forward(
        &mut self,
        part: &Part,
        lines: &mut Lines,
        angles: &[Angles],
        lora: Lora,
    ) -> Result<(), NoBlock> {
        self.project(lines);
        lora.add_rows(Module::Query, &lines.normed, &mut lines.queries);
        lora.add_rows(Module::Key, &lines.normed, &mut lines.keys);
        lora.add_rows(Module::Value, &lines.normed, &mut lines.values);
        let size = self.cache.size();
        let heads = [(self.heads, size), (self.cache.heads(), size)];
        if let Some([query_norm, key_norm]) = &self.head_norms {
            query_norm.forward(&lines.queries, &mut lines.attended);
            std::mem::swap(&mut lines.queries, &mut lines.attended);
            key_norm.forward(&lines.keys, &mut lines.attended);
            std::mem::swap(&mut lines.keys, &mut lines.attended);
        }
        let angles = &angles[self.angles];
        let turns = (
            part.of_values(&angles.sines),
            part.of_values(&angles.cosines),
        );
        for (rows, heads) in [&mut lines.queries, &mut lines.keys].into_iter().zip(heads) {
            rotate(rows, heads, turns, Backend::best());
        }
        self.attend(part, lines)?;
        let inputs = lines.rounded.take(&lines.attended, self.output.inputs());
        self.output.forward(inputs, &mut lines.sums);
        lora.add_rows(Module::Output, &lines.attended, &mut lines.sums);
        Ok(())
    }

    fn project(&self, lines: &mut Lines) {
        match &self.projections {
            Projections::Separate([query, key, value]) => {
                let inputs = lines.rounded.take(&lines.normed, query.inputs());
                query.forward(inputs, &mut lines.queries);
                key.forward(inputs, &mut lines.keys);
                value.forward(inputs, &mut lines.values);
            }
            Projections::Fused(fused) => {
                let inputs = lines.rounded.take(&lines.normed, fused.inputs());
                fused.forward(inputs, &mut lines.sums);
                let width = self.heads * self.cache.size();
                let key_width = self.cache.heads() * self.cache.size();
                lines.queries.clear();
                lines.keys.clear();
                lines.values.clear();
                for row in lines.sums.chunks_exact(width + 2 * key_width) {
                    let (queries, rest) = row.split_at(width);
                    let (keys, values) = rest.split_at(key_width);
                    lines.queries.extend_from_slice(queries);
                    lines.keys.extend_from_slice(keys);
                    lines.values.extend_from_slice(values);
                }
            }
        }
    }

    fn attend(&mut self, part: &Part, lines: &mut Lines) -> Result<(), NoBlock> {
        let width = self.heads * self.cache.size();
        let key_width = self.cache.heads() * self.cache.size();
        lines.attended.resize(lines.queries.len(), 0.0);
        let attention = kernels::Attention {
            heads: self.heads,
            scale: self.scale,
            causal: true,
            soft_cap: self.soft_cap,
            window: self.window,
            sinks: self.sinks.as_deref(),
        };
        for Piece {
            rows,
            start,
            blocks,
        } in part.pieces()
        {
            let keys = rows.start * key_width..rows.end * key_width;
            let (keys, values) = (&lines.keys[keys.clone()], &lines.values[keys]);
            self.cache.write(keys, values, start, blocks)?;
            let rows = rows.start * width..rows.end * width;
            let queries = Queries {
                rows: &lines.queries[rows.clone()],
                start,
                blocks,
            };
            attention.run(
                &self.cache,
                queries,
                &mut lines.attended[rows],
                Backend::best(),
            )?;
        }
        Ok(())
    }
}
