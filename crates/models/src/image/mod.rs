//! Text to image: Stable Diffusion 1.5 and XL with what was distilled from them, and FLUX.1 schnell.
//!
//! Layers are ours, on candle's tensors: their sizes and kinds come from the checkpoint's own files, and
//! what a configuration asks for that is not built here is refused. Checkpoints are folders in the layout
//! of diffusers; FLUX's may have the authors' two files instead, Stable Diffusion's the authors' single one. The tests named `golden` compare all of it
//! with diffusers.

mod activation;
mod attention;
mod clip;
mod convolution;
mod fields;
mod flux;
mod flux_pipeline;
mod given;
mod linear;
mod memory;
mod noise;
mod norm;
mod painter;
mod published;
mod resnet;
pub mod scheduler;
mod source;
mod stable;
mod t5;
mod time;
mod tokens;
mod unet;
mod vae;

use candle_core::Device;
use engine::Need;

pub use flux_pipeline::FluxPipeline;
pub use noise::Normals;
pub use painter::Painter;
pub use stable::{Given, Job, Progress, StableDiffusion};

use crate::fit::Fit;
use crate::load::{Files, LoadError};
use memory::Memory;
use painter::Model;
use scheduler::{Method, Spacing};

/// Loads Stable Diffusion, version 1 or XL.
pub(crate) fn load_stable(files: &Files, device: &Device, fit: Fit) -> Result<Painter, LoadError> {
    let model = StableDiffusion::load(files, device, fit)?;
    let memory = Memory::stable(files, device, fit)?;
    Ok(Painter::new(Model::Stable(Box::new(model)), memory))
}

/// Loads SDXL-Lightning (Lin et al. 2024): Euler's steps from the last moment, and no guidance, which
/// its weights hold already.
pub(crate) fn load_lightning(
    files: &Files,
    device: &Device,
    fit: Fit,
) -> Result<Painter, LoadError> {
    let mut model = StableDiffusion::load(files, device, fit)?;
    model.scheduler.method = Method::Euler;
    model.scheduler.spacing = Spacing::Trailing;
    model.is_guided = false;
    let memory = Memory::stable(files, device, fit)?;
    Ok(Painter::new(Model::Stable(Box::new(model)), memory))
}

/// Loads FLUX.1 schnell.
pub(crate) fn load_flux(files: &Files, device: &Device, fit: Fit) -> Result<Painter, LoadError> {
    let model = FluxPipeline::load(files, device, fit, flux_pipeline::TEXT_TOKENS)?;
    let memory = Memory::flux(files, device, fit)?;
    Ok(Painter::new(Model::Flux(Box::new(model)), memory))
}

/// The need of Stable Diffusion.
pub(crate) fn need_stable(files: &Files, device: &Device, fit: Fit) -> Result<Need, LoadError> {
    Ok(Memory::stable(files, device, fit)?.need())
}

/// The need of FLUX.
pub(crate) fn need_flux(files: &Files, device: &Device, fit: Fit) -> Result<Need, LoadError> {
    Ok(Memory::flux(files, device, fit)?.need())
}
