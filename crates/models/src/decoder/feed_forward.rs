//! The feed-forward of a layer on flat rows: gated (Shazeer 2020) or plain, or a mixture of experts.

use candle_core::{Result, Tensor};
use candle_nn::ops::{sigmoid, silu};
use kernels::Gate;

use super::config::{self, Activation, DecoderConfig};
use super::experts::Experts;
use super::layout::Trio;
use super::lora::{Lora, Module};
use super::source::{Matrix, Scope};
use crate::floats::{Gated, on_cpu};
use crate::gguf::Part;
use crate::linear::Linear;
use crate::load::LoadError;

/// GPT-OSS's slope of the sigmoid.
const CLAMPED_SLOPE: f64 = 1.702;

/// What a layer has after attention.
#[derive(Debug)]
pub(crate) enum FeedForward {
    Dense(Dense),
    Experts(Experts),
}

/// One feed-forward.
#[derive(Debug)]
pub(crate) struct Dense {
    pub(crate) gate: Option<Linear>,
    pub(crate) up: Linear,
    pub(crate) down: Linear,
    pub(crate) activation: Activation,
}

/// Which feed-forward of a checkpoint.
#[derive(Clone, Copy)]
pub(crate) struct Shape<'a> {
    /// Before the names of the projections.
    pub(crate) prefix: &'a str,
    pub(crate) names: Trio,
    pub(crate) hidden: usize,
    pub(crate) inner: usize,
    pub(crate) part: Option<Part>,
}

impl FeedForward {
    pub(crate) fn load(
        scope: &Scope,
        config: &DecoderConfig,
        layer: usize,
    ) -> std::result::Result<Self, LoadError> {
        if let Some(experts) = config.experts(layer) {
            return Experts::load(scope, config, experts).map(Self::Experts);
        }
        let shape = Shape {
            prefix: "",
            names: scope.layout().feed_forward,
            hidden: config.hidden,
            inner: config.intermediate,
            part: None,
        };
        Dense::load(scope, shape, config.feed_forward).map(Self::Dense)
    }

    /// Whether a row's bits are the same whatever rows are beside it.
    pub(crate) fn keeps_rows_apart(&self) -> bool {
        match self {
            Self::Dense(dense) => dense.keeps_rows_apart(),
            Self::Experts(experts) => experts.keeps_rows_apart(),
        }
    }

    /// `[rows, hidden]` to the same.
    pub(crate) fn forward(&self, rows: &Tensor, lora: Lora) -> Result<Tensor> {
        match self {
            Self::Dense(dense) => dense.forward(rows, lora),
            Self::Experts(experts) => experts.forward(rows),
        }
    }
}

impl Dense {
    pub(crate) fn load(
        scope: &Scope,
        shape: Shape,
        config: config::FeedForward,
    ) -> std::result::Result<Self, LoadError> {
        let linear = |name: &str, inner: usize, outer: usize| {
            scope.linear(Matrix {
                name: &format!("{}{name}", shape.prefix),
                inner,
                outer,
                bias: config.bias,
                part: shape.part,
            })
        };
        let Shape { hidden, inner, .. } = shape;
        let gate = config
            .gated
            .then(|| linear(shape.names.gate, hidden, inner))
            .transpose()?;
        Ok(Self {
            gate,
            up: linear(shape.names.up, hidden, inner)?,
            down: linear(shape.names.down, inner, hidden)?,
            activation: config.activation,
        })
    }

    pub(crate) fn keeps_rows_apart(&self) -> bool {
        let mut all = self.gate.iter().chain([&self.up, &self.down]);
        all.all(Linear::keeps_rows_apart)
    }

    pub(crate) fn forward(&self, rows: &Tensor, lora: Lora) -> Result<Tensor> {
        let open = match &self.gate {
            Some(gate) => {
                let [gate, up] = Linear::forward_all([gate, &self.up], rows)?;
                let gate = lora.add(Module::Gate, rows, gate)?;
                let up = lora.add(Module::Up, rows, up)?;
                self.activation.gate(&gate, &up)?
            }
            None => self.activation.apply(&self.up.forward(rows)?)?,
        };
        lora.add(Module::Down, &open, self.down.forward(&open)?)
    }
}

impl Activation {
    /// `gate` through the activation, times `up`; `gate` is held by nobody else.
    fn gate(self, gate: &Tensor, up: &Tensor) -> Result<Tensor> {
        match self.kernel() {
            Some(kernel) if on_cpu(gate) => {
                gate.inplace_op2(up, &Gated(kernel))?;
                return Ok(gate.clone());
            }
            _ => {}
        }
        match self {
            Self::ClampedSwish { limit } => {
                let gate = gate.minimum(limit)?;
                let up = up.clamp(-limit, limit)?;
                let open = (&gate * sigmoid(&(&gate * CLAMPED_SLOPE)?)?)?;
                (up + 1.0)? * open
            }
            _ => self.apply(gate)? * up,
        }
    }

    /// Rows that are held by nobody else through the activation.
    fn apply(self, rows: &Tensor) -> Result<Tensor> {
        match self.kernel() {
            Some(kernel) if on_cpu(rows) => {
                rows.inplace_op1(&Gated(kernel))?;
                return Ok(rows.clone());
            }
            _ => {}
        }
        match self {
            Self::Silu => silu(rows),
            Self::GeluTanh => rows.gelu(),
            Self::GeluErf => rows.gelu_erf(),
            Self::ClampedSwish { .. } => self.gate(rows, &rows.zeros_like()?),
        }
    }

    /// As the kernels know it.
    pub(super) fn kernel(self) -> Option<Gate> {
        match self {
            Self::Silu => Some(Gate::Silu),
            Self::GeluTanh => Some(Gate::GeluTanh),
            Self::GeluErf => Some(Gate::GeluErf),
            Self::ClampedSwish { .. } => None,
        }
    }
}
