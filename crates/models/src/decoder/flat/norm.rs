//! Norms on flat rows.

use kernels::{Backend, layer_norm, rms_norm};

use super::linear::floats;
use crate::decoder::norm::Norm as TensorNorm;

#[derive(Debug)]
pub(super) struct Norm {
    weight: Vec<f32>,
    /// Of a layer norm.
    bias: Option<Vec<f32>>,
    epsilon: f32,
}

impl Norm {
    pub(super) fn of(norm: &TensorNorm) -> Option<Self> {
        Some(match norm {
            TensorNorm::RootMeanSquare { weight, epsilon } => Self {
                weight: floats(weight)?,
                bias: None,
                epsilon: *epsilon,
            },
            TensorNorm::Layer {
                weight,
                bias,
                epsilon,
            } => Self {
                weight: floats(weight)?,
                bias: Some(floats(bias)?),
                epsilon: *epsilon,
            },
        })
    }

    /// In place of what `out` held.
    pub(super) fn forward(&self, rows: &[f32], out: &mut Vec<f32>) {
        out.resize(rows.len(), 0.0);
        let backend = Backend::best();
        match &self.bias {
            None => rms_norm(rows, &self.weight, self.epsilon, out, backend),
            Some(bias) => {
                let weights = (self.weight.as_slice(), Some(bias.as_slice()));
                layer_norm(rows, weights, self.epsilon, out, backend);
            }
        }
    }
}
