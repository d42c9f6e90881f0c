//! The half that all threads share: whether a picture can be painted, before it is queued.

use engine::model::SessionCompanion;
use tasks::{Failure, Paint, PaintRequest};

use super::memory::Memory;
use super::pipeline::Size;

/// Pixels of the longest side.
const SIDE_MAX: u32 = 4096;
/// The most steps.
const STEPS_MAX: u32 = 200;

/// A picture that can be painted as it was asked for.
#[derive(Debug, Clone)]
pub struct Order {
    pub(super) request: PaintRequest,
    pub(super) size: Size,
    pub(super) steps: usize,
    /// Latents of a side of the tiles that it is encoded and decoded by, where it is.
    pub(super) tile: Option<usize>,
}

/// What a pipeline can be asked for.
#[derive(Debug, Clone)]
pub struct PaintCompanion {
    /// Pixels that a side has to be a multiple of.
    pub(super) multiple: u32,
    /// Pixels of a side where nobody names them.
    pub(super) side: u32,
    /// Whether it has neither guidance nor a picture to begin with.
    pub(super) is_plain: bool,
    pub(super) memory: Memory,
}

impl SessionCompanion<Paint> for PaintCompanion {
    type Work = Order;

    fn prepare(&self, request: PaintRequest) -> Result<Order, Failure> {
        let size = self.size(&request)?;
        let steps = steps(&request)?;
        let tile = self.memory.tile(size).map_err(Failure::Unavailable)?;
        if self.is_plain {
            plain(&request)?;
        } else {
            begins(&request)?;
        }
        Ok(Order {
            request,
            size,
            steps,
            tile,
        })
    }
}

impl PaintCompanion {
    /// The size that is asked for, or the model's own.
    fn size(&self, request: &PaintRequest) -> Result<Size, Failure> {
        let multiple = self.multiple;
        let side = |asked: Option<u32>, name: &str| {
            let side = asked.unwrap_or(self.side);
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

/// Refuses what Stable Diffusion cannot begin with.
fn begins(request: &PaintRequest) -> Result<(), Failure> {
    let text = match (request.images.len(), &request.mask) {
        (0, Some(_)) => "mask: there is no image that it could be for".to_owned(),
        (0 | 1, _) => match request.guidance {
            Some(guidance) if !guidance.is_finite() => format!("guidance is {guidance}"),
            _ => return Ok(()),
        },
        (images, _) => format!("{images} images; these weights begin with one"),
    };
    Err(Failure::BadInput(text))
}
