//! One layer on flat rows: attention and a feed-forward, joined to the residual stream in the way of the family.

use engine::model::Step;
use kernels::NoBlock;

use super::add;
use super::arena::Arena;
use super::attention::Attention;
use super::feed_forward::FeedForward;
use super::norm::Norm;
use crate::decoder::layer::{Layer as TensorLayer, Norms as TensorNorms};
use crate::decoder::lora::Lora;

#[derive(Debug)]
pub(super) struct Layer {
    norms: Norms,
    attention: Attention,
    feed_forward: FeedForward,
    /// Multiplies what is added to the residual stream.
    factor: Option<f32>,
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
        Some(Self {
            norms: Norms::of(&layer.norms)?,
            attention: Attention::of(&layer.attention, blocks, angles)?,
            feed_forward: FeedForward::of(&layer.feed_forward)?,
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
        let factor = self.factor;
        match &self.norms {
            Norms::Sequential([attention, feed_forward]) => {
                attention.forward(&arena.hidden, &mut arena.normed);
                self.attention.forward(step, arena, lora)?;
                add(&mut arena.hidden, &arena.sums, factor);
                feed_forward.forward(&arena.hidden, &mut arena.normed);
                self.feed_forward.forward(arena, lora);
                add(&mut arena.hidden, &arena.sums, factor);
            }
            Norms::Sandwiched([before, after, next_before, next_after]) => {
                before.forward(&arena.hidden, &mut arena.normed);
                self.attention.forward(step, arena, lora)?;
                after.forward(&arena.sums, &mut arena.normed);
                add(&mut arena.hidden, &arena.normed, factor);
                next_before.forward(&arena.hidden, &mut arena.normed);
                self.feed_forward.forward(arena, lora);
                next_after.forward(&arena.sums, &mut arena.normed);
                add(&mut arena.hidden, &arena.normed, factor);
            }
            Norms::Parallel(norm) => {
                norm.forward(&arena.hidden, &mut arena.normed);
                self.attention.forward(step, arena, lora)?;
                add(&mut arena.hidden, &arena.sums, factor);
                self.feed_forward.forward(arena, lora);
                add(&mut arena.hidden, &arena.sums, factor);
            }
        }
        Ok(())
    }
}
