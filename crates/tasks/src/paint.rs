//! Text to image.

use crate::Task;

/// Text to image: a prompt in, a picture out.
pub struct Paint;

impl Task for Paint {
    type Request = PaintRequest;
    type Event = PaintEvent;
    const NAME: &'static str = "Text-to-Image";
}

/// A picture to paint.
#[derive(Debug, Clone, PartialEq)]
pub struct PaintRequest {
    /// What to paint.
    pub prompt: String,
    /// What not to paint.
    pub negative_prompt: Option<String>,
    /// Width in pixels; `None`: the model's own.
    pub width: Option<u32>,
    /// Height in pixels; `None`: the model's own.
    pub height: Option<u32>,
    /// Denoising steps.
    pub steps: u32,
    /// Guidance scale; `None`: the model's own.
    pub guidance: Option<f32>,
    /// How much of a given image is painted anew, 0 to 1.
    pub strength: f32,
    /// The same seed with the same request paints the same picture.
    pub seed: Option<u64>,
    /// Encoded images to begin with or to look at, as whole files.
    pub images: Vec<Vec<u8>>,
    /// An encoded mask for the first image; white is repainted.
    pub mask: Option<Vec<u8>>,
}

/// A picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// `[height, width, 3]`: red, green, blue, row-major.
    pub rgb: Vec<u8>,
}

/// A piece of the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PaintEvent {
    /// So many steps are done.
    Step(u32),
    /// The last event.
    Done(Picture),
}
