//! What a pipeline does for a picture, in pieces: it begins, takes steps that pictures may share, and decodes.

use candle_core::{Device, Tensor};
use tasks::Failure;

use super::companion::Order;
use super::scheduler::{Noise, Sampler};

/// Width and height in pixels.
pub(super) type Size = (u32, u32);

/// Called after each step with the steps done and the latents; false: nobody wants the picture.
pub type Progress<'a> = dyn FnMut(usize, &Tensor) -> bool + 'a;

/// A way from an order to pixels, on one device.
pub trait Pipeline: Send {
    /// A picture on its way.
    type Painting: Painting;

    /// The device that it is on.
    fn device(&self) -> &Device;

    /// The shape of the latents of a size in pixels, `[1, channels, height, width]`.
    fn latent_shape(&self, size: (u32, u32)) -> [usize; 4];

    /// Reads the prompts, and the picture that is given to begin with. `noise` makes normal numbers of
    /// [`Pipeline::latent_shape`].
    ///
    /// # Errors
    /// [`Failure::BadInput`] for what these weights cannot begin with; [`Failure::Internal`] where the device
    /// failed.
    fn begin(&self, order: &Order, noise: &mut Noise<'_>) -> Result<Self::Painting, Failure>;

    /// The next step of each picture, in one pass. They are of one size, and none is over.
    ///
    /// # Errors
    /// [`Failure::Internal`] where the device failed.
    fn step(&self, strokes: &mut [Stroke<'_, Self::Painting>]) -> Result<(), Failure>;

    /// The pixels of a picture whose steps are taken, `[1, 3, height, width]` in about -1 to 1; by tiles of so
    /// many latents of a side, where some are named.
    ///
    /// # Errors
    /// [`Failure::Internal`] where the device failed.
    fn pixels(&self, painting: &Self::Painting, tile: Option<usize>) -> Result<Tensor, Failure>;
}

/// A picture between its steps.
pub trait Painting: Send {
    /// How far it is.
    fn course(&self) -> &Course;
}

/// A picture that takes its next step, and where its noise comes from.
pub struct Stroke<'a, P> {
    /// The picture.
    pub painting: &'a mut P,
    /// As [`Pipeline::begin`] was given it.
    pub noise: &'a mut Noise<'a>,
}

/// A picture's way through the steps of its sampler.
pub struct Course {
    sampler: Box<dyn Sampler + Send>,
    latents: Tensor,
    /// The step that it began with.
    start: usize,
    /// The step that is next.
    next: usize,
}

impl Course {
    /// `latents` are those before the step `start`.
    pub(super) fn new(sampler: Box<dyn Sampler + Send>, latents: Tensor, start: usize) -> Self {
        Self {
            sampler,
            latents,
            start,
            next: start,
        }
    }

    /// Steps that were taken.
    pub fn done(&self) -> usize {
        self.next - self.start
    }

    /// Whether no step is left.
    pub fn is_over(&self) -> bool {
        self.next >= self.sampler.moments().len()
    }

    pub(super) fn latents(&self) -> &Tensor {
        &self.latents
    }

    /// What the model reads next, `[1, ..]`.
    pub(super) fn read(&self) -> candle_core::Result<Tensor> {
        self.sampler.scaled(self.next, &self.latents)
    }

    /// The moment of the next step.
    pub(super) fn moment(&self) -> f32 {
        let moments = self.sampler.moments();
        moments.get(self.next).copied().unwrap_or(0.0)
    }

    /// Takes the next step by what the model said, `[1, ..]` in single precision.
    pub(super) fn take(&mut self, said: &Tensor, noise: &mut Noise<'_>) -> candle_core::Result<()> {
        self.latents = self.sampler.step(self.next, said, &self.latents, noise)?;
        self.next += 1;
        Ok(())
    }

    /// A clean picture as noisy as the latents are now.
    pub(super) fn noised(&self, clean: &Tensor, noise: &Tensor) -> candle_core::Result<Tensor> {
        if self.is_over() {
            return Ok(clean.clone());
        }
        self.sampler.noised(self.next, clean, noise)
    }

    pub(super) fn replace(&mut self, latents: Tensor) {
        self.latents = latents;
    }
}

/// Takes the steps of a picture that is alone; `None` where `progress` ended it.
pub(super) fn follow<P: Pipeline>(
    pipeline: &P,
    mut painting: P::Painting,
    noise: &mut Noise<'_>,
    progress: &mut Progress<'_>,
) -> Result<Option<P::Painting>, Failure> {
    while !painting.course().is_over() {
        pipeline.step(&mut [Stroke {
            painting: &mut painting,
            noise,
        }])?;
        let course = painting.course();
        if !progress(course.done(), course.latents()) {
            return Ok(None);
        }
    }
    Ok(Some(painting))
}
