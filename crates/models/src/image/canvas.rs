//! What a picture is painted on: noise, or a picture that is given, and the mask that keeps some of it.

use candle_core::{Result, Tensor};

use super::given;
use super::pipeline::Course;
use super::scheduler::Sampler;
use super::stable::Given;
use super::vae::Vae;

/// The largest strength: nothing is left of the given picture.
const STRENGTH_WHOLE: f32 = 1.0;

/// What is there before the first step.
pub(super) struct Canvas {
    /// The first noise, `[1, channels, height, width]`.
    noise: Tensor,
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
    /// `reads_mask`: the model reads a mask and what it leaves. Pictures are encoded by tiles of so many latents of a
    /// side, where some are named.
    pub(super) fn new(
        (vae, tile): (&Vae, Option<usize>),
        reads_mask: bool,
        given: Option<&Given>,
        noise: Tensor,
    ) -> Result<Self> {
        let Some(given) = given else {
            return Ok(Self {
                noise,
                clean: None,
                mask: None,
                beside: None,
                is_whole: true,
            });
        };
        let factor = vae.config.factor();
        let mask = given.mask.as_ref();
        let small = mask.map(|mask| given::shrunk(mask, factor)).transpose()?;
        let beside = match (mask, &small) {
            (Some(mask), Some(small)) if reads_mask => {
                let left = given.picture.broadcast_mul(&mask.affine(-1.0, 1.0)?)?;
                Some(Tensor::cat(&[small, &vae.encode(&left, tile)?], 1)?)
            }
            _ => None,
        };
        Ok(Self {
            noise,
            clean: Some(vae.encode(&given.picture, tile)?),
            is_whole: small.is_some() && given.strength >= STRENGTH_WHOLE,
            mask: small,
            beside,
        })
    }

    /// The latents before the step `start`, which is the first.
    pub(super) fn begin(&self, sampler: &dyn Sampler, start: usize) -> Result<Tensor> {
        match &self.clean {
            Some(clean) if start >= sampler.moments().len() => Ok(clean.clone()),
            Some(clean) if !self.is_whole => sampler.noised(start, clean, &self.noise),
            _ => &self.noise * sampler.initial(),
        }
    }

    /// Latents, and beside them what else the model reads.
    pub(super) fn beside(&self, latents: Tensor) -> Result<Tensor> {
        match &self.beside {
            Some(beside) => Tensor::cat(&[&latents, beside], 1),
            None => Ok(latents),
        }
    }

    /// Puts the given picture back where the mask keeps it, after a step.
    pub(super) fn keep(&self, course: &mut Course) -> Result<()> {
        let (Some(clean), Some(mask), None) = (&self.clean, &self.mask, &self.beside) else {
            return Ok(());
        };
        let kept = course.noised(clean, &self.noise)?;
        let kept = kept.broadcast_mul(&mask.affine(-1.0, 1.0)?)?;
        course.replace((kept + course.latents().broadcast_mul(mask)?)?);
        Ok(())
    }
}
