//! Samplers: how a noisy picture becomes a clean one in some steps.
//!
//! Moments, scalings and the order of operations are those of diffusers' schedulers.

mod alphas;
mod config;
mod consistency;
mod dpm;
mod fields;
mod flow;
mod sigmas;
mod training;

use candle_core::{Result, Tensor};
use tasks::Failure;

pub use config::{Method, Prediction, SchedulerConfig, Spacing};

/// Makes noise of the latents' shape.
pub type Noise<'a> = dyn FnMut() -> Result<Tensor> + 'a;

/// A way from noise to a picture. Steps are counted from 0 and taken in order, from any one on.
pub trait Sampler {
    /// The moment of each step, as the model reads it.
    fn moments(&self) -> &[f32];
    /// The deviation of the noise that a picture begins with.
    fn initial(&self) -> f64 {
        1.0
    }
    /// What the model reads at a step.
    fn scaled(&self, _step: usize, latents: &Tensor) -> Result<Tensor> {
        Ok(latents.clone())
    }
    /// A clean picture as noisy as it is before a step.
    fn noised(&self, step: usize, clean: &Tensor, noise: &Tensor) -> Result<Tensor>;
    /// Takes a step: what the model said of the latents, to the latents after it.
    fn step(
        &mut self,
        step: usize,
        said: &Tensor,
        latents: &Tensor,
        noise: &mut Noise<'_>,
    ) -> Result<Tensor>;
}

/// The sampler of a configuration for so many steps. `tokens` is the length of the picture for flow matching
/// with a shift that depends on it.
///
/// # Errors
/// [`Failure::BadInput`] where no steps are asked for, or more than the model was trained with.
pub fn sampler(
    config: &SchedulerConfig,
    steps: usize,
    tokens: usize,
) -> std::result::Result<Box<dyn Sampler + Send>, Failure> {
    let most = config.steps_max();
    if !(1..=most).contains(&steps) {
        return Err(Failure::BadInput(format!(
            "{steps} steps; 1 to {most} are made with these weights"
        )));
    }
    Ok(match config.method {
        Method::Ddim => Box::new(alphas::Ddim::new(config, steps)),
        Method::Pndm => Box::new(alphas::Pndm::new(config, steps)),
        Method::Euler => Box::new(sigmas::Euler::new(config, steps, false)),
        Method::EulerAncestral => Box::new(sigmas::Euler::new(config, steps, true)),
        Method::DpmPlusPlus2M => Box::new(dpm::DpmPlusPlus2M::new(config, steps)),
        Method::Lcm => Box::new(consistency::Lcm::new(config, steps)),
        Method::FlowMatch => Box::new(flow::FlowMatch::new(config, steps, tokens)),
    })
}

/// `a x + b y`.
fn mix(a: f64, x: &Tensor, b: f64, y: &Tensor) -> Result<Tensor> {
    (x * a)? + (y * b)?
}
