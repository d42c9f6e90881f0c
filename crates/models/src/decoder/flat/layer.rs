//! One layer on flat rows: attention and a feed-forward, joined to the residual stream in the way of the family.

use engine::model::Step;
use kernels::NoBlock;

use super::add;
use super::arena::Arena;
use super::attention::Attention;
use super::feed_forward::FeedForward;
use super::linear::Projection;
use super::norm::Norm;
use super::part::Part;
use crate::decoder::layer::{Layer as TensorLayer, Norms as TensorNorms};
use crate::decoder::lora::Lora;

#[derive(Debug)]
pub(super) struct Layer {
    norms: Norms,
    attention: Attention,
    feed_forward: FeedForward,
    /// Multiplies what is added to the residual stream.
    factor: Option<f32>,
    weights_bytes: usize,
    /// Of what its matrices make of a row.
    row_bytes: usize,
}

/// The norms of a [`crate::decoder::Block`].
#[derive(Debug)]
enum Norms {
    Sequential([Norm; 2]),
    /// Before and after attention, before and after the feed-forward.
    Sandwiched([Norm; 4]),
    Parallel(Norm),
}

impl Norms {
    fn of(norms: &TensorNorms) -> Option<Self> {
        Some(match norms {
            TensorNorms::Sequential {
                attention,
                feed_forward,
            } => Self::Sequential([Norm::of(attention)?, Norm::of(feed_forward)?]),
            TensorNorms::Sandwiched {
                attention: [before, after],
                feed_forward: [next_before, next_after],
            } => Self::Sandwiched([
                Norm::of(before)?,
                Norm::of(after)?,
                Norm::of(next_before)?,
                Norm::of(next_after)?,
            ]),
            TensorNorms::Parallel(norm) => Self::Parallel(Norm::of(norm)?),
        })
    }
}

impl Layer {
    /// The same layer with an empty cache, whose rows turn by one of the arena's angles; `None`: it is of
    /// another kind.
    pub(super) fn of(layer: &TensorLayer, blocks: usize, angles: usize) -> Option<Self> {
        let attention = Attention::of(&layer.attention, blocks, angles)?;
        let feed_forward = FeedForward::of(&layer.feed_forward)?;
        let projections = || attention.projections().chain(feed_forward.projections());
        Some(Self {
            weights_bytes: projections().map(Projection::bytes).sum(),
            row_bytes: size_of::<f32>() * projections().map(Projection::outputs).sum::<usize>(),
            norms: Norms::of(&layer.norms)?,
            attention,
            feed_forward,
            factor: layer.factor.map(|factor| factor as f32),
        })
    }

    /// `arena.hidden` to the same, writing the rows' keys and values to the cache.
    pub(super) fn forward(
        &mut self,
        step: &Step,
        arena: &mut Arena,
        lora: Lora,
    ) -> Result<(), NoBlock> {
        for part in Part::of(step, self.weights_bytes, self.row_bytes) {
            self.forward_part(&part, arena, lora.of_rows(part.rows()))?;
        }
        Ok(())
    }

    /// The same of rows that go through together.
    fn forward_part(&mut self, part: &Part, arena: &mut Arena, lora: Lora) -> Result<(), NoBlock> {
        let Arena {
            hidden,
            lines,
            angles,
        } = arena;
        let hidden = part.of_values_mut(hidden);
        let factor = self.factor;
        match &self.norms {
            Norms::Sequential([attention, feed_forward]) => {
                attention.forward(hidden, &mut lines.normed);
                self.attention.forward(part, lines, angles, lora)?;
                add(hidden, &lines.sums, factor);
                feed_forward.forward(hidden, &mut lines.normed);
                self.feed_forward.forward(lines, lora);
                add(hidden, &lines.sums, factor);
            }
            Norms::Sandwiched([before, after, next_before, next_after]) => {
                before.forward(hidden, &mut lines.normed);
                self.attention.forward(part, lines, angles, lora)?;
                after.forward(&lines.sums, &mut lines.normed);
                add(hidden, &lines.normed, factor);
                next_before.forward(hidden, &mut lines.normed);
                self.feed_forward.forward(lines, lora);
                next_after.forward(&lines.sums, &mut lines.normed);
                add(hidden, &lines.normed, factor);
            }
            Norms::Parallel(norm) => {
                norm.forward(hidden, &mut lines.normed);
                self.attention.forward(part, lines, angles, lora)?;
                add(hidden, &lines.sums, factor);
                self.feed_forward.forward(lines, lora);
                add(hidden, &lines.sums, factor);
            }
        }
        Ok(())
    }
}
