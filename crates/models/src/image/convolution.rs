//! A convolution over pictures.

use candle_core::{Result, Tensor};

use super::source::Source;
use crate::load::LoadError;

/// The shape of a square convolution.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kernel {
    pub(super) side: usize,
    pub(super) stride: usize,
    pub(super) padding: usize,
}

impl Kernel {
    /// A pixel to a pixel.
    pub(super) const POINT: Self = Self {
        side: 1,
        stride: 1,
        padding: 0,
    };
    /// Keeps the size.
    pub(super) const SAME: Self = Self {
        side: 3,
        stride: 1,
        padding: 1,
    };
}

/// A convolution with its bias.
#[derive(Debug, Clone)]
pub(super) struct Convolution {
    /// `[outputs, inputs, side, side]`.
    weight: Tensor,
    /// `[1, outputs, 1, 1]`.
    bias: Tensor,
    kernel: Kernel,
}

impl Convolution {
    pub(super) fn read(
        source: &Source<'_>,
        inputs: usize,
        outputs: usize,
        kernel: Kernel,
    ) -> std::result::Result<Self, LoadError> {
        let side = kernel.side;
        let bias = source.tensor("bias", &[outputs])?;
        Ok(Self {
            weight: source.tensor("weight", &[outputs, inputs, side, side])?,
            bias: bias
                .reshape((1, outputs, 1, 1))
                .map_err(|error| LoadError::device(&error))?,
            kernel,
        })
    }

    /// `[batch, inputs, height, width]` to `[batch, outputs, height, width]`, over the stride.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let Kernel {
            stride, padding, ..
        } = self.kernel;
        let x = x.contiguous()?; // what the tiles of the convolution read in order
        x.conv2d(&self.weight, padding, stride, 1, 1)?
            .broadcast_add(&self.bias)
    }
}
