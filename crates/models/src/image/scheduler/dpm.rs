//! DPM-Solver++ of second order over several steps (Lu et al. 2022), by its midpoint form.

use candle_core::{Result, Tensor};

use super::config::{Prediction, SchedulerConfig, Spacing};
use super::training::{Training, parts};
use super::{Noise, Sampler, mix};

pub(super) struct DpmPlusPlus2M {
    moments: Vec<f32>,
    /// One more than moments: the last is 0.
    sigmas: Vec<f64>,
    prediction: Prediction,
    /// The picture that the step before foresaw.
    foreseen: Option<Tensor>,
}

impl DpmPlusPlus2M {
    pub(super) fn new(config: &SchedulerConfig, steps: usize) -> Self {
        let training = Training::new(config);
        let trained = config.trained as f64;
        let mut moments: Vec<f64> = match config.spacing {
            Spacing::Linspace => {
                let gap = (trained - 1.0) / steps as f64;
                let points = (1..=steps).rev();
                points
                    .map(|step| (step as f64 * gap).round_ties_even())
                    .collect()
            }
            Spacing::Leading => {
                let gap = config.trained / (steps + 1);
                let points = (1..=steps).rev();
                points
                    .map(|step| (step * gap + config.offset) as f64)
                    .collect()
            }
            Spacing::Trailing => super::training::moments(config, steps),
        };
        let mut sigmas: Vec<f64> = moments
            .iter()
            .map(|&moment| training.sigma(moment))
            .collect();
        if config.karras {
            // Between the outermost sigmas of the training, whatever the steps are.
            let outer: Vec<f64> = (0..steps)
                .map(|step| match step {
                    0 => training.sigma(trained - 1.0),
                    _ => training.sigma(0.0),
                })
                .collect();
            (sigmas, moments) = training.karras(&outer);
            for moment in &mut moments {
                *moment = moment.round_ties_even();
            }
        }
        sigmas.push(0.0);
        Self {
            moments: moments.into_iter().map(|moment| moment as f32).collect(),
            sigmas,
            prediction: config.prediction,
            foreseen: None,
        }
    }

    /// What is left of the picture and of the noise before a step, as factors.
    fn factors(&self, step: usize) -> (f64, f64) {
        let sigma = self.sigmas.get(step).copied().unwrap_or(0.0);
        let picture = sigma.hypot(1.0).recip();
        (picture, sigma * picture)
    }

    /// The logarithm of their quotient; infinite at the end.
    fn clarity(&self, step: usize) -> f64 {
        let (picture, noise) = self.factors(step);
        picture.ln() - noise.ln()
    }
}

impl Sampler for DpmPlusPlus2M {
    fn moments(&self) -> &[f32] {
        &self.moments
    }

    fn noised(&self, step: usize, clean: &Tensor, noise: &Tensor) -> Result<Tensor> {
        let (picture, deviation) = self.factors(step);
        mix(picture, clean, deviation, noise)
    }

    fn step(
        &mut self,
        step: usize,
        said: &Tensor,
        latents: &Tensor,
        _: &mut Noise<'_>,
    ) -> Result<Tensor> {
        let (picture, deviation) = self.factors(step);
        let [[of_latents, of_said], _] = parts(self.prediction, picture * picture);
        let foreseen = mix(of_latents, latents, of_said, said)?;
        let before = self.foreseen.replace(foreseen.clone());
        let (next_picture, next_deviation) = self.factors(step + 1);
        let gain = self.clarity(step + 1) - self.clarity(step);
        let weight = -next_picture * ((-gain).exp() - 1.0);
        let moved = mix(next_deviation / deviation, latents, weight, &foreseen)?;
        let is_last = step + 1 >= self.moments.len();
        match before {
            Some(before) if !is_last => {
                let ratio = (self.clarity(step) - self.clarity(step - 1)) / gain;
                let change = ((&foreseen - before)? / ratio)?;
                mix(1.0, &moved, weight / 2.0, &change)
            }
            _ => Ok(moved),
        }
    }
}
