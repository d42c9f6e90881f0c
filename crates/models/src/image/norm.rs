//! Normalisations: of groups of channels, of rows, with and without weights.

use candle_core::{D, DType, Result, Tensor};

use super::source::Source;
use crate::load::LoadError;

/// Wu and He 2018: each group of channels of a picture to mean 0 and variance 1.
#[derive(Debug, Clone)]
pub(super) struct GroupNorm {
    /// `[1, channels, 1]`.
    weight: Tensor,
    bias: Tensor,
    groups: usize,
    epsilon: f64,
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
        let column = |leaf| {
            source
                .tensor(leaf, &[channels])?
                .reshape((1, channels, 1))
                .map_err(|error| LoadError::device(&error))
        };
        Ok(Self {
            weight: column("weight")?,
            bias: column("bias")?,
            groups,
            epsilon,
        })
    }

    /// `[batch, channels, ..]`, as it came.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
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
