//! A linear layer on flat rows. The one place where weights meet activations.

use candle_core::{Result, Tensor};

/// `x W^T + b`, with dense weights.
#[derive(Debug, Clone)]
pub(crate) struct Linear {
    /// `[out, in]`.
    weight: Tensor,
    /// `[out]`.
    bias: Option<Tensor>,
}

impl Linear {
    /// Takes the weight `[out, in]` and, where there is one, the bias `[out]`.
    pub(crate) fn new(weight: Tensor, bias: Option<Tensor>) -> Self {
        Self { weight, bias }
    }

    /// `[rows, in]` to `[rows, out]`.
    pub(crate) fn forward(&self, rows: &Tensor) -> Result<Tensor> {
        let product = rows.matmul(&self.weight.t()?)?;
        match &self.bias {
            Some(bias) => product.broadcast_add(bias),
            None => Ok(product),
        }
    }
}
