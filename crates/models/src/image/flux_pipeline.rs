//! FLUX.1 schnell: from a prompt to latents.

use candle_core::{DType, Device, Tensor};
use tasks::Failure;

use super::clip::Clip;
use super::flux::{Condition, Flux, checkpoint, packed, unpacked};
use super::scheduler::{Method, Noise, SchedulerConfig, sampler};
use super::source::{Home, broken};
use super::stable::Progress;
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

    /// The device that it is on.
    pub fn device(&self) -> &Device {
        &self.device
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

    /// A text as the transformer reads it: T5's rows, `[1, tokens, width]`, and CLIP's pooled vector,
    /// `[1, width]`.
    ///
    /// # Errors
    /// [`Failure::Internal`] where the device failed.
    pub fn encode(&self, text: &str) -> Result<(Tensor, Tensor), Failure> {
        Ok((self.t5.encode(text)?, self.clip.encode(text)?.pooled))
    }

    /// One pass of the transformer over packed latents of so many rows and columns.
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
        let said = self.transformer.forward(latents, moment, &condition, size);
        said.map_err(broken)
    }

    /// Follows the flow from noise to a picture; gives its latents, or `None` where `progress`, which
    /// sees packed ones, ended it. `noise` makes normal numbers of [`FluxPipeline::latent_shape`].
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
        let (text, pooled) = self.encode(prompt)?;
        let condition = Condition { text, pooled };
        let [_, _, height, width] = self.latent_shape(size);
        let places = (height / PLACE, width / PLACE);
        let mut sampler = sampler(&self.scheduler, steps, places.0 * places.1)?;
        let mut run = || -> candle_core::Result<Option<Tensor>> {
            let mut latents = packed(&noise()?)?;
            for step in 0..sampler.moments().len() {
                let moment = sampler.moments()[step];
                let read = latents.to_dtype(self.dtype)?;
                let said = self
                    .transformer
                    .forward(&read, moment, &condition, places)?;
                latents = sampler.step(step, &said.to_dtype(DType::F32)?, &latents, noise)?;
                if !progress(step + 1, &latents) {
                    return Ok(None);
                }
            }
            unpacked(&latents, places).map(Some)
        };
        run().map_err(broken)
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
