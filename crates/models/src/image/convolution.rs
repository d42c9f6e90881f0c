//! A convolution over pictures. On the CPU weights of 16 bits stay as they are in their file.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, DType, Layout, Result, Shape, Tensor};
use kernels::{Backend, Format, Picture, Window};

use super::source::{Source, unloaded};
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
    weight: Weight,
    /// `[1, outputs, 1, 1]`.
    bias: Tensor,
    kernel: Kernel,
}

#[derive(Debug, Clone)]
enum Weight {
    /// `[outputs, inputs, side, side]`.
    Tensor(Tensor),
    Packed(Arc<kernels::Convolution>),
}

impl Convolution {
    pub(super) fn read(
        source: &Source<'_>,
        inputs: usize,
        outputs: usize,
        kernel: Kernel,
    ) -> std::result::Result<Self, LoadError> {
        let side = kernel.side;
        let shape = [outputs, inputs, side, side];
        let bias = source.tensor("bias", &[outputs])?;
        let (dtype, bytes) = source.bytes("weight", &shape)?;
        let format = match dtype {
            _ if !source.home.device.is_cpu() => None,
            DType::F16 => Some(Format::F16),
            DType::BF16 => Some(Format::BF16),
            DType::F32 => Some(Format::F32),
            _ => None,
        };
        let weight = match format {
            Some(format) => {
                let window = Window {
                    side,
                    stride: kernel.stride,
                    padding: kernel.padding,
                };
                let packed = kernels::Convolution::pack(format, &bytes, (outputs, inputs), window);
                let packed = packed.map_err(|error| {
                    LoadError::corrupt(source.checkpoint.file(), error.to_string())
                })?;
                Weight::Packed(Arc::new(packed))
            }
            None => Weight::Tensor(source.tensor("weight", &shape)?),
        };
        Ok(Self {
            weight,
            bias: bias
                .reshape((1, outputs, 1, 1))
                .map_err(|error| unloaded(&error))?,
            kernel,
        })
    }

    /// `[batch, inputs, height, width]` to `[batch, outputs, height, width]`, over the stride.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.plus(x, &self.bias)
    }

    /// The same plus a shift of each picture's channels, `[batch, outputs]`.
    pub(super) fn shifted(&self, x: &Tensor, shift: &Tensor) -> Result<Tensor> {
        let shift = shift.unsqueeze(2)?.unsqueeze(3)?;
        self.plus(x, &shift.broadcast_add(&self.bias)?)
    }

    /// `bias` is `[1 or batch, outputs, 1, 1]`.
    fn plus(&self, x: &Tensor, bias: &Tensor) -> Result<Tensor> {
        let x = x.contiguous()?;
        match &self.weight {
            Weight::Tensor(weight) => {
                let Kernel {
                    stride, padding, ..
                } = self.kernel;
                x.conv2d(weight, padding, stride, 1, 1)?.broadcast_add(bias)
            }
            Weight::Packed(weights) => {
                let bias = bias.flatten_all()?.to_vec1()?;
                let weights = weights.clone();
                x.apply_op1_no_bwd(&Convolved { weights, bias })
            }
        }
    }
}

/// What a packed convolution makes of pictures.
struct Convolved {
    weights: Arc<kernels::Convolution>,
    bias: Vec<f32>,
}

impl CustomOp1 for Convolved {
    fn name(&self) -> &'static str {
        "convolution"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (batch, channels, height, width) = layout.shape().dims4()?;
        let values = storage.as_slice::<f32>()?;
        let Some((start, end)) = layout.contiguous_offsets() else {
            candle_core::bail!("the pixels of a convolution do not lie in order");
        };
        if channels != self.weights.inputs() {
            candle_core::bail!("{channels} channels for {}", self.weights.inputs());
        }
        let outputs = self.weights.outputs();
        let (tall, wide) = (self.weights.size(height), self.weights.size(width));
        let picture = Picture {
            values: &values[start..end],
            batch,
            height,
            width,
        };
        let mut out = vec![0.0; batch * outputs * tall * wide];
        self.weights
            .run(picture, &self.bias, &mut out, Backend::best());
        Ok((CpuStorage::F32(out), (batch, outputs, tall, wide).into()))
    }
}
