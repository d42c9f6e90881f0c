//! Linear layers on flat rows. [`Projection::forward`] is the one place where a layer's rows are made.

use std::sync::Arc;

use candle_core::{DType, Tensor};
use kernels::{Activations, Backend, PackedLinear};

use crate::decoder::PRECISION;
use crate::linear::Linear;

/// `x W^T + b`.
#[derive(Debug)]
pub(super) struct Projection {
    weights: Arc<PackedLinear>,
    /// `[outputs]`; empty for a layer without.
    bias: Vec<f32>,
}

/// Rows that one or several layers multiply, `[rows, inputs]`.
#[derive(Clone, Copy)]
pub(super) struct Inputs<'a> {
    rows: &'a [f32],
    /// The same as integers.
    rounded: &'a Activations,
}

/// Memory for rounded rows.
#[derive(Debug, Default)]
pub(super) struct Rounded(Activations);

impl Rounded {
    /// Rounds rows of so many inputs.
    pub(super) fn take<'a>(&'a mut self, rows: &'a [f32], inputs: usize) -> Inputs<'a> {
        self.0.quantise(rows, inputs, PRECISION, Backend::best());
        Inputs {
            rows,
            rounded: &self.0,
        }
    }
}

impl Projection {
    /// A layer of packed weights; `None`: it has others.
    pub(super) fn of(linear: &Linear) -> Option<Self> {
        let (packed, bias) = linear.packed_parts()?;
        (packed.precision == PRECISION).then_some(())?; // as `Rounded` rounds
        Some(Self {
            weights: packed.weights.clone(),
            bias: bias.map_or(Some(Vec::new()), floats)?,
        })
    }

    pub(super) fn inputs(&self) -> usize {
        self.weights.inputs()
    }

    pub(super) fn outputs(&self) -> usize {
        self.weights.outputs()
    }

    /// Bytes of its packed weights.
    pub(super) fn bytes(&self) -> usize {
        self.weights.bytes()
    }

    /// `[rows, inputs]` to `[rows, outputs]`, in place of what `out` held.
    pub(super) fn forward(&self, inputs: Inputs<'_>, out: &mut Vec<f32>) {
        let outputs = self.outputs();
        out.resize(inputs.rows.len() / self.inputs() * outputs, 0.0);
        self.weights.multiply(inputs.rounded, out, Backend::best());
        if self.bias.is_empty() {
            return;
        }
        for row in out.chunks_exact_mut(outputs) {
            for (value, bias) in row.iter_mut().zip(&self.bias) {
                *value += bias;
            }
        }
    }
}

/// A tensor's numbers in float32.
pub(super) fn floats(tensor: &Tensor) -> Option<Vec<f32>> {
    tensor
        .to_dtype(DType::F32)
        .and_then(|tensor| tensor.flatten_all()?.to_vec1())
        .ok()
}
