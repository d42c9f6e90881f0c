//! The samplers that go by what is left of a picture: DDIM and PNDM.

use candle_core::{Result, Tensor};

use super::config::{Prediction, SchedulerConfig};
use super::training::{Training, moments, parts};
use super::{Noise, Sampler, mix};

/// What both know.
struct Alphas {
    training: Training,
    /// Rounded.
    moments: Vec<f32>,
    /// Moments of the training that a step goes over.
    gap: usize,
    prediction: Prediction,
    /// What is left at the end.
    end: f64,
}

impl Alphas {
    fn new(config: &SchedulerConfig, steps: usize) -> Self {
        let training = Training::new(config);
        Self {
            end: if config.ends_at_one {
                1.0
            } else {
                training.at(0)
            },
            training,
            moments: moments(config, steps)
                .into_iter()
                .map(|moment| moment.round_ties_even() as f32)
                .collect(),
            gap: config.trained / steps,
            prediction: config.prediction,
        }
    }

    fn at(&self, moment: i64) -> f64 {
        usize::try_from(moment).map_or(self.end, |moment| self.training.at(moment))
    }

    fn noised(&self, step: usize, clean: &Tensor, noise: &Tensor) -> Result<Tensor> {
        let left = self.at(moment(&self.moments, step));
        mix(left.sqrt(), clean, (1.0 - left).sqrt(), noise)
    }
}

fn moment(moments: &[f32], step: usize) -> i64 {
    moments.get(step).map_or(0, |&moment| moment as i64)
}

/// Song et al. 2020 without noise at the steps.
pub(super) struct Ddim {
    alphas: Alphas,
    clip: Option<f64>,
}

impl Ddim {
    pub(super) fn new(config: &SchedulerConfig, steps: usize) -> Self {
        Self {
            alphas: Alphas::new(config, steps),
            clip: config.clips.then_some(config.clip_range),
        }
    }
}

impl Sampler for Ddim {
    fn moments(&self) -> &[f32] {
        &self.alphas.moments
    }

    fn noised(&self, step: usize, clean: &Tensor, noise: &Tensor) -> Result<Tensor> {
        self.alphas.noised(step, clean, noise)
    }

    fn step(
        &mut self,
        step: usize,
        said: &Tensor,
        latents: &Tensor,
        _: &mut Noise<'_>,
    ) -> Result<Tensor> {
        let now = moment(&self.alphas.moments, step);
        let left = self.alphas.at(now);
        let next = self.alphas.at(now - self.alphas.gap as i64);
        let [picture, noise] = parts(self.alphas.prediction, left);
        let noise = mix(noise[0], latents, noise[1], said)?;
        let mut picture = mix(picture[0], latents, picture[1], said)?;
        if let Some(range) = self.clip {
            picture = picture.clamp(-range, range)?;
        }
        mix(next.sqrt(), &picture, (1.0 - next).sqrt(), &noise)
    }
}

/// Liu et al. 2022: the noise of up to four steps foretells the next one.
pub(super) struct Pndm {
    alphas: Alphas,
    /// What the model said, the newest last; at most four.
    said: Vec<Tensor>,
    /// The latents of the first step, which the second takes again.
    first: Option<Tensor>,
    taken: usize,
}

impl Pndm {
    pub(super) fn new(config: &SchedulerConfig, steps: usize) -> Self {
        let mut alphas = Alphas::new(config, steps);
        // The second step is taken twice.
        if let Some(&second) = alphas.moments.get(1) {
            alphas.moments.insert(1, second);
        }
        Self {
            alphas,
            said: Vec::new(),
            first: None,
            taken: 0,
        }
    }

    /// The model's word as noise, and the way from one moment to another.
    fn moved(&self, latents: &Tensor, said: &Tensor, from: i64, to: i64) -> Result<Tensor> {
        let (left, next) = (self.alphas.at(from), self.alphas.at(to));
        let said = match self.alphas.prediction {
            Prediction::Noise => said.clone(),
            Prediction::Velocity => mix(left.sqrt(), said, (1.0 - left).sqrt(), latents)?,
        };
        let divisor = left * (1.0 - next).sqrt() + (left * (1.0 - left) * next).sqrt();
        mix(
            (next / left).sqrt(),
            latents,
            (left - next) / divisor,
            &said,
        )
    }
}

impl Sampler for Pndm {
    fn moments(&self) -> &[f32] {
        &self.alphas.moments
    }

    fn noised(&self, step: usize, clean: &Tensor, noise: &Tensor) -> Result<Tensor> {
        self.alphas.noised(step, clean, noise)
    }

    fn step(
        &mut self,
        step: usize,
        said: &Tensor,
        latents: &Tensor,
        _: &mut Noise<'_>,
    ) -> Result<Tensor> {
        let gap = self.alphas.gap as i64;
        let mut from = moment(&self.alphas.moments, step);
        let mut to = from - gap;
        let taken = self.taken;
        self.taken += 1;
        if taken == 1 {
            (from, to) = (from + gap, from);
            let mean = match self.said.last() {
                Some(last) => ((said + last)? / 2.0)?,
                None => said.clone(),
            };
            let first = self.first.take().unwrap_or_else(|| latents.clone());
            return self.moved(&first, &mean, from, to);
        }
        if self.said.len() == 4 {
            self.said.remove(0);
        }
        self.said.push(said.clone());
        let weights: &[f64] = match self.said.len() {
            1 => &[1.0],
            2 => &[-1.0 / 2.0, 3.0 / 2.0],
            3 => &[5.0 / 12.0, -16.0 / 12.0, 23.0 / 12.0],
            _ => &[-9.0 / 24.0, 37.0 / 24.0, -59.0 / 24.0, 55.0 / 24.0],
        };
        let mut sum = latents.zeros_like()?;
        for (said, &weight) in self.said.iter().zip(weights) {
            sum = (sum + (said * weight)?)?;
        }
        if taken == 0 {
            self.first = Some(latents.clone());
        }
        self.moved(latents, &sum, from, to)
    }
}
