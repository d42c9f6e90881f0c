//! Flow matching (Lipman et al. 2022) by Euler's steps, with the shift of Esser et al. 2024.

use candle_core::{Result, Tensor};

use super::config::SchedulerConfig;
use super::{Noise, Sampler, mix};

pub(super) struct FlowMatch {
    moments: Vec<f32>,
    /// One more than moments: the last is 0.
    sigmas: Vec<f64>,
}

impl FlowMatch {
    pub(super) fn new(config: &SchedulerConfig, steps: usize, tokens: usize) -> Self {
        let flow = config.flow;
        let even = (0..steps).map(|step| 1.0 - step as f64 / steps as f64);
        let mut sigmas: Vec<f64> = if flow.is_dynamic {
            let slope = (flow.shifts.1 - flow.shifts.0) / (flow.lengths.1 - flow.lengths.0);
            let shift = (flow.shifts.0 + (tokens as f64 - flow.lengths.0) * slope).exp();
            even.map(|sigma| shift / (shift + sigma.recip() - 1.0))
                .collect()
        } else {
            even.map(|sigma| flow.shift * sigma / (1.0 + (flow.shift - 1.0) * sigma))
                .collect()
        };
        let trained = config.trained as f64;
        let moments = sigmas
            .iter()
            .map(|sigma| (sigma * trained) as f32)
            .collect();
        sigmas.push(0.0);
        Self { moments, sigmas }
    }
}

impl Sampler for FlowMatch {
    fn moments(&self) -> &[f32] {
        &self.moments
    }

    fn noised(&self, step: usize, clean: &Tensor, noise: &Tensor) -> Result<Tensor> {
        let sigma = self.sigmas.get(step).copied().unwrap_or(0.0);
        mix(1.0 - sigma, clean, sigma, noise)
    }

    fn step(
        &mut self,
        step: usize,
        said: &Tensor,
        latents: &Tensor,
        _: &mut Noise<'_>,
    ) -> Result<Tensor> {
        let at = |step: usize| self.sigmas.get(step).copied().unwrap_or(0.0);
        mix(1.0, latents, at(step + 1) - at(step), said)
    }
}
