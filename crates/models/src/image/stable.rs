//! Stable Diffusion (Rombach et al. 2022), versions 1 and XL, and what was distilled from them: from a
//! prompt, and perhaps a picture and a mask, to latents.

use candle_core::{DType, Device, Tensor};
use serde::Deserialize;
use tasks::Failure;

use super::canvas::Canvas;
use super::clip::Clip;
use super::companion::Order;
use super::given;
use super::pipeline::{self, Course, Pipeline, Progress, Stroke, follow};
use super::scheduler::{Method, Noise, SchedulerConfig, sampler};
use super::source::{Home, broken};
use super::unet::{Condition, Unet};
use super::vae::Vae;
use crate::device::float_type;
use crate::fit::Fit;
use crate::load::{Files, LoadError};

/// The guidance where a request names none.
const GUIDANCE: f32 = 7.5;

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

/// A picture between its steps.
pub struct Painting {
    course: Course,
    /// Of one pass, or of two for guidance: without the prompt first.
    condition: Condition,
    guidance: Option<f64>,
    canvas: Canvas,
}

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

    /// Takes noise away until a picture is left; gives its latents, or `None` where `progress` ended it.
    /// `noise` makes normal numbers of [`Pipeline::latent_shape`]; it is asked once at the beginning, and once
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
        let painting = self.begun(job, None, noise)?;
        let painted = follow(self, painting, noise, progress)?;
        Ok(painted.map(|painting| painting.course.latents().clone()))
    }

    fn begun(
        &self,
        job: &Job,
        tile: Option<usize>,
        noise: &mut Noise<'_>,
    ) -> Result<Painting, Failure> {
        if self.is_inpainting() && job.given.as_ref().is_none_or(|given| given.mask.is_none()) {
            let text = "mask: these weights paint within a picture, and want an image and a mask";
            return Err(Failure::BadInput(text.into()));
        }
        // A model that reads the guidance has no need of a second pass.
        let is_guided = self.is_guided && self.unet.config.guidance.is_none();
        let guidance = (is_guided && job.guidance > 1.0).then_some(job.guidance);
        let condition = self.condition(job, guidance.is_some())?;
        let sampler = sampler(&self.scheduler, job.steps, 0)?;
        let start = match &job.given {
            Some(given) => first_step(sampler.moments().len().min(job.steps), given.strength),
            None => 0,
        };
        let shape = self.latent_shape(job.size);
        let begun = || -> candle_core::Result<Painting> {
            let first = noise()?.reshape(&shape)?;
            let canvas = Canvas::new(
                (&self.vae, tile),
                self.is_inpainting(),
                job.given.as_ref(),
                first,
            )?;
            let latents = canvas.begin(&*sampler, start)?;
            Ok(Painting {
                course: Course::new(sampler, latents, start),
                condition,
                guidance,
                canvas,
            })
        };
        begun().map_err(broken)
    }

    /// What the model is told; for guidance the negative prompt comes first in the batch.
    fn condition(&self, job: &Job, is_guided: bool) -> Result<Condition, Failure> {
        let (prompt, pooled) = self.encode(&job.prompt)?;
        let (width, height) = (job.size.0 as f32, job.size.1 as f32);
        let one = Condition {
            prompt,
            pooled,
            sizes: vec![[height, width, 0.0, 0.0, height, width]],
            guidance: vec![job.guidance as f32],
        };
        if !is_guided {
            return Ok(one);
        }
        let nothing = job.negative.is_none() && self.zeros_for_no_text;
        let (prompt, pooled) = if nothing {
            let zeros = |tensor: &Tensor| tensor.zeros_like().map_err(broken);
            let pooled = one.pooled.as_ref().map(zeros).transpose()?;
            (zeros(&one.prompt)?, pooled)
        } else {
            self.encode(job.negative.as_deref().unwrap_or_default())?
        };
        let negative = Condition {
            prompt,
            pooled,
            ..one.clone()
        };
        Condition::joined(&[&negative, &one]).map_err(broken)
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

    /// One pass of the UNet: `[batch, inputs, height, width]` at one moment, with what
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
        let batch = latents.dim(0).map_err(broken)?;
        let condition = Condition {
            prompt,
            pooled,
            sizes: vec![sizes; batch],
            guidance: vec![1.0; batch],
        };
        self.unet
            .forward(latents, &vec![moment; batch], &condition)
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

impl Pipeline for StableDiffusion {
    type Painting = Painting;

    fn device(&self) -> &Device {
        &self.device
    }

    fn latent_shape(&self, size: (u32, u32)) -> [usize; 4] {
        self.vae.config.latent_shape(size)
    }

    fn begin(&self, order: &Order, noise: &mut Noise<'_>) -> Result<Painting, Failure> {
        self.begun(&self.job(order)?, order.tile, noise)
    }

    fn step(&self, strokes: &mut [Stroke<'_, Painting>]) -> Result<(), Failure> {
        self.stepped(strokes).map_err(broken)
    }

    fn pixels(&self, painting: &Painting, tile: Option<usize>) -> Result<Tensor, Failure> {
        self.decode(painting.course.latents(), tile)
    }
}

impl StableDiffusion {
    /// What is asked for, with the pictures of it decoded.
    fn job(&self, order: &Order) -> Result<Job, Failure> {
        let Order { request, size, .. } = order;
        let given = match request.images.first() {
            None => None,
            Some(image) => {
                let mask = request.mask.as_ref();
                let mask = mask.map(|mask| given::mask(mask, *size, &self.device));
                Some(Given {
                    picture: given::picture(image, *size, &self.device)?,
                    mask: mask.transpose()?,
                    strength: request.strength,
                })
            }
        };
        Ok(Job {
            prompt: request.prompt.clone(),
            negative: request.negative_prompt.clone(),
            size: *size,
            steps: order.steps,
            guidance: f64::from(request.guidance.unwrap_or(GUIDANCE)),
            given,
        })
    }

    fn stepped(&self, strokes: &mut [Stroke<'_, Painting>]) -> candle_core::Result<()> {
        let (mut read, mut moments, mut conditions) = (Vec::new(), Vec::new(), Vec::new());
        for Stroke { painting, .. } in &*strokes {
            let latents = painting.canvas.beside(painting.course.read()?)?;
            for _ in 0..painting.passes() {
                read.push(latents.to_dtype(self.dtype)?);
                moments.push(painting.course.moment());
            }
            conditions.push(&painting.condition);
        }
        let condition = Condition::joined(&conditions)?;
        let said = self
            .unet
            .forward(&Tensor::cat(&read, 0)?, &moments, &condition)?
            .to_dtype(DType::F32)?;
        let mut first = 0;
        for Stroke { painting, noise } in strokes {
            let own = said.narrow(0, first, painting.passes())?;
            first += painting.passes();
            painting.take(&own, *noise)?;
        }
        Ok(())
    }
}

impl pipeline::Painting for Painting {
    fn course(&self) -> &Course {
        &self.course
    }
}

impl Painting {
    /// Rows that it has in a batch.
    fn passes(&self) -> usize {
        if self.guidance.is_some() { 2 } else { 1 }
    }

    /// Takes a step by what the model said of its rows.
    fn take(&mut self, said: &Tensor, noise: &mut Noise<'_>) -> candle_core::Result<()> {
        let said = match self.guidance {
            Some(guidance) => {
                let (without, with) = (said.narrow(0, 0, 1)?, said.narrow(0, 1, 1)?);
                (&without + ((with - &without)? * guidance)?)?
            }
            None => said.clone(),
        };
        self.course.take(&said, noise)?;
        self.canvas.keep(&mut self.course)
    }
}

/// The first step that is taken: the share of the steps that a strength leaves out, from the front.
fn first_step(steps: usize, strength: f32) -> usize {
    let taken = (steps as f64 * f64::from(strength)) as usize;
    steps - taken.min(steps)
}
