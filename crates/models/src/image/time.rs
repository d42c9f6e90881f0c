//! Moments of time as vectors of sines (Vaswani et al. 2017), as diffusion models read them.

use candle_core::{DType, Device, Result, Tensor};

use super::linear::Linear;
use super::source::Source;
use crate::load::LoadError;

/// The longest wave.
const PERIOD: f64 = 10_000.0;

/// `[numbers, width]`: the cosines, then the sines.
pub(super) fn waves(numbers: &[f32], width: usize, device: &Device) -> Result<Tensor> {
    let half = width / 2;
    let mut rows = Vec::with_capacity(numbers.len() * width);
    for &number in numbers {
        let angle = |index: usize| {
            let share = -PERIOD.ln() as f32 * index as f32 / half as f32;
            number * share.exp()
        };
        rows.extend((0..half).map(|index| angle(index).cos()));
        rows.extend((0..half).map(|index| angle(index).sin()));
        rows.resize(rows.len() + width % 2, 0.0);
    }
    Tensor::from_vec(rows, (numbers.len(), width), device)
}

/// `[guidances, width]`: the sines, then the cosines, of waves that end at the longest one, as latent
/// consistency models read a guidance (Luo et al. 2023).
pub(super) fn waves_of_guidance(
    guidances: &[f32],
    width: usize,
    device: &Device,
) -> Result<Tensor> {
    let half = width / 2;
    let mut rows = Vec::with_capacity(guidances.len() * width);
    for &guidance in guidances {
        let angle = |index: usize| {
            let share = -PERIOD.ln() as f32 * index as f32 / half.saturating_sub(1).max(1) as f32;
            guidance * share.exp()
        };
        rows.extend((0..half).map(|index| angle(index).sin()));
        rows.extend((0..half).map(|index| angle(index).cos()));
        rows.resize(rows.len() + width % 2, 0.0);
    }
    Tensor::from_vec(rows, (guidances.len(), width), device)
}

/// Two linear layers with SiLU between them.
pub(super) struct Embedder([Linear; 2]);

impl Embedder {
    /// Reads `linear_1` and `linear_2`, or what the two names say.
    pub(super) fn read(
        source: &Source<'_>,
        names: [&str; 2],
        inputs: usize,
        outputs: usize,
    ) -> std::result::Result<Self, LoadError> {
        Ok(Self([
            Linear::read(&source.at(names[0]), inputs, outputs)?,
            Linear::read(&source.at(names[1]), outputs, outputs)?,
        ]))
    }

    /// `[batch, inputs]` to `[batch, outputs]`.
    pub(super) fn forward(&self, x: &Tensor, dtype: DType) -> Result<Tensor> {
        let inner = self.0[0].forward(&x.to_dtype(dtype)?)?;
        self.0[1].forward(&inner.silu()?)
    }
}
