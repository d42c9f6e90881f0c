//! Rotary positions (Su et al. 2021) on several axes: neighbours in a row turn together.

use candle_core::{DType, Device, Result, Tensor};

const THETA: f64 = 10_000.0;

/// Cosines and sines of all places, `[length, width / 2]` each.
pub(super) struct Rotation {
    cosines: Tensor,
    sines: Tensor,
}

impl Rotation {
    /// Of texts, which are at the origin, and then of the places of a picture of so many rows and
    /// columns.
    pub(super) fn new(
        axes: &[usize],
        text: usize,
        (rows, columns): (usize, usize),
        device: &Device,
    ) -> Result<Self> {
        let width: usize = axes.iter().sum::<usize>() / 2;
        let length = text + rows * columns;
        let (mut cosines, mut sines) = (
            Vec::with_capacity(length * width),
            Vec::with_capacity(length * width),
        );
        let places = (0..rows).flat_map(|row| (0..columns).map(move |column| [0, row, column]));
        for place in std::iter::repeat_n([0; 3], text).chain(places) {
            for (&axis, position) in axes.iter().zip(place) {
                for pair in 0..axis / 2 {
                    let frequency = THETA.powf(-2.0 * pair as f64 / axis as f64);
                    let (sine, cosine) = (position as f64 * frequency).sin_cos();
                    cosines.push(cosine as f32);
                    sines.push(sine as f32);
                }
            }
        }
        Ok(Self {
            cosines: Tensor::from_vec(cosines, (length, width), device)?,
            sines: Tensor::from_vec(sines, (length, width), device)?,
        })
    }

    /// Turns `[batch, heads, length, width]`.
    pub(super) fn turn(&self, x: &Tensor) -> Result<Tensor> {
        let dtype = x.dtype();
        let x = x.to_dtype(DType::F32)?.contiguous()?;
        candle_nn::rotary_emb::rope_i(&x, &self.cosines, &self.sines)?.to_dtype(dtype)
    }
}
