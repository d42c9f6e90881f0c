//! Euler's steps along sigmas (Karras et al. 2022), with new noise at each where it is ancestral.

use candle_core::{Result, Tensor};

use super::config::{Prediction, SchedulerConfig, Spacing};
use super::training::{Training, moments};
use super::{Noise, Sampler, mix};

pub(super) struct Euler {
    moments: Vec<f32>,
    /// One more than moments: the last is 0.
    sigmas: Vec<f64>,
    initial: f64,
    prediction: Prediction,
    is_ancestral: bool,
}

impl Euler {
    pub(super) fn new(config: &SchedulerConfig, steps: usize, is_ancestral: bool) -> Self {
        let training = Training::new(config);
        let mut moments = moments(config, steps);
        let mut sigmas: Vec<f64> = moments
            .iter()
            .map(|&moment| training.sigma(moment))
            .collect();
        if config.karras && !is_ancestral {
            (sigmas, moments) = training.karras(&sigmas);
        }
        let largest = sigmas.iter().copied().fold(0.0, f64::max);
        sigmas.push(0.0);
        Self {
            moments: moments.into_iter().map(|moment| moment as f32).collect(),
            sigmas,
            initial: match config.spacing {
                Spacing::Leading => largest.hypot(1.0),
                Spacing::Linspace | Spacing::Trailing => largest,
            },
            prediction: config.prediction,
            is_ancestral,
        }
    }

    fn sigma(&self, step: usize) -> f64 {
        self.sigmas.get(step).copied().unwrap_or(0.0)
    }
}

impl Sampler for Euler {
    fn moments(&self) -> &[f32] {
        &self.moments
    }

    fn initial(&self) -> f64 {
        self.initial
    }

    fn scaled(&self, step: usize, latents: &Tensor) -> Result<Tensor> {
        latents / self.sigma(step).hypot(1.0)
    }

    fn noised(&self, step: usize, clean: &Tensor, noise: &Tensor) -> Result<Tensor> {
        mix(1.0, clean, self.sigma(step), noise)
    }

    fn step(
        &mut self,
        step: usize,
        said: &Tensor,
        latents: &Tensor,
        noise: &mut Noise<'_>,
    ) -> Result<Tensor> {
        let (from, to) = (self.sigma(step), self.sigma(step + 1));
        let slope = match self.prediction {
            Prediction::Noise => said.clone(),
            Prediction::Velocity => {
                let whole = from * from + 1.0;
                let picture = mix(-from / whole.sqrt(), said, whole.recip(), latents)?;
                ((latents - picture)? / from)?
            }
        };
        if !self.is_ancestral {
            return mix(1.0, latents, to - from, &slope);
        }
        let up = (to * to * (from * from - to * to) / (from * from)).sqrt();
        let down = (to * to - up * up).sqrt();
        let moved = mix(1.0, latents, down - from, &slope)?;
        mix(1.0, &moved, up, &noise()?)
    }
}
