//! The feed-forward of a layer on flat rows, gated or plain.

use kernels::{Backend, Gate, gated};

use super::arena::Lines;
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

    /// All its weight matrices.
    pub(super) fn projections(&self) -> impl Iterator<Item = &Projection> {
        self.gate.iter().chain([&self.up, &self.down])
    }

    /// `lines.normed` to `lines.sums`.
    pub(super) fn forward(&self, lines: &mut Lines, lora: Lora) {
        let inputs = lines.rounded.take(&lines.normed, self.up.inputs());
        self.up.forward(inputs, &mut lines.up);
        lora.add_rows(Module::Up, &lines.normed, &mut lines.up);
        let backend = Backend::best();
        let open = if let Some(gate) = &self.gate {
            gate.forward(inputs, &mut lines.gate);
            lora.add_rows(Module::Gate, &lines.normed, &mut lines.gate);
            gated(self.activation, &mut lines.gate, Some(&lines.up), backend);
            &lines.gate
        } else {
            gated(self.activation, &mut lines.up, None, backend);
            &lines.up
        };
        let inputs = lines.rounded.take(open, self.down.inputs());
        self.down.forward(inputs, &mut lines.sums);
        lora.add_rows(Module::Down, open, &mut lines.sums);
    }
}
