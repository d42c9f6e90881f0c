//! Text to image: a gradient between two colours of the prompt, with rings of a third.

use engine::Answer;
use engine::model::DirectModel;
use tasks::{Failure, Paint, PaintEvent, PaintRequest, Picture};

use super::chance::Chance;
use super::{Stub, pieces};

/// Pixels of a side, where the request names none.
const SIDE: u32 = 1024;
/// The most pixels of a side.
const SIDE_MAX: u32 = 2560;
/// The most steps.
const STEPS_MAX: u32 = 1000;
/// The most images to begin with or to look at.
const IMAGES_MAX: usize = 8;
/// A ring's width in squared distance: the shorter side's square over this.
const RINGS: u64 = 24;

impl DirectModel<Paint> for Stub {
    fn answer(&self, request: PaintRequest) -> Result<Answer<PaintEvent>, Failure> {
        let side = |asked: Option<u32>, name: &str| match asked.unwrap_or(SIDE) {
            side @ 1..=SIDE_MAX => Ok(side),
            side => Err(Failure::BadInput(format!(
                "{name} is {side}; 1 to {SIDE_MAX} pixels are painted"
            ))),
        };
        let width = side(request.width, "width")?;
        let height = side(request.height, "height")?;
        if request.steps > STEPS_MAX {
            let steps = request.steps;
            let text = format!("{steps} steps; {STEPS_MAX} are made at most");
            return Err(Failure::BadInput(text));
        }
        if request.images.len() > IMAGES_MAX {
            return Err(Failure::BadInput(format!(
                "{} images; {IMAGES_MAX} are looked at",
                request.images.len()
            )));
        }
        for file in request.images.iter().chain(&request.mask) {
            self.gate.decode(file)?;
        }
        let picture = Picture {
            width,
            height,
            rgb: pixels(width, height, chance(&request)),
        };
        let steps = (1..=request.steps).map(PaintEvent::Step);
        Ok(pieces(steps.chain([PaintEvent::Done(picture)])))
    }
}

/// Everything that changes a picture changes this.
fn chance(request: &PaintRequest) -> Chance {
    let mut chance = Chance::of(request.prompt.as_bytes())
        .and(
            request
                .negative_prompt
                .as_deref()
                .unwrap_or_default()
                .as_bytes(),
        )
        .and(&request.steps.to_le_bytes())
        .and(&request.guidance.unwrap_or_default().to_le_bytes())
        .and(&request.strength.to_le_bytes())
        .and(&request.seed.unwrap_or_default().to_le_bytes());
    for file in request.images.iter().chain(&request.mask) {
        chance = chance.and(file);
    }
    chance
}

/// `[height, width, 3]`.
fn pixels(width: u32, height: u32, mut chance: Chance) -> Vec<u8> {
    let mut colour = || chance.next().to_le_bytes();
    let (from, to, ring) = (colour(), colour(), colour());
    let middle = (colour()[0], colour()[0]);
    let at = |share: u8, side: u32| u64::from(side) * u64::from(share) / 256;
    let (middle_x, middle_y) = (at(middle.0, width), at(middle.1, height));
    let short = u64::from(width.min(height));
    let ring_width = (short * short / RINGS).max(1);
    let whole = u64::from(width) + u64::from(height);
    let mut rgb = Vec::with_capacity(width as usize * height as usize * 3);
    for y in 0..u64::from(height) {
        for x in 0..u64::from(width) {
            let distance = x.abs_diff(middle_x).pow(2) + y.abs_diff(middle_y).pow(2);
            let is_ring = distance / ring_width % 4 == 3;
            for channel in 0..3 {
                let mixed =
                    u64::from(from[channel]) * (whole - x - y) + u64::from(to[channel]) * (x + y);
                let mixed = mixed / whole;
                let seen = if is_ring {
                    u64::midpoint(mixed, u64::from(ring[channel]))
                } else {
                    mixed
                };
                rgb.push(seen as u8);
            }
        }
    }
    rgb
}
