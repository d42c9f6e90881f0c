//! How much of a picture was left at each moment of the training, and where the steps of a sampling lie.

use super::config::{Prediction, SchedulerConfig, Spacing};

/// The products of what each step of the training left, in single precision as the references have
/// them.
#[derive(Debug, Clone)]
pub(super) struct Training {
    /// `[moments]`.
    pub(super) left: Vec<f32>,
}

impl Training {
    pub(super) fn new(config: &SchedulerConfig) -> Self {
        let (start, end) = (config.betas.first, config.betas.last);
        let count = config.trained;
        let line = |from: f64, to: f64, index: usize| {
            if count == 1 {
                from
            } else {
                from + (to - from) * index as f64 / (count - 1) as f64
            }
        };
        let mut product = 1.0_f32;
        let left = (0..count)
            .map(|index| {
                let beta = if config.betas.is_scaled_linear {
                    line(start.sqrt(), end.sqrt(), index).powi(2)
                } else {
                    line(start, end, index)
                };
                product *= 1.0 - beta as f32;
                product
            })
            .collect();
        Self { left }
    }

    /// What is left at a moment, clamped to those of the training.
    pub(super) fn at(&self, moment: usize) -> f64 {
        let index = moment.min(self.left.len().saturating_sub(1));
        f64::from(self.left.get(index).copied().unwrap_or(1.0))
    }

    /// The noise over what is left, at a moment between two of the training.
    pub(super) fn sigma(&self, moment: f64) -> f64 {
        let of = |index: usize| ((1.0 - self.at(index)) / self.at(index)).sqrt();
        let (below, share) = (moment.floor().max(0.0) as usize, moment.fract());
        of(below) + (of(below + 1) - of(below)) * share
    }

    /// The moment of a sigma: the way back from [`Training::sigma`], on logarithms.
    fn moment(&self, sigma: f64) -> f64 {
        let logarithm = sigma.max(1e-10).ln();
        let of = |index: usize| self.sigma(index as f64).ln();
        let last = self.left.len().saturating_sub(2);
        let below = (0..self.left.len())
            .filter(|&index| of(index) <= logarithm)
            .count();
        let low = below.saturating_sub(1).min(last);
        let (from, to) = (of(low), of(low + 1));
        let share = ((from - logarithm) / (from - to)).clamp(0.0, 1.0);
        (1.0 - share) * low as f64 + share * (low + 1) as f64
    }

    /// Sigmas by Karras et al. 2022 between the outer ones, and their moments.
    pub(super) fn karras(&self, sigmas: &[f64]) -> (Vec<f64>, Vec<f64>) {
        const RHO: f64 = 7.0;
        let (Some(&first), Some(&last)) = (sigmas.first(), sigmas.last()) else {
            return (Vec::new(), Vec::new());
        };
        let count = sigmas.len();
        let (high, low) = (first.powf(RHO.recip()), last.powf(RHO.recip()));
        let sigmas: Vec<f64> = (0..count)
            .map(|index| {
                let share = index as f64 / (count.max(2) - 1) as f64;
                (high + share * (low - high)).powf(RHO)
            })
            .collect();
        let moments = sigmas.iter().map(|&sigma| self.moment(sigma)).collect();
        (sigmas, moments)
    }
}

/// The moments of so many steps, the noisiest first. Those of `linspace` may be between two.
pub(super) fn moments(config: &SchedulerConfig, steps: usize) -> Vec<f64> {
    let trained = config.trained as f64;
    let offset = config.offset as f64;
    match config.spacing {
        Spacing::Linspace => {
            let gap = if steps > 1 {
                (trained - 1.0) / (steps - 1) as f64
            } else {
                0.0
            };
            (0..steps).rev().map(|step| step as f64 * gap).collect()
        }
        Spacing::Leading => {
            let gap = config.trained / steps;
            (0..steps)
                .rev()
                .map(|step| (step * gap) as f64 + offset)
                .collect()
        }
        Spacing::Trailing => {
            let gap = trained / steps as f64;
            (0..steps)
                .map(|step| (trained - step as f64 * gap).round_ties_even() - 1.0)
                .collect()
        }
    }
}

/// What a model says, as the picture and the noise that it means. `left` is the share of the picture's
/// variance.
pub(super) fn parts(prediction: Prediction, left: f64) -> [[f64; 2]; 2] {
    let (picture, noise) = (left.sqrt(), (1.0 - left).sqrt());
    match prediction {
        // Each row: how much of the sample, how much of what the model said.
        Prediction::Noise => [[picture.recip(), -noise / picture], [0.0, 1.0]],
        Prediction::Velocity => [[picture, -noise], [noise, picture]],
    }
}
