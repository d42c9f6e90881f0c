//! Normalisations: of groups of channels, of rows, with and without weights.

use candle_core::{CpuStorage, CustomOp1, D, DType, Layout, Result, Shape, Tensor};
use kernels::Backend;

use super::source::{Source, unloaded};
use crate::floats::on_cpu;
use crate::load::LoadError;

/// Wu and He 2018: each group of channels of a picture to mean 0 and variance 1.
#[derive(Debug, Clone)]
pub(super) struct GroupNorm {
    /// `[1, channels, 1]`.
    weight: Tensor,
    bias: Tensor,
    groups: usize,
    epsilon: f64,
    /// Weight and bias for the CPU; empty elsewhere.
    numbers: [Vec<f32>; 2],
}

impl GroupNorm {
    pub(super) fn read(
        source: &Source<'_>,
        channels: usize,
        groups: usize,
        epsilon: f64,
    ) -> std::result::Result<Self, LoadError> {
        if groups == 0 || !channels.is_multiple_of(groups) {
            let detail = format!("{channels} channels in {groups} groups");
            return Err(LoadError::corrupt(source.checkpoint.file(), detail));
        }
        let (weight, bias) = (
            source.tensor("weight", &[channels])?,
            source.tensor("bias", &[channels])?,
        );
        let numbers = |tensor: &Tensor| {
            if on_cpu(tensor) {
                tensor.to_vec1()
            } else {
                Ok(Vec::new())
            }
        };
        let read = || -> Result<Self> {
            Ok(Self {
                numbers: [numbers(&weight)?, numbers(&bias)?],
                weight: weight.reshape((1, channels, 1))?,
                bias: bias.reshape((1, channels, 1))?,
                groups,
                epsilon,
            })
        };
        read().map_err(|error| unloaded(&error))
    }

    /// `[batch, channels, ..]`, as it came.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if on_cpu(x) {
            return self.on_cpu(x, false);
        }
        let (batch, channels) = (x.dim(0)?, x.dim(1)?);
        let rows = x.reshape((batch, self.groups, ()))?.to_dtype(DType::F32)?;
        let normal = standard(&rows, self.epsilon)?;
        normal
            .reshape((batch, channels, ()))?
            .to_dtype(x.dtype())?
            .broadcast_mul(&self.weight)?
            .broadcast_add(&self.bias)?
            .reshape(x.shape())
    }

    /// The same with SiLU after it.
    pub(super) fn silu(&self, x: &Tensor) -> Result<Tensor> {
        if on_cpu(x) {
            return self.on_cpu(x, true);
        }
        self.forward(x)?.silu()
    }

    fn on_cpu(&self, x: &Tensor, silu: bool) -> Result<Tensor> {
        x.contiguous()?
            .apply_op1_no_bwd(&Normed { norm: self, silu })
    }
}

/// A group norm on the CPU.
struct Normed<'a> {
    norm: &'a GroupNorm,
    silu: bool,
}

impl CustomOp1 for Normed<'_> {
    fn name(&self) -> &'static str {
        "group norm"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let [weight, bias] = &self.norm.numbers;
        let values = storage.as_slice::<f32>()?;
        let (Some((start, end)), &[batch, channels, ..]) =
            (layout.contiguous_offsets(), layout.dims())
        else {
            candle_core::bail!("channels of a group norm do not lie in order");
        };
        if channels != weight.len() || batch == 0 {
            candle_core::bail!("{channels} channels for {}", weight.len());
        }
        let values = &values[start..end];
        let mut out = vec![0.0; values.len()];
        let norm = kernels::GroupNorm {
            groups: self.norm.groups,
            weight,
            bias,
            epsilon: self.norm.epsilon as f32,
            silu: self.silu,
        };
        let pixels = values.len() / (batch * channels);
        norm.run(values, pixels, &mut out, Backend::best());
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }
}

/// The last axis to mean 0 and variance 1.
pub(super) fn standard(x: &Tensor, epsilon: f64) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    centred.broadcast_div(&(variance + epsilon)?.sqrt()?)
}

/// Ba, Kiros and Hinton 2016.
#[derive(Debug, Clone)]
pub(super) struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    epsilon: f32,
}

impl LayerNorm {
    pub(super) fn read(
        source: &Source<'_>,
        width: usize,
        epsilon: f64,
    ) -> std::result::Result<Self, LoadError> {
        Ok(Self {
            weight: source.tensor("weight", &[width])?,
            bias: source.tensor("bias", &[width])?,
            epsilon: epsilon as f32,
        })
    }

    /// `[.., width]`, as it came.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        candle_nn::ops::layer_norm(&x.contiguous()?, &self.weight, &self.bias, self.epsilon)
    }
}

/// Zhang and Sennrich 2019.
#[derive(Debug, Clone)]
pub(super) struct RmsNorm {
    weight: Tensor,
    epsilon: f32,
}

impl RmsNorm {
    pub(super) fn read(
        source: &Source<'_>,
        leaf: &str,
        width: usize,
        epsilon: f64,
    ) -> std::result::Result<Self, LoadError> {
        Ok(Self {
            weight: source.tensor(leaf, &[width])?,
            epsilon: epsilon as f32,
        })
    }

    /// `[.., width]`, as it came.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        candle_nn::ops::rms_norm(&x.contiguous()?, &self.weight, self.epsilon)
    }
}
