//! Text to image: Stable Diffusion 1.5 and XL with what was distilled from them, and FLUX.1 schnell.
//!
//! Layers are ours, on candle's tensors: their sizes and kinds come from the checkpoint's own files, and
//! what a configuration asks for that is not built here is refused. Checkpoints are folders in the layout
//! of diffusers; FLUX's may have the authors' two files instead, Stable Diffusion's the authors' single one. The tests named `golden` compare all of it
//! with diffusers.

mod activation;
mod attention;
mod canvas;
mod clip;
mod companion;
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
mod pipeline;
mod published;
mod resnet;
pub mod scheduler;
mod source;
mod stable;
mod t5;
mod time;
mod tokens;
mod turns;
mod unet;
mod vae;

use std::sync::Arc;

use candle_core::Device;
use engine::Need;

pub use companion::{Order, PaintCompanion};
pub use flux_pipeline::FluxPipeline;
pub use noise::Normals;
pub use painter::Painter;
pub use pipeline::{Pipeline, Progress};
pub use stable::{Given, Job, StableDiffusion};

use crate::fit::Fit;
use crate::load::{Files, LoadError};
use memory::Memory;
use scheduler::{Method, Spacing};

/// The two halves of a painter.
type Halves<P> = (Arc<PaintCompanion>, Painter<P>);

/// Loads Stable Diffusion, version 1 or XL.
///
/// # Errors
/// [`LoadError`] says which file is missing, damaged, or asks for what is not built here.
pub fn load_stable(
    files: &Files,
    device: &Device,
    fit: Fit,
) -> Result<Halves<StableDiffusion>, LoadError> {
    let model = StableDiffusion::load(files, device, fit)?;
    Ok(stable(model, Memory::stable(files, device, fit)?))
}

/// Loads SDXL-Lightning (Lin et al. 2024): Euler's steps from the last moment, and no guidance, which
/// its weights hold already.
pub(crate) fn load_lightning(
    files: &Files,
    device: &Device,
    fit: Fit,
) -> Result<Halves<StableDiffusion>, LoadError> {
    let mut model = StableDiffusion::load(files, device, fit)?;
    model.scheduler.method = Method::Euler;
    model.scheduler.spacing = Spacing::Trailing;
    model.is_guided = false;
    Ok(stable(model, Memory::stable(files, device, fit)?))
}

fn stable(model: StableDiffusion, memory: Memory) -> Halves<StableDiffusion> {
    let companion = PaintCompanion {
        multiple: model.multiple(),
        side: model.side(),
        is_plain: false,
        memory: memory.clone(),
    };
    (Arc::new(companion), Painter::new(model, memory))
}

/// Loads FLUX.1 schnell.
///
/// # Errors
/// As [`load_stable`].
pub fn load_flux(
    files: &Files,
    device: &Device,
    fit: Fit,
) -> Result<Halves<FluxPipeline>, LoadError> {
    let model = FluxPipeline::load(files, device, fit, flux_pipeline::TEXT_TOKENS)?;
    let memory = Memory::flux(files, device, fit)?;
    let companion = PaintCompanion {
        multiple: model.multiple(),
        side: model.side(),
        is_plain: true,
        memory: memory.clone(),
    };
    Ok((Arc::new(companion), Painter::new(model, memory)))
}

/// The need of Stable Diffusion.
pub(crate) fn need_stable(files: &Files, device: &Device, fit: Fit) -> Result<Need, LoadError> {
    Ok(Memory::stable(files, device, fit)?.need())
}

/// The need of FLUX.
pub(crate) fn need_flux(files: &Files, device: &Device, fit: Fit) -> Result<Need, LoadError> {
    Ok(Memory::flux(files, device, fit)?.need())
}
