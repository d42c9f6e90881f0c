//! Rotary positions (Su et al. 2021), halves of a head paired as in transformers' `modeling_llama.py`.

use candle_core::{DType, Device, Result, Tensor};

use super::config::{Rope, Scaling};

/// The frequencies of a model.
#[derive(Debug)]
pub(crate) struct Rotation {
    /// Radians a position, `[head_size / 2]`.
    frequencies: Vec<f32>,
}

/// Cosines and sines of the rows of one step, `[rows, head_size / 2]` each.
pub(crate) struct Angles {
    cosines: Tensor,
    sines: Tensor,
}

impl Rotation {
    pub(crate) fn new(rope: &Rope, head_size: usize) -> Self {
        let half = head_size / 2;
        let plain = (0..half).map(|i| rope.theta.powf(-((2 * i) as f64) / head_size as f64));
        let frequencies = match &rope.scaling {
            Scaling::None => plain.map(|frequency| frequency as f32).collect(),
            Scaling::Linear { factor } => {
                plain.map(|frequency| (frequency / factor) as f32).collect()
            }
            Scaling::Listed(divisors) => plain
                .zip(divisors)
                .map(|(frequency, divisor)| (frequency / f64::from(*divisor)) as f32)
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
        Self { frequencies }
    }

    /// The angles of these positions. Made anew for each step: a table for a window of 131 072
    /// positions would be larger than the weights of a small model.
    pub(crate) fn angles(
        &self,
        positions: &[usize],
        dtype: DType,
        device: &Device,
    ) -> Result<Angles> {
        let angles = positions.iter().flat_map(|&position| {
            self.frequencies
                .iter()
                .map(move |frequency| position as f32 * frequency)
        });
        let (sines, cosines): (Vec<f32>, Vec<f32>) = angles.map(f32::sin_cos).unzip();
        let shape = (positions.len(), self.frequencies.len());
        Ok(Angles {
            cosines: Tensor::from_vec(cosines, shape, device)?.to_dtype(dtype)?,
            sines: Tensor::from_vec(sines, shape, device)?.to_dtype(dtype)?,
        })
    }
}

impl Angles {
    /// Rotates `[rows, heads * head_size]`.
    pub(crate) fn rotate(&self, rows: &Tensor, heads: usize) -> Result<Tensor> {
        let (count, width) = rows.dims2()?;
        let split = rows.reshape((1, count, heads, width / heads))?;
        candle_nn::rotary_emb::rope_thd(&split, &self.cosines, &self.sines)?.reshape((count, width))
    }
}
