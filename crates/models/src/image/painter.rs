//! A pipeline as a model of the engine: requests in, steps and a picture out.

use candle_core::{DType, Device, Tensor};
use engine::model::{Outlet, SoloModel};
use tasks::{Failure, Paint, PaintEvent, PaintRequest, Picture};

use super::flux_pipeline::FluxPipeline;
use super::given;
use super::memory::Memory;
use super::noise::Normals;
use super::source::broken;
use super::stable::{Given, Job, StableDiffusion};

/// Pixels of the longest side.
const SIDE_MAX: u32 = 4096;
/// The most steps.
const STEPS_MAX: u32 = 200;

/// A model that paints.
pub struct Painter {
    model: Model,
    memory: Memory,
}

pub(super) enum Model {
    Stable(Box<StableDiffusion>),
    Flux(Box<FluxPipeline>),
}

impl SoloModel<Paint> for Painter {
    fn run(
        &mut self,
        request: PaintRequest,
        out: &mut dyn Outlet<PaintEvent>,
    ) -> Result<(), Failure> {
        let size = self.size(&request)?;
        let steps = steps(&request)?;
        let tile = self.memory.tile(size, !request.images.is_empty());
        let tile = tile.map_err(Failure::Unavailable)?;
        let mut normals = request.seed.map_or_else(Normals::any, Normals::new);
        let mut progress = |step: usize, _: &Tensor| out.send(PaintEvent::Step(step as u32));
        let painted = match &self.model {
            Model::Stable(model) => {
                let job = job(model, request, size, steps)?;
                let shape = model.latent_shape(size);
                let mut noise = || normals.tensor(&shape, model.device());
                let latents = model.paint(&job, &mut noise, &mut progress)?;
                latents.map(|latents| model.decode(&latents, tile))
            }
            Model::Flux(model) => {
                plain(&request)?;
                let shape = model.latent_shape(size);
                let mut noise = || normals.tensor(&shape, model.device());
                let latents =
                    model.paint(&request.prompt, size, steps, &mut noise, &mut progress)?;
                latents.map(|latents| model.decode(&latents, tile))
            }
        };
        if let Some(pixels) = painted.transpose()? {
            out.send(PaintEvent::Done(picture(&pixels).map_err(broken)?));
        }
        Ok(())
    }
}

impl Painter {
    pub(super) fn new(model: Model, memory: Memory) -> Self {
        Self { model, memory }
    }

    /// The size that is asked for, or the model's own.
    fn size(&self, request: &PaintRequest) -> Result<(u32, u32), Failure> {
        let (multiple, own) = match &self.model {
            Model::Stable(model) => (model.multiple(), model.side()),
            Model::Flux(model) => (model.multiple(), model.side()),
        };
        let side = |asked: Option<u32>, name: &str| {
            let side = asked.unwrap_or(own);
            if side == 0 || side > SIDE_MAX || !side.is_multiple_of(multiple) {
                return Err(Failure::BadInput(format!(
                    "{name} is {side}; multiples of {multiple} up to {SIDE_MAX} are painted"
                )));
            }
            Ok(side)
        };
        Ok((
            side(request.width, "width")?,
            side(request.height, "height")?,
        ))
    }
}

fn steps(request: &PaintRequest) -> Result<usize, Failure> {
    match request.steps {
        steps @ 1..=STEPS_MAX => Ok(steps as usize),
        steps => Err(Failure::BadInput(format!(
            "{steps} steps; 1 to {STEPS_MAX} are made"
        ))),
    }
}

/// Refuses what FLUX schnell has no use for.
fn plain(request: &PaintRequest) -> Result<(), Failure> {
    let said = [
        (request.negative_prompt.is_some(), "negative_prompt"),
        (request.guidance.is_some(), "guidance"),
        (!request.images.is_empty(), "image"),
        (request.mask.is_some(), "mask"),
    ];
    match said.iter().find(|(is_said, _)| *is_said) {
        Some((_, name)) => Err(Failure::Unsupported(format!(
            "{name}: these weights have none"
        ))),
        None => Ok(()),
    }
}

/// The guidance where a request names none.
const GUIDANCE: f32 = 7.5;

fn job(
    model: &StableDiffusion,
    request: PaintRequest,
    size: (u32, u32),
    steps: usize,
) -> Result<Job, Failure> {
    let device: &Device = model.device();
    let guidance = request.guidance.unwrap_or(GUIDANCE);
    if !guidance.is_finite() {
        return Err(Failure::BadInput(format!("guidance is {guidance}")));
    }
    let given = match (request.images.as_slice(), &request.mask) {
        ([], None) => None,
        ([], Some(_)) => {
            let text = "mask: there is no image that it could be for";
            return Err(Failure::BadInput(text.into()));
        }
        ([image], mask) => {
            let mask = mask.as_ref().map(|mask| given::mask(mask, size, device));
            Some(Given {
                picture: given::picture(image, size, device)?,
                mask: mask.transpose()?,
                strength: request.strength,
            })
        }
        (images, _) => {
            let text = format!("{} images; these weights begin with one", images.len());
            return Err(Failure::BadInput(text));
        }
    };
    Ok(Job {
        prompt: request.prompt,
        negative: request.negative_prompt,
        size,
        steps,
        guidance: f64::from(guidance),
        given,
    })
}

/// `[1, 3, height, width]` in about -1 to 1 as bytes.
fn picture(pixels: &Tensor) -> candle_core::Result<Picture> {
    let pixels = ((pixels.to_dtype(DType::F32)? + 1.0)? * 127.5)?;
    let pixels = pixels.clamp(0f32, 255f32)?.round()?.squeeze(0)?;
    let (_, height, width) = pixels.dims3()?;
    let rows = pixels.permute((1, 2, 0))?.flatten_all()?.to_vec1::<f32>()?;
    Ok(Picture {
        width: width as u32,
        height: height as u32,
        rgb: rows.into_iter().map(|number| number as u8).collect(),
    })
}
