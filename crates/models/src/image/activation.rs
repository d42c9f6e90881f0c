//! Activations, by the words of configurations.

use candle_core::{Result, Tensor};
use kernels::Gate;

use crate::floats::{Gated, on_cpu};

/// What stands between two linear layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Activation {
    /// Hendrycks and Gimpel 2016, exact.
    Gelu,
    /// The same by tanh.
    GeluTanh,
    /// `x sigmoid(1.702 x)`.
    QuickGelu,
    Relu,
}

impl Activation {
    pub(super) fn of_word(word: &str) -> Option<Self> {
        Some(match word {
            "gelu" => Self::Gelu,
            "gelu_new" | "gelu_pytorch_tanh" | "gelu-approximate" => Self::GeluTanh,
            "quick_gelu" => Self::QuickGelu,
            "relu" => Self::Relu,
            _ => return None,
        })
    }

    pub(super) fn forward(self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::QuickGelu => x * candle_nn::ops::sigmoid(&(x * 1.702)?)?,
            Self::Relu => x.relu(),
            Self::Gelu | Self::GeluTanh if on_cpu(x) => {
                let copy = x.force_contiguous()?;
                copy.inplace_op1(&Gated(self.gate()))?;
                Ok(copy)
            }
            Self::Gelu => x.gelu_erf(),
            Self::GeluTanh => x.gelu(),
        }
    }

    /// The activation of `gate` times `x`.
    pub(super) fn gated(self, gate: &Tensor, x: &Tensor) -> Result<Tensor> {
        if on_cpu(gate) && matches!(self, Self::Gelu | Self::GeluTanh) {
            let copy = gate.force_contiguous()?;
            copy.inplace_op2(&x.contiguous()?, &Gated(self.gate()))?;
            return Ok(copy);
        }
        self.forward(gate)? * x
    }

    fn gate(self) -> Gate {
        match self {
            Self::GeluTanh => Gate::GeluTanh,
            _ => Gate::GeluErf,
        }
    }
}
