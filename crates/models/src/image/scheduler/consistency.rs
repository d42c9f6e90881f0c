//! The sampler of latent consistency models (Luo et al. 2023), which were taught to jump.

use candle_core::{Result, Tensor};

use super::config::{Prediction, SchedulerConfig};
use super::training::{Training, parts};
use super::{Noise, Sampler, mix};

/// The deviation of pictures that the boundary condition takes.
const DEVIATION: f64 = 0.5;

pub(super) struct Lcm {
    training: Training,
    moments: Vec<f32>,
    prediction: Prediction,
    clip: Option<f64>,
    timestep_scaling: f64,
}

impl Lcm {
    pub(super) fn new(config: &SchedulerConfig, steps: usize) -> Self {
        // The moments that the model was taught, of which every so-manieth is taken.
        let original = config.lcm.original_steps;
        let gap = config.trained / original;
        let taught: Vec<usize> = (1..=original).rev().map(|step| step * gap - 1).collect();
        let moments = (0..steps)
            .filter_map(|step| taught.get(step * original / steps))
            .map(|&moment| moment as f32)
            .collect();
        Self {
            training: Training::new(config),
            moments,
            prediction: config.prediction,
            clip: config.clips.then_some(config.clip_range),
            timestep_scaling: config.lcm.timestep_scaling,
        }
    }

    fn left(&self, step: usize) -> f64 {
        let moment = self.moments.get(step).copied().unwrap_or(0.0);
        self.training.at(moment as usize)
    }
}

impl Sampler for Lcm {
    fn moments(&self) -> &[f32] {
        &self.moments
    }

    fn noised(&self, step: usize, clean: &Tensor, noise: &Tensor) -> Result<Tensor> {
        let left = self.left(step);
        mix(left.sqrt(), clean, (1.0 - left).sqrt(), noise)
    }

    fn step(
        &mut self,
        step: usize,
        said: &Tensor,
        latents: &Tensor,
        noise: &mut Noise<'_>,
    ) -> Result<Tensor> {
        let [[of_latents, of_said], _] = parts(self.prediction, self.left(step));
        let mut picture = mix(of_latents, latents, of_said, said)?;
        if let Some(range) = self.clip {
            picture = picture.clamp(-range, range)?;
        }
        let moment = self.moments.get(step).copied().unwrap_or(0.0);
        let scaled = f64::from(moment) * self.timestep_scaling;
        let whole = scaled * scaled + DEVIATION * DEVIATION;
        let clean = mix(
            scaled / whole.sqrt(),
            &picture,
            DEVIATION * DEVIATION / whole,
            latents,
        )?;
        if step + 1 >= self.moments.len() {
            return Ok(clean);
        }
        let next = self.left(step + 1);
        mix(next.sqrt(), &clean, (1.0 - next).sqrt(), &noise()?)
    }
}
