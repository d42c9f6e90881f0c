//! The feed-forward of a layer on flat rows, gated or plain.

use kernels::{Backend, Gate, gated};

use super::arena::Arena;
use super::linear::Projection;
use crate::decoder::feed_forward::FeedForward as TensorFeedForward;
use crate::decoder::lora::{Lora, Module};

#[derive(Debug)]
pub(super) struct FeedForward {
    gate: Option<Projection>,
    up: Projection,
    down: Projection,
    activation: Gate,
}

impl FeedForward {
    /// A feed-forward without experts whose activation the kernels have; `None`: it is another.
    pub(super) fn of(feed_forward: &TensorFeedForward) -> Option<Self> {
        let TensorFeedForward::Dense(dense) = feed_forward else {
            return None;
        };
        let gate = match &dense.gate {
            Some(gate) => Some(Projection::of(gate)?),
            None => None,
        };
        Some(Self {
            gate,
            up: Projection::of(&dense.up)?,
            down: Projection::of(&dense.down)?,
            activation: dense.activation.kernel()?,
        })
    }

    /// `arena.normed` to `arena.sums`.
    pub(super) fn forward(&self, arena: &mut Arena, lora: Lora) {
        let inputs = arena.rounded.take(&arena.normed, self.up.inputs());
        self.up.forward(inputs, &mut arena.up);
        lora.add_rows(Module::Up, &arena.normed, &mut arena.up);
        let backend = Backend::best();
        let open = if let Some(gate) = &self.gate {
            gate.forward(inputs, &mut arena.gate);
            lora.add_rows(Module::Gate, &arena.normed, &mut arena.gate);
            gated(self.activation, &mut arena.gate, Some(&arena.up), backend);
            &arena.gate
        } else {
            gated(self.activation, &mut arena.up, None, backend);
            &arena.up
        };
        let inputs = arena.rounded.take(open, self.down.inputs());
        self.down.forward(inputs, &mut arena.sums);
        lora.add_rows(Module::Down, open, &mut arena.sums);
    }
}
