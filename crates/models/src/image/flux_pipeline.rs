//! FLUX.1 schnell: from a prompt to latents.

use candle_core::{DType, Device, Tensor};
use tasks::Failure;

use super::clip::Clip;
use super::companion::Order;
use super::flux::{Condition, Flux, checkpoint, packed, unpacked};
use super::pipeline::{self, Course, Pipeline, Progress, Size, Stroke, follow};
use super::scheduler::{Method, Noise, SchedulerConfig, sampler};
use super::source::{Home, broken};
use super::t5::T5;
use super::vae::Vae;
use crate::device::float_type;
use crate::fit::Fit;
use crate::load::{Files, LoadError};

/// Tokens of a prompt that schnell was trained for.
pub(super) const TEXT_TOKENS: usize = 256;
/// Pixels of a side where nobody names them.
const SIDE: u32 = 1024;
/// Latents of a place's side.
const PLACE: usize = 2;

/// A pipeline on its device.
pub struct FluxPipeline {
    clip: Clip,
    t5: T5,
    transformer: Flux,
    vae: Vae,
    scheduler: SchedulerConfig,
    dtype: DType,
    device: Device,
}

/// A picture between its steps.
pub struct Painting {
    course: Course,
    condition: Condition,
    /// Rows and columns of places.
    places: (usize, usize),
}

impl FluxPipeline {
    /// Loads a folder in the diffusers layout, or one that has `flux1-schnell.safetensors` and
    /// `ae.safetensors` beside the folders of the two text encoders and their tokenisers. Prompts are read up
    /// to so many tokens.
    pub fn load(
        files: &Files,
        device: &Device,
        fit: Fit,
        text_tokens: usize,
    ) -> Result<Self, LoadError> {
        // In half precision with five bits of exponent its activations overflow.
        let dtype = match float_type(device, checkpoint(files)?.elements()) {
            DType::F16 => DType::BF16,
            dtype => dtype,
        };
        let home = Home {
            device: device.clone(),
            dtype,
            quality: fit.quality,
        };
        let has_scheduler = files
            .path("scheduler")
            .join("scheduler_config.json")
            .is_file();
        let pipeline = Self {
            clip: Clip::load(files, ("text_encoder", "tokenizer"), &home)?,
            t5: T5::load(files, ("text_encoder_2", "tokenizer_2"), text_tokens, &home)?,
            transformer: Flux::load(files, &home)?,
            vae: Vae::load(files, &home)?,
            scheduler: if has_scheduler {
                SchedulerConfig::read(files)?
            } else {
                SchedulerConfig::of_flux()
            },
            dtype,
            device: device.clone(),
        };
        pipeline.check(files)?;
        Ok(pipeline)
    }

    fn check(&self, files: &Files) -> Result<(), LoadError> {
        let config = &self.transformer.config;
        let channels = self.vae.config.latent_channels * PLACE * PLACE;
        let fits = self.scheduler.method == Method::FlowMatch
            && config.in_channels == channels
            && config.outputs() == channels
            && config.joint_attention_dim == self.t5.width()
            && config.pooled_projection_dim == self.clip.pooled_width();
        if fits {
            return Ok(());
        }
        let detail = "scheduler, transformer, text encoders and vae do not fit each other";
        Err(LoadError::unsupported(files.folder(), detail))
    }

    /// Pixels that a side has to be a multiple of.
    pub fn multiple(&self) -> u32 {
        (self.vae.config.factor() * PLACE) as u32
    }

    /// Pixels of a side where nobody names them.
    pub fn side(&self) -> u32 {
        SIDE
    }

    /// A text as the transformer reads it: T5's rows, `[1, tokens, width]`, and CLIP's pooled vector,
    /// `[1, width]`.
    ///
    /// # Errors
    /// [`Failure::Internal`] where the device failed.
    pub fn encode(&self, text: &str) -> Result<(Tensor, Tensor), Failure> {
        Ok((self.t5.encode(text)?, self.clip.encode(text)?.pooled))
    }

    /// One pass of the transformer over packed latents of so many rows and columns, at one moment.
    ///
    /// # Errors
    /// [`Failure::Internal`] where the device failed.
    pub fn predict(
        &self,
        latents: &Tensor,
        moment: f32,
        (text, pooled): (Tensor, Tensor),
        size: (usize, usize),
    ) -> Result<Tensor, Failure> {
        let condition = Condition { text, pooled };
        let moments = vec![moment; latents.dim(0).map_err(broken)?];
        let said = self
            .transformer
            .forward(latents, &moments, &condition, size);
        said.map_err(broken)
    }

    /// Follows the flow from noise to a picture; gives its latents, or `None` where `progress`, which
    /// sees packed ones, ended it. `noise` makes normal numbers of [`Pipeline::latent_shape`].
    ///
    /// # Errors
    /// [`Failure::Internal`] where the device failed.
    pub fn paint(
        &self,
        prompt: &str,
        size: (u32, u32),
        steps: usize,
        noise: &mut Noise<'_>,
        progress: &mut Progress<'_>,
    ) -> Result<Option<Tensor>, Failure> {
        let painting = self.begun(prompt, size, steps, noise)?;
        let painted = follow(self, painting, noise, progress)?;
        let latents = painted.map(|painting| painting.latents());
        latents.transpose().map_err(broken)
    }

    fn begun(
        &self,
        prompt: &str,
        size: Size,
        steps: usize,
        noise: &mut Noise<'_>,
    ) -> Result<Painting, Failure> {
        let (text, pooled) = self.encode(prompt)?;
        let [_, _, height, width] = self.latent_shape(size);
        let places = (height / PLACE, width / PLACE);
        let sampler = sampler(&self.scheduler, steps, places.0 * places.1)?;
        let latents = noise().and_then(|noise| packed(&noise)).map_err(broken)?;
        Ok(Painting {
            course: Course::new(sampler, latents, 0),
            condition: Condition { text, pooled },
            places,
        })
    }

    fn stepped(&self, strokes: &mut [Stroke<'_, Painting>]) -> candle_core::Result<()> {
        let (mut read, mut moments, mut conditions) = (Vec::new(), Vec::new(), Vec::new());
        let mut places = (0, 0);
        for Stroke { painting, .. } in &*strokes {
            read.push(painting.course.read()?.to_dtype(self.dtype)?);
            moments.push(painting.course.moment());
            conditions.push(&painting.condition);
            places = painting.places;
        }
        let condition = Condition::joined(&conditions)?;
        let said = self
            .transformer
            .forward(&Tensor::cat(&read, 0)?, &moments, &condition, places)?
            .to_dtype(DType::F32)?;
        for (row, Stroke { painting, noise }) in strokes.iter_mut().enumerate() {
            painting.course.take(&said.narrow(0, row, 1)?, *noise)?;
        }
        Ok(())
    }

    /// Latents to a picture, `[1, 3, height, width]` in about -1 to 1; by tiles of so many latents of a
    /// side, where some are named.
    ///
    /// # Errors
    /// [`Failure::Internal`] where the device failed.
    pub fn decode(&self, latents: &Tensor, tile: Option<usize>) -> Result<Tensor, Failure> {
        self.vae.decode(latents, tile).map_err(broken)
    }
}

impl Pipeline for FluxPipeline {
    type Painting = Painting;

    fn device(&self) -> &Device {
        &self.device
    }

    fn latent_shape(&self, size: (u32, u32)) -> [usize; 4] {
        self.vae.config.latent_shape(size)
    }

    fn begin(&self, order: &Order, noise: &mut Noise<'_>) -> Result<Painting, Failure> {
        self.begun(&order.request.prompt, order.size, order.steps, noise)
    }

    fn step(&self, strokes: &mut [Stroke<'_, Painting>]) -> Result<(), Failure> {
        self.stepped(strokes).map_err(broken)
    }

    fn pixels(&self, painting: &Painting, tile: Option<usize>) -> Result<Tensor, Failure> {
        self.decode(&painting.latents().map_err(broken)?, tile)
    }
}

impl pipeline::Painting for Painting {
    fn course(&self) -> &Course {
        &self.course
    }
}

impl Painting {
    /// `[1, channels, height, width]`.
    fn latents(&self) -> candle_core::Result<Tensor> {
        unpacked(self.course.latents(), self.places)
    }
}
