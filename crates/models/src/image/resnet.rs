//! A residual block of convolutions (He et al. 2016), with a moment of time where the model has one.

use candle_core::{Result, Tensor};

use super::convolution::{Convolution, Kernel};
use super::linear::Linear;
use super::norm::GroupNorm;
use super::source::Source;
use crate::load::LoadError;

/// The sizes of a block.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) groups: usize,
    pub(super) epsilon: f64,
    /// The width of the vector of time; `None`: there is none.
    pub(super) time: Option<usize>,
}

pub(super) struct Resnet {
    norms: [GroupNorm; 2],
    convolutions: [Convolution; 2],
    time: Option<Linear>,
    shortcut: Option<Convolution>,
}

impl Resnet {
    pub(super) fn read(source: &Source<'_>, sizes: Sizes) -> std::result::Result<Self, LoadError> {
        let Sizes {
            inputs,
            outputs,
            groups,
            epsilon,
            time,
        } = sizes;
        let time = match time {
            Some(width) => Some(Linear::read(&source.at("time_emb_proj"), width, outputs)?),
            None => None,
        };
        let shortcut = source.at("conv_shortcut");
        Ok(Self {
            norms: [
                GroupNorm::read(&source.at("norm1"), inputs, groups, epsilon)?,
                GroupNorm::read(&source.at("norm2"), outputs, groups, epsilon)?,
            ],
            convolutions: [
                Convolution::read(&source.at("conv1"), inputs, outputs, Kernel::SAME)?,
                Convolution::read(&source.at("conv2"), outputs, outputs, Kernel::SAME)?,
            ],
            time,
            shortcut: if inputs == outputs {
                None
            } else {
                Some(Convolution::read(
                    &shortcut,
                    inputs,
                    outputs,
                    Kernel::POINT,
                )?)
            },
        })
    }

    /// `[batch, inputs, height, width]` to `[batch, outputs, height, width]`; `time` is
    /// `[batch, width]`.
    pub(super) fn forward(&self, x: &Tensor, time: Option<&Tensor>) -> Result<Tensor> {
        let inner = self.norms[0].silu(x)?;
        let inner = match (&self.time, time) {
            (Some(layer), Some(time)) => {
                self.convolutions[0].shifted(&inner, &layer.forward(&time.silu()?)?)?
            }
            _ => self.convolutions[0].forward(&inner)?,
        };
        let inner = self.convolutions[1].forward(&self.norms[1].silu(&inner)?)?;
        match &self.shortcut {
            Some(shortcut) => shortcut.forward(x)? + inner,
            None => x + inner,
        }
    }
}
