//! Stable Diffusion (Rombach et al. 2022), versions 1 and XL, and what was distilled from them: from a
//! prompt, and perhaps a picture and a mask, to latents.

use candle_core::{DType, Device, Tensor};
use serde::Deserialize;
use tasks::Failure;

use super::clip::Clip;
use super::given;
use super::scheduler::{Method, Noise, Sampler, SchedulerConfig, sampler};
use super::source::{Home, broken};
use super::unet::{Condition, Unet};
use super::vae::Vae;
use crate::device::float_type;
use crate::fit::Fit;
use crate::load::{Files, LoadError};

/// The largest strength: nothing is left of the given picture.
const STRENGTH_WHOLE: f32 = 1.0;

/// What to paint.
#[derive(Debug, Clone)]
pub struct Job {
    /// What is to be seen.
    pub prompt: String,
    /// What is not.
    pub negative: Option<String>,
    /// Width and height in pixels, multiples of [`StableDiffusion::multiple`].
    pub size: (u32, u32),
    /// Steps.
    pub steps: usize,
    /// How much more the prompt counts than the negative one; up to 1 the latter is not looked at.
    pub guidance: f64,
    /// What to begin with.
    pub given: Option<Given>,
}

/// A picture to begin with.
#[derive(Debug, Clone)]
pub struct Given {
    /// `[1, 3, height, width]` in -1 to 1.
    pub picture: Tensor,
    /// `[1, 1, height, width]`: 1 where it is painted anew; `None`: everywhere.
    pub mask: Option<Tensor>,
    /// How much is painted anew, 0 to 1.
    pub strength: f32,
}

/// Called after each step with the latents and the steps done; false: nobody wants the picture.
pub type Progress<'a> = dyn FnMut(usize, &Tensor) -> bool + 'a;

/// A pipeline on its device.
pub struct StableDiffusion {
    /// How noise is taken away; that of the checkpoint, unless it is replaced.
    pub scheduler: SchedulerConfig,
    /// Whether guidance is computed: weights that were distilled for a single pass have none.
    pub is_guided: bool,
    first: Clip,
    second: Option<Clip>,
    unet: Unet,
    vae: Vae,
    device: Device,
    dtype: DType,
    /// An absent negative prompt is nothing, rather than an empty text.
    zeros_for_no_text: bool,
}

#[derive(Default, Deserialize)]
struct Index {
    force_zeros_for_empty_prompt: Option<bool>,
    /// The refiner's second number beside the size.
    #[serde(default)]
    requires_aesthetics_score: bool,
}

impl StableDiffusion {
    /// Loads a folder in the diffusers layout.
    pub fn load(files: &Files, device: &Device, fit: Fit) -> Result<Self, LoadError> {
        let elements = super::source::open(files, "unet", "diffusion_pytorch_model")?.elements();
        let home = Home {
            device: device.clone(),
            dtype: float_type(device, elements),
            quality: fit.quality,
        };
        let unet = Unet::load(files, &home)?;
        let first = Clip::load(files, ("text_encoder", "tokenizer"), &home)?;
        let second = match unet.config.addition {
            Some(_) => Some(Clip::load(files, ("text_encoder_2", "tokenizer_2"), &home)?),
            None => None,
        };
        if second.as_ref().is_some_and(|clip| !clip.has_projection()) {
            let file = files.path("text_encoder_2/config.json");
            return Err(LoadError::corrupt(&file, "there is no text_projection"));
        }
        let index: Index = if files.has("model_index.json") {
            files.json("model_index.json")?
        } else {
            Index::default()
        };
        if index.requires_aesthetics_score {
            let file = files.path("model_index.json");
            return Err(LoadError::unsupported(&file, "requires_aesthetics_score"));
        }
        let mut scheduler = SchedulerConfig::read(files)?;
        if second.is_none() {
            scheduler.of_stable_diffusion_1();
        }
        let pipeline = Self {
            scheduler,
            is_guided: true,
            vae: Vae::load(files, &home)?,
            // The default of SDXL's pipeline in diffusers; the other has no such word.
            zeros_for_no_text: second.is_some()
                && index.force_zeros_for_empty_prompt.unwrap_or(true),
            first,
            second,
            unet,
            device: device.clone(),
            dtype: home.dtype,
        };
        pipeline.check(files)?;
        Ok(pipeline)
    }

    /// Whether the parts are made for each other.
    fn check(&self, files: &Files) -> Result<(), LoadError> {
        let unet = &self.unet.config;
        let latents = self.vae.config.latent_channels;
        let second = self.second.as_ref().map_or(0, Clip::width);
        let pooled = self.second.as_ref().map_or(0, Clip::pooled_width);
        let sizes = unet
            .addition
            .map_or(0, |addition| addition.number_width * 6);
        let read = unet.addition.map_or(0, |addition| addition.width);
        let wrong = [
            (
                unet.context != self.first.width() + second,
                "cross_attention_dim and the text encoders",
            ),
            (
                read != pooled + sizes,
                "projection_class_embeddings_input_dim and the text encoders",
            ),
            (
                self.vae.config.shift_factor.unwrap_or(0.0) != 0.0,
                "the vae's shift_factor and this pipeline",
            ),
            (
                self.scheduler.method == Method::FlowMatch,
                "a scheduler of flows and this unet",
            ),
            (
                ![latents, latents * 2 + 1].contains(&unet.inputs) || unet.outputs != latents,
                "the channels of unet and vae",
            ),
        ];
        match wrong.iter().find(|(is_wrong, _)| *is_wrong) {
            Some((_, what)) => {
                let detail = format!("{what} do not fit each other");
                Err(LoadError::unsupported(
                    &files.path("unet/config.json"),
                    detail,
                ))
            }
            None => Ok(()),
        }
    }

    /// Pixels that a side has to be a multiple of.
    pub fn multiple(&self) -> u32 {
        self.vae.config.factor() as u32
    }

    /// Pixels of a side where nobody names them.
    pub fn side(&self) -> u32 {
        self.unet.config.sample as u32 * self.multiple()
    }

    /// Whether the model reads a mask and what it leaves, and so cannot do without.
    pub fn is_inpainting(&self) -> bool {
        self.unet.config.inputs != self.vae.config.latent_channels
    }

    /// The shape of the latents of a size, `[1, channels, height, width]`.
    pub fn latent_shape(&self, (width, height): (u32, u32)) -> [usize; 4] {
        let factor = self.vae.config.factor();
        let channels = self.vae.config.latent_channels;
        [
            1,
            channels,
            height as usize / factor,
            width as usize / factor,
        ]
    }

    /// Takes noise away until a picture is left; gives its latents, or `None` where `progress` ended it.
    /// `noise` makes normal numbers of [`StableDiffusion::latent_shape`]; it is asked once at the beginning, and once
    /// a step by samplers that add some.
    ///
    /// # Errors
    /// [`Failure::BadInput`] where the model needs a mask; [`Failure::Internal`] where the device failed.
    pub fn paint(
        &self,
        job: &Job,
        noise: &mut Noise<'_>,
        progress: &mut Progress<'_>,
    ) -> Result<Option<Tensor>, Failure> {
        // A model that reads the guidance has no need of a second pass.
        let is_guided = self.is_guided && self.unet.config.guidance.is_none();
        let guidance = (is_guided && job.guidance > 1.0).then_some(job.guidance);
        let condition = self.condition(job, guidance.is_some())?;
        let mut sampler = sampler(&self.scheduler, job.steps, 0)?;
        let start = match &job.given {
            Some(given) => first_step(sampler.moments().len().min(job.steps), given.strength),
            None => 0,
        };
        let canvas = Canvas::new(self, job)?;
        let run = Run {
            model: self,
            condition: &condition,
            guidance,
            canvas: &canvas,
        };
        run.run(sampler.as_mut(), start, noise, progress)
            .map_err(broken)
    }

    /// What the model is told; for guidance the negative prompt comes first in the batch.
    fn condition(&self, job: &Job, is_guided: bool) -> Result<Condition, Failure> {
        let (prompt, pooled) = self.encode(&job.prompt)?;
        let (width, height) = (job.size.0 as f32, job.size.1 as f32);
        let sizes = [height, width, 0.0, 0.0, height, width];
        let guidance = job.guidance as f32;
        if !is_guided {
            return Ok(Condition {
                prompt,
                pooled,
                sizes,
                guidance,
            });
        }
        let nothing = job.negative.is_none() && self.zeros_for_no_text;
        let (negative, negative_pooled) = if nothing {
            let zeros = |tensor: &Tensor| tensor.zeros_like().map_err(broken);
            (zeros(&prompt)?, pooled.as_ref().map(zeros).transpose()?)
        } else {
            self.encode(job.negative.as_deref().unwrap_or_default())?
        };
        let pooled = match (&negative_pooled, &pooled) {
            (Some(negative), Some(pooled)) => {
                Some(Tensor::cat(&[negative, pooled], 0).map_err(broken)?)
            }
            _ => None,
        };
        Ok(Condition {
            prompt: Tensor::cat(&[negative, prompt], 0).map_err(broken)?,
            pooled,
            sizes,
            guidance,
        })
    }

    /// A text as the UNet reads it, `[1, tokens, context]`, and pooled, `[1, width]`, for SDXL.
    ///
    /// # Errors
    /// [`Failure::Internal`] where the device failed.
    pub fn encode(&self, text: &str) -> Result<(Tensor, Option<Tensor>), Failure> {
        let first = self.first.encode(text)?;
        let Some(second) = &self.second else {
            return Ok((first.last, None));
        };
        let second = second.encode(text)?;
        let both = Tensor::cat(&[first.penultimate, second.penultimate], 2);
        Ok((both.map_err(broken)?, Some(second.pooled)))
    }

    /// One pass of the UNet: `[batch, inputs, height, width]` at a moment, with what
    /// [`StableDiffusion::encode`] made and SDXL's six numbers of a size.
    ///
    /// # Errors
    /// [`Failure::Internal`] where the device failed.
    pub fn predict(
        &self,
        latents: &Tensor,
        moment: f32,
        (prompt, pooled): (Tensor, Option<Tensor>),
        sizes: [f32; 6],
    ) -> Result<Tensor, Failure> {
        let condition = Condition {
            prompt,
            pooled,
            sizes,
            guidance: 1.0,
        };
        self.unet
            .forward(latents, moment, &condition)
            .map_err(broken)
    }

    /// Latents to a picture, `[1, 3, height, width]` in about -1 to 1; by tiles of so many latents of a
    /// side, where some are named.
    ///
    /// # Errors
    /// [`Failure::Internal`] where the device failed.
    pub fn decode(&self, latents: &Tensor, tile: Option<usize>) -> Result<Tensor, Failure> {
        self.vae.decode(latents, tile).map_err(broken)
    }

    /// The autoencoder's own means and logarithms of variances of a picture.
    ///
    /// # Errors
    /// [`Failure::Internal`] where the device failed.
    pub fn moments(&self, picture: &Tensor) -> Result<Tensor, Failure> {
        self.vae.moments(picture).map_err(broken)
    }
}

/// The first step that is taken: the share of the steps that a strength leaves out, from the front.
fn first_step(steps: usize, strength: f32) -> usize {
    let taken = (steps as f64 * f64::from(strength)) as usize;
    steps - taken.min(steps)
}

/// What is there before the first step.
struct Canvas {
    shape: [usize; 4],
    /// The latents of the given picture.
    clean: Option<Tensor>,
    /// One number a latent: 1 where it is painted anew.
    mask: Option<Tensor>,
    /// Mask and what it leaves, for a model that reads them beside the latents.
    beside: Option<Tensor>,
    /// Whether nothing of the picture shows through at the first step.
    is_whole: bool,
}

impl Canvas {
    fn new(model: &StableDiffusion, job: &Job) -> Result<Self, Failure> {
        let shape = model.latent_shape(job.size);
        let mask = job.given.as_ref().and_then(|given| given.mask.as_ref());
        if model.is_inpainting() && mask.is_none() {
            let text = "mask: these weights paint within a picture, and want an image and a mask";
            return Err(Failure::BadInput(text.into()));
        }
        let Some(given) = &job.given else {
            return Ok(Self {
                shape,
                clean: None,
                mask: None,
                beside: None,
                is_whole: true,
            });
        };
        let factor = model.vae.config.factor();
        let encoded = || -> candle_core::Result<Self> {
            let small = mask.map(|mask| given::shrunk(mask, factor)).transpose()?;
            let beside = match (mask, &small) {
                (Some(mask), Some(small)) if model.is_inpainting() => {
                    let left = given.picture.broadcast_mul(&mask.affine(-1.0, 1.0)?)?;
                    Some(Tensor::cat(&[small, &model.vae.encode(&left)?], 1)?)
                }
                _ => None,
            };
            Ok(Self {
                shape,
                clean: Some(model.vae.encode(&given.picture)?),
                is_whole: small.is_some() && given.strength >= STRENGTH_WHOLE,
                mask: small,
                beside,
            })
        };
        encoded().map_err(broken)
    }

    /// The latents before the first step.
    fn begin(
        &self,
        sampler: &dyn Sampler,
        start: usize,
        noise: &Tensor,
    ) -> candle_core::Result<Tensor> {
        match &self.clean {
            Some(clean) if start >= sampler.moments().len() => Ok(clean.clone()),
            Some(clean) if !self.is_whole => sampler.noised(start, clean, noise),
            _ => noise * sampler.initial(),
        }
    }

    /// Latents after a step, with the given picture where the mask keeps it.
    fn kept(
        &self,
        sampler: &dyn Sampler,
        next: usize,
        latents: Tensor,
        noise: &Tensor,
    ) -> candle_core::Result<Tensor> {
        let (Some(clean), Some(mask), None) = (&self.clean, &self.mask, &self.beside) else {
            return Ok(latents);
        };
        let kept = if next < sampler.moments().len() {
            sampler.noised(next, clean, noise)?
        } else {
            clean.clone()
        };
        kept.broadcast_mul(&mask.affine(-1.0, 1.0)?)? + latents.broadcast_mul(mask)?
    }
}

/// The loop over the steps.
struct Run<'a> {
    model: &'a StableDiffusion,
    condition: &'a Condition,
    guidance: Option<f64>,
    canvas: &'a Canvas,
}

impl Run<'_> {
    fn run(
        &self,
        sampler: &mut dyn Sampler,
        start: usize,
        noise: &mut Noise<'_>,
        progress: &mut Progress<'_>,
    ) -> candle_core::Result<Option<Tensor>> {
        let first = noise()?.reshape(&self.canvas.shape)?;
        let mut latents = self.canvas.begin(sampler, start, &first)?;
        for step in start..sampler.moments().len() {
            let said = self.said(sampler, step, &latents)?;
            latents = sampler.step(step, &said, &latents, noise)?;
            latents = self.canvas.kept(sampler, step + 1, latents, &first)?;
            if !progress(step + 1 - start, &latents) {
                return Ok(None);
            }
        }
        Ok(Some(latents))
    }

    fn said(
        &self,
        sampler: &dyn Sampler,
        step: usize,
        latents: &Tensor,
    ) -> candle_core::Result<Tensor> {
        let mut read = sampler.scaled(step, latents)?;
        if let Some(beside) = &self.canvas.beside {
            read = Tensor::cat(&[&read, beside], 1)?;
        }
        let read = read.to_dtype(self.model.dtype)?;
        let moment = sampler.moments()[step];
        let Some(guidance) = self.guidance else {
            let said = self.model.unet.forward(&read, moment, self.condition)?;
            return said.to_dtype(DType::F32);
        };
        let both = Tensor::cat(&[&read, &read], 0)?;
        let said = self.model.unet.forward(&both, moment, self.condition)?;
        let said = said.to_dtype(DType::F32)?;
        let (without, with) = (said.narrow(0, 0, 1)?, said.narrow(0, 1, 1)?);
        &without + ((with - &without)? * guidance)?
    }
}

impl StableDiffusion {
    /// The device that it is on.
    pub fn device(&self) -> &Device {
        &self.device
    }
}
