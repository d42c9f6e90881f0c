//! Rows of inputs as 8-bit integers, with one scale for each 32 of them.

use crate::BLOCK_INPUTS;
use crate::backend::Backend;

/// How near the integers are to the numbers they stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Precision {
    /// One signed byte an input: an error of up to 1/254 of the block's largest magnitude, as in
    /// ggml's Q8_0.
    Fast,
    /// Two signed bytes an input, the second for what the first leaves: 1/64516 of it. Twice the
    /// integer work, the same traffic of weights.
    Fine,
}

/// Quantised rows, `[rows, inputs]`, inputs padded with zeros to whole blocks. Its buffers are
/// reused by the next call of [`Activations::quantise`].
#[derive(Debug, Default)]
pub struct Activations {
    pub(crate) rows: usize,
    pub(crate) blocks: usize,
    /// 1, or 2 for [`Precision::Fine`].
    pub(crate) planes: usize,
    /// `[rows][planes][blocks * 32]`.
    pub(crate) codes: Vec<i8>,
    /// `[rows][planes][blocks]`: what a code of this plane is worth.
    pub(crate) scales: Vec<f32>,
    /// `[rows][planes][blocks]`: the sum of the block's codes.
    pub(crate) sums: Vec<i32>,
}

impl Activations {
    /// Quantises `values`, `[rows, inputs]` row-major. NaN counts as zero, infinities as the largest
    /// code of an infinite scale, so that they stay visible in the product.
    ///
    /// # Panics
    /// When `values` is not whole rows of `inputs`.
    pub fn quantise(
        &mut self,
        values: &[f32],
        inputs: usize,
        precision: Precision,
        backend: Backend,
    ) {
        assert!(
            inputs > 0 && values.len().is_multiple_of(inputs),
            "whole rows of inputs"
        );
        self.rows = values.len() / inputs;
        self.blocks = inputs.div_ceil(BLOCK_INPUTS);
        self.planes = match precision {
            Precision::Fast => 1,
            Precision::Fine => 2,
        };
        let blocks = self.planes * self.rows * self.blocks;
        self.codes.resize(blocks * BLOCK_INPUTS, 0);
        self.scales.resize(blocks, 0.0);
        self.sums.resize(blocks, 0);
        backend.quantise(self, values, inputs);
    }

    /// Inlined into each back end's own version, so that all do the same in the same order.
    #[inline(always)]
    #[allow(clippy::inline_always)] // it has to be compiled for the caller's registers
    pub(crate) fn fill(&mut self, values: &[f32], inputs: usize) {
        for (row, values) in values.chunks_exact(inputs).enumerate() {
            for (block, values) in values.chunks(BLOCK_INPUTS).enumerate() {
                let mut rest = [0.0; BLOCK_INPUTS];
                rest[..values.len()].copy_from_slice(values);
                for plane in 0..self.planes {
                    let index = (row * self.planes + plane) * self.blocks + block;
                    let codes = &mut self.codes[index * BLOCK_INPUTS..][..BLOCK_INPUTS];
                    self.scales[index] = quantise_block(&mut rest, codes);
                    self.sums[index] = codes.iter().map(|&code| i32::from(code)).sum();
                }
            }
        }
    }

    /// Rows held.
    pub fn rows(&self) -> usize {
        self.rows
    }
}

/// Within 2^22 of it, floats are whole numbers.
const ROUNDER: f32 = 12_582_912.0;

/// Writes the codes of one block, leaves the remainder in `values`, and returns the scale.
#[inline(always)]
#[allow(clippy::inline_always)] // see `fill`
fn quantise_block(values: &mut [f32; BLOCK_INPUTS], codes: &mut [i8]) -> f32 {
    let largest = values
        .iter()
        .fold(0.0_f32, |largest, v| largest.max(v.abs()));
    let scale = largest / 127.0;
    // A scale so small that its inverse overflows stands for zeros.
    let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
    if !inverse.is_finite() || inverse == 0.0 {
        let lost = largest.is_infinite();
        for (value, code) in values.iter_mut().zip(codes) {
            *code = if lost && value.is_infinite() {
                value.signum() as i8
            } else {
                0
            };
            *value = 0.0;
        }
        return if lost { f32::INFINITY } else { 0.0 };
    }
    for (value, code) in values.iter_mut().zip(codes) {
        // Adding and taking away 1.5 * 2^23 rounds to the nearest integer, ties to even, in any
        // instruction set. NaN becomes 0.
        let rounded = (*value * inverse + ROUNDER) - ROUNDER;
        *code = rounded as i8;
        *value -= f32::from(*code) * scale;
    }
    scale
}
