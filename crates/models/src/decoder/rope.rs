//! Rotary positions (Su et al. 2021), halves of a head paired as in transformers' `modeling_llama.py`.

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::rotary_emb::rope_thd;

use super::config::{Rope, Scaling, Yarn};

/// The frequencies of a model.
#[derive(Debug)]
pub(crate) struct Rotation {
    /// Radians a position, `[rotated / 2]`.
    frequencies: Vec<f32>,
    /// Multiplies cosines and sines.
    factor: f32,
}

/// Cosines and sines of the rows of one step, `[rows, rotated / 2]` each.
pub(crate) struct Angles {
    cosines: Tensor,
    sines: Tensor,
}

impl Rotation {
    pub(crate) fn new(rope: &Rope) -> Self {
        let (half, size) = (rope.rotated / 2, rope.rotated as f64);
        let plain = (0..half).map(|i| rope.theta.powf(-((2 * i) as f64) / size));
        let factor = match &rope.scaling {
            Scaling::Yarn(yarn) => yarn.attention_factor as f32,
            _ => 1.0,
        };
        let frequencies = match &rope.scaling {
            Scaling::None => plain.map(|frequency| frequency as f32).collect(),
            Scaling::Linear { factor } => {
                plain.map(|frequency| (frequency / factor) as f32).collect()
            }
            Scaling::Listed(divisors) => plain
                .zip(divisors)
                .map(|(frequency, divisor)| (frequency / f64::from(*divisor)) as f32)
                .collect(),
            Scaling::Yarn(yarn) => plain
                .enumerate()
                .map(|(i, frequency)| {
                    let scaled = ramp(yarn, rope).at(i);
                    (scaled * frequency / yarn.factor + (1.0 - scaled) * frequency) as f32
                })
                .collect(),
            Scaling::Llama3 {
                factor,
                low,
                high,
                original_window,
            } => plain
                .map(|frequency| {
                    let wavelength = std::f64::consts::TAU / frequency;
                    let smooth =
                        ((original_window / wavelength - low) / (high - low)).clamp(0.0, 1.0);
                    ((1.0 - smooth) * frequency / factor + smooth * frequency) as f32
                })
                .collect(),
        };
        Self {
            frequencies,
            factor,
        }
    }

    /// Sines and cosines of these positions, `[positions, rotated / 2]` each.
    pub(crate) fn turns(&self, positions: impl Iterator<Item = usize>) -> (Vec<f32>, Vec<f32>) {
        let (mut sines, mut cosines) = (Vec::new(), Vec::new());
        self.turns_into(positions, (&mut sines, &mut cosines));
        (sines, cosines)
    }

    /// The same, behind what is there.
    pub(crate) fn turns_into(
        &self,
        positions: impl Iterator<Item = usize>,
        (sines, cosines): (&mut Vec<f32>, &mut Vec<f32>),
    ) {
        for position in positions {
            for frequency in &self.frequencies {
                let (sine, cosine) = (position as f32 * frequency).sin_cos();
                sines.push(sine * self.factor);
                cosines.push(cosine * self.factor);
            }
        }
    }

    /// The angles of these positions. Made anew for each step: a table for a window of 131 072
    /// positions would be larger than the weights of a small model.
    pub(crate) fn angles(
        &self,
        positions: &[usize],
        dtype: DType,
        device: &Device,
    ) -> Result<Angles> {
        let (sines, cosines) = self.turns(positions.iter().copied());
        let shape = (positions.len(), self.frequencies.len());
        Ok(Angles {
            cosines: Tensor::from_vec(cosines, shape, device)?.to_dtype(dtype)?,
            sines: Tensor::from_vec(sines, shape, device)?.to_dtype(dtype)?,
        })
    }
}

impl Angles {
    /// Rotates the first dimensions of each head of `[rows, heads * head_size]`.
    pub(crate) fn rotate(&self, rows: &Tensor, heads: usize) -> Result<Tensor> {
        let (count, width) = rows.dims2()?;
        let (size, rotated) = (width / heads, 2 * self.cosines.dim(1)?);
        let split = rows.reshape((1, count, heads, size))?;
        let turn = |part: &Tensor| rope_thd(part, &self.cosines, &self.sines);
        let turned = if rotated < size {
            let moving = split.narrow(3, 0, rotated)?.contiguous()?;
            let still = split.narrow(3, rotated, size - rotated)?;
            Tensor::cat(&[turn(&moving)?, still], 3)?
        } else {
            turn(&split)?
        };
        turned.reshape((count, width))
    }
}

/// How much of each frequency is stretched: none below one dimension, all above another.
struct Ramp {
    low: f64,
    high: f64,
}

/// The dimensions whose frequencies turn as often as YaRN's bounds say within the original window
/// (Peng et al. 2023, section 3.2; transformers' `modeling_rope_utils.py`).
fn ramp(yarn: &Yarn, rope: &Rope) -> Ramp {
    let size = rope.rotated as f64;
    let dimension = |turns: f64| {
        let wavelength = yarn.original_window / (turns * std::f64::consts::TAU);
        size * wavelength.ln() / (2.0 * rope.theta.ln())
    };
    let (mut low, mut high) = (dimension(yarn.fast), dimension(yarn.slow));
    if yarn.whole {
        (low, high) = (low.floor(), high.ceil());
    }
    let (low, high) = (low.max(0.0), high.min(size - 1.0));
    Ramp {
        low,
        high: high.max(low + 0.001),
    }
}

impl Ramp {
    fn at(&self, index: usize) -> f64 {
        ((index as f64 - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }
}
