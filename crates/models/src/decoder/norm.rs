//! The norms of a decoder on flat rows.

use candle_core::{Result, Tensor};
use candle_nn::ops::{layer_norm, rms_norm};
use kernels::Backend;

use super::config::{self, NormKind};
use super::source::Scope;
use crate::floats::{on_cpu, with_floats};
use crate::load::LoadError;

/// A norm with its weights.
#[derive(Debug)]
pub(crate) enum Norm {
    RootMeanSquare {
        weight: Tensor,
        epsilon: f32,
    },
    Layer {
        weight: Tensor,
        bias: Tensor,
        epsilon: f32,
    },
}

impl Norm {
    /// Reads the norm of this name.
    pub(crate) fn load(
        scope: &Scope,
        name: &str,
        size: usize,
        norm: config::Norm,
    ) -> std::result::Result<Self, LoadError> {
        let weight = scope.weight(name, &[size])?;
        let offset = scope.layout().norm_offset;
        let weight = if offset == 0.0 {
            Ok(weight)
        } else {
            weight + offset
        };
        let weight = weight.map_err(|error| LoadError::device(&error))?;
        let epsilon = norm.epsilon as f32;
        Ok(match norm.kind {
            NormKind::RootMeanSquare => Self::RootMeanSquare { weight, epsilon },
            NormKind::Layer => Self::Layer {
                weight,
                bias: scope.bias(name, size)?,
                epsilon,
            },
        })
    }

    /// `[rows, size]` to the same.
    pub(crate) fn forward(&self, rows: &Tensor) -> Result<Tensor> {
        if on_cpu(rows) {
            return self.forward_on_cpu(rows);
        }
        match self {
            Self::RootMeanSquare { weight, epsilon } => rms_norm(rows, weight, *epsilon),
            Self::Layer {
                weight,
                bias,
                epsilon,
            } => layer_norm(rows, weight, bias, *epsilon),
        }
    }
    fn forward_on_cpu(&self, rows: &Tensor) -> Result<Tensor> {
        let backend = Backend::best();
        let mut out = vec![0.0; rows.elem_count()];
        match self {
            Self::RootMeanSquare { weight, epsilon } => {
                with_floats([rows, weight], |[rows, weight]| {
                    kernels::rms_norm(rows, weight, *epsilon, &mut out, backend);
                    Ok(())
                })?;
            }
            Self::Layer {
                weight,
                bias,
                epsilon,
            } => with_floats([rows, weight, bias], |[rows, weight, bias]| {
                kernels::layer_norm(rows, (weight, Some(bias)), *epsilon, &mut out, backend);
                Ok(())
            })?,
        }
        Tensor::from_vec(out, rows.shape(), rows.device())
    }
}
