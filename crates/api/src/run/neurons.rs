//! What an inference costs in neurons, for each way in which the price list counts.

use catalog::Rate;

const TOKENS_PER_RATE: f64 = 1_000_000.0;
const SECONDS_PER_RATE: f64 = 60.0;
const CHARACTERS_PER_RATE: f64 = 1_000.0;
const IMAGES_PER_RATE: f64 = 1_000_000.0;
/// The side of a tile in pixels.
const TILE_PIXELS: u32 = 512;
/// Pixels of a megapixel.
const MEGAPIXEL_PIXELS: u64 = 1024 * 1024;

/// What an answer cost, and the units that were counted for it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Cost {
    /// Unknown where the card has no rate, or the answer is still being made.
    pub(crate) neurons: Option<f64>,
    /// Tokens.
    pub(crate) read: u64,
    /// Tokens.
    pub(crate) written: u64,
    /// Of audio.
    pub(crate) seconds: f64,
}

impl From<Option<f64>> for Cost {
    fn from(neurons: Option<f64>) -> Self {
        Self {
            neurons,
            ..Self::default()
        }
    }
}

/// The cost of tokens read and written.
pub(super) fn of_tokens(rate: Option<Rate>, read: u64, written: u64) -> Cost {
    let neurons = match rate {
        Some(Rate::Tokens { input, output, .. }) => {
            let neurons = read as f64 * input + written as f64 * output.unwrap_or(0.0);
            Some(neurons / TOKENS_PER_RATE)
        }
        _ => None,
    };
    Cost {
        read,
        written,
        ..neurons.into()
    }
}

/// The cost of a stretch of audio.
pub(super) fn of_audio(rate: Option<Rate>, seconds: f32) -> Cost {
    let seconds = f64::from(seconds);
    let neurons = match rate {
        Some(Rate::AudioMinute { minute, .. }) => Some(seconds / SECONDS_PER_RATE * minute),
        _ => None,
    };
    Cost {
        seconds,
        ..neurons.into()
    }
}

/// Neurons of a text to speak.
pub(super) fn of_characters(rate: Option<Rate>, characters: usize) -> Option<f64> {
    match rate {
        Some(Rate::ThousandCharacters(thousand)) => {
            Some(characters as f64 / CHARACTERS_PER_RATE * thousand)
        }
        _ => None,
    }
}

/// Neurons of a picture that was looked at.
pub(super) fn of_image(rate: Option<Rate>) -> Option<f64> {
    match rate {
        Some(Rate::MillionImages(million)) => Some(million / IMAGES_PER_RATE),
        _ => None,
    }
}

/// A picture that was painted.
#[derive(Debug)]
pub(super) struct Painted<'a> {
    /// Width and height in pixels.
    pub(super) size: (u32, u32),
    pub(super) steps: u32,
    /// Sizes of the pictures that were given.
    pub(super) inputs: &'a [(u32, u32)],
}

/// Neurons of a picture that was painted. Tiles and megapixels that were begun count whole.
pub(super) fn of_picture(rate: Option<Rate>, painted: &Painted<'_>) -> Option<f64> {
    let tiles = |(width, height): (u32, u32)| {
        f64::from(width.div_ceil(TILE_PIXELS)) * f64::from(height.div_ceil(TILE_PIXELS))
    };
    let megapixels = |(width, height): (u32, u32)| {
        (u64::from(width) * u64::from(height)).div_ceil(MEGAPIXEL_PIXELS) as f64
    };
    let inputs = |unit: &dyn Fn((u32, u32)) -> f64| {
        painted.inputs.iter().map(|size| unit(*size)).sum::<f64>()
    };
    let steps = f64::from(painted.steps);
    match rate? {
        Rate::TileAndStep { tile, step } => Some(tiles(painted.size) * tile + steps * step),
        Rate::Tiles { input, output } => {
            Some(inputs(&tiles) * input + tiles(painted.size) * output)
        }
        Rate::TileSteps { input, output } => {
            Some(steps * (inputs(&tiles) * input + tiles(painted.size) * output))
        }
        Rate::Megapixels { first, next, input } => {
            let further = (megapixels(painted.size) - 1.0).max(0.0);
            Some(first + further * next + inputs(&megapixels) * input)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_cost_their_tiles_steps_and_megapixels() {
        let painted = |size, steps, inputs| Painted {
            size,
            steps,
            inputs,
        };
        let flux = Rate::TileAndStep {
            tile: 4.8,
            step: 9.6,
        };
        let neurons = of_picture(Some(flux), &painted((1024, 1024), 4, &[])).unwrap();
        assert!((neurons - 57.6).abs() < 1e-9);
        let neurons = of_picture(Some(flux), &painted((1025, 1), 1, &[])).unwrap();
        assert!((neurons - 24.0).abs() < 1e-9); // three tiles
        let tiles = Rate::Tiles {
            input: 5.0,
            output: 26.0,
        };
        let given = [(512, 512), (100, 513)];
        let neurons = of_picture(Some(tiles), &painted((1024, 768), 4, &given)).unwrap();
        assert!((neurons - 119.0).abs() < 1e-9);
        let steps = Rate::TileSteps {
            input: 1.0,
            output: 2.0,
        };
        let neurons = of_picture(Some(steps), &painted((512, 512), 25, &given)).unwrap();
        assert!((neurons - 125.0).abs() < 1e-9);
        let megapixels = Rate::Megapixels {
            first: 100.0,
            next: 10.0,
            input: 1.0,
        };
        for (size, wanted) in [
            ((256, 256), 102.0),
            ((1024, 1024), 102.0),
            ((1920, 1080), 112.0),
        ] {
            let neurons = of_picture(Some(megapixels), &painted(size, 4, &given)).unwrap();
            assert!((neurons - wanted).abs() < 1e-9);
        }
        assert_eq!(of_picture(None, &painted((512, 512), 4, &[])), None);
        assert_eq!(
            of_picture(Some(Rate::MillionImages(1.0)), &painted((512, 512), 4, &[])),
            None
        );
    }
}
