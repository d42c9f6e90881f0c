//! Rows of inputs as 8-bit integers, with one scale for each 32 of them.

use crate::BLOCK_INPUTS;
use crate::backend::Backend;

/// How near the integers are to the numbers they stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Precision {
    /// One signed byte an input: an error of up to 1/254 of the block's largest magnitude, as in
    /// ggml's Q8_0.
    Fast,
    /// A second signed byte, for what the first leaves, in the blocks whose largest magnitude is at least
    /// [`OUTLIER`] times the row's root mean square. There one byte loses most: outliers, which language
    /// models have in few channels (Dettmers et al. 2022, LLM.int8), make the steps of their block coarse.
    Outliers,
    /// The second byte in every block: an error of up to 1/64516 of its largest magnitude.
    Fine,
}

/// With 3, three tenths of SmolLM2's blocks have a second byte, and its 20 largest logits are up to 0.11 from
/// float32; with 2, over half and 0.07; with 6, a tenth and 0.27; with none, 0.88; with all, 0.004.
const OUTLIER: f32 = 3.0;

/// Quantised rows, `[rows, inputs]`, inputs padded with zeros to whole blocks. Its buffers are
/// reused by the next call of [`Activations::quantise`].
#[derive(Debug, Default)]
pub struct Activations {
    pub(crate) rows: usize,
    pub(crate) blocks: usize,
    /// `[rows][blocks * 32]`.
    pub(crate) codes: Vec<i8>,
    /// `[rows][blocks]`: what a code is worth.
    pub(crate) scales: Vec<f32>,
    /// `[rows][blocks]`: the sum of the block's codes.
    pub(crate) sums: Vec<i32>,
    pub(crate) seconds: Seconds,
    /// The same by rows, as they are found.
    found: Vec<Second>,
}

/// The second bytes of blocks that have them, ordered by block and within a block by row; where all blocks
/// have them, `[rows][blocks]`.
#[derive(Debug, Default)]
pub(crate) struct Seconds {
    pub(crate) everywhere: bool,
    /// `[blocks + 1]`: where each block's begin.
    pub(crate) starts: Vec<usize>,
    /// `[seconds]`.
    pub(crate) rows: Vec<usize>,
    /// `[seconds][32]`.
    pub(crate) codes: Vec<i8>,
    /// `[seconds]`.
    pub(crate) scales: Vec<f32>,
    /// `[seconds]`.
    pub(crate) sums: Vec<i32>,
}

#[derive(Debug)]
struct Second {
    row: usize,
    block: usize,
    scale: f32,
    sum: i32,
    codes: [i8; BLOCK_INPUTS],
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
        let blocks = self.rows * self.blocks;
        self.codes.resize(blocks * BLOCK_INPUTS, 0);
        self.scales.resize(blocks, 0.0);
        self.sums.resize(blocks, 0);
        self.found.clear();
        backend.quantise(self, values, (inputs, precision));
        self.seconds.everywhere = precision == Precision::Fine;
        self.seconds.order(&self.found, self.blocks);
    }

    /// Inlined into each back end's own version, so that all do the same in the same order.
    #[inline(always)]
    #[allow(clippy::inline_always)] // it has to be compiled for the caller's registers
    pub(crate) fn fill(&mut self, values: &[f32], (inputs, precision): (usize, Precision)) {
        for (row, values) in values.chunks_exact(inputs).enumerate() {
            let outlier = match precision {
                Precision::Fast | Precision::Fine => f32::INFINITY,
                Precision::Outliers => OUTLIER * (squares(values) / inputs as f32).sqrt(),
            };
            for (block, values) in values.chunks(BLOCK_INPUTS).enumerate() {
                let mut rest = [0.0; BLOCK_INPUTS];
                rest[..values.len()].copy_from_slice(values);
                let index = row * self.blocks + block;
                let mut codes = [0; BLOCK_INPUTS];
                let (scale, sum) = quantise_block(&mut rest, &mut codes);
                self.codes[index * BLOCK_INPUTS..][..BLOCK_INPUTS].copy_from_slice(&codes);
                self.scales[index] = scale;
                self.sums[index] = sum;
                if precision == Precision::Fine
                    || (scale * 127.0 >= outlier && scale.is_finite() && scale > 0.0)
                {
                    let mut codes = [0; BLOCK_INPUTS];
                    let (scale, sum) = quantise_block(&mut rest, &mut codes);
                    self.found.push(Second {
                        row,
                        block,
                        scale,
                        sum,
                        codes,
                    });
                }
            }
        }
    }

    /// Rows held.
    pub fn rows(&self) -> usize {
        self.rows
    }
}

impl Seconds {
    /// Orders by block what was found row by row.
    fn order(&mut self, found: &[Second], blocks: usize) {
        self.starts.clear();
        self.starts.resize(blocks + 1, 0);
        self.rows.resize(found.len(), 0);
        self.codes.resize(found.len() * BLOCK_INPUTS, 0);
        self.scales.resize(found.len(), 0.0);
        self.sums.resize(found.len(), 0);
        for second in found {
            self.starts[second.block + 1] += 1;
        }
        for block in 0..blocks {
            self.starts[block + 1] += self.starts[block];
        }
        for (index, second) in found.iter().enumerate() {
            // Each start moves to its block's end, which is where the next begins.
            let start = &mut self.starts[second.block];
            let at = if self.everywhere { index } else { *start };
            *start += 1;
            self.rows[at] = second.row;
            self.codes[at * BLOCK_INPUTS..][..BLOCK_INPUTS].copy_from_slice(&second.codes);
            self.scales[at] = second.scale;
            self.sums[at] = second.sum;
        }
        self.starts.rotate_right(1);
        self.starts[0] = 0;
    }
}

/// The sum of squares, in sixteen sums side by side.
#[inline(always)]
#[allow(clippy::inline_always)] // see `fill`
fn squares(values: &[f32]) -> f32 {
    let (vectors, rest) = values.as_chunks::<16>();
    let mut sums = [0.0_f32; 16];
    for vector in vectors {
        for (sum, value) in sums.iter_mut().zip(vector) {
            *sum += value * value;
        }
    }
    for (sum, value) in sums.iter_mut().zip(rest) {
        *sum += value * value;
    }
    sums.iter().sum()
}

/// Within 2^22 of it, floats are whole numbers.
const ROUNDER: f32 = 12_582_912.0;

/// Writes the codes of one block, leaves the remainder in `values`, and returns the scale and the sum of
/// the codes. NaN in `values` becomes 0.
#[inline(always)]
#[allow(clippy::inline_always)] // see `fill`
fn quantise_block(values: &mut [f32; BLOCK_INPUTS], codes: &mut [i8; BLOCK_INPUTS]) -> (f32, i32) {
    // Side by side, so that one instruction does sixteen.
    let mut most = [0.0_f32; BLOCK_INPUTS / 2];
    for half in values.as_chunks_mut::<{ BLOCK_INPUTS / 2 }>().0 {
        for (most, value) in most.iter_mut().zip(half) {
            *value = if value.is_nan() { 0.0 } else { *value };
            *most = if value.abs() > *most {
                value.abs()
            } else {
                *most
            };
        }
    }
    let largest = most
        .iter()
        .fold(0.0_f32, |largest, &v| if v > largest { v } else { largest });
    let scale = largest / 127.0;
    // A scale so small that its inverse overflows stands for zeros.
    let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
    if !inverse.is_finite() || inverse == 0.0 {
        let lost = largest.is_infinite();
        let mut sum = 0;
        for (value, code) in values.iter_mut().zip(codes) {
            *code = if lost && value.is_infinite() {
                value.signum() as i8
            } else {
                0
            };
            sum += i32::from(*code);
            *value = 0.0;
        }
        return (if lost { f32::INFINITY } else { 0.0 }, sum);
    }
    let mut sum = 0;
    for (value, code) in values.iter_mut().zip(codes) {
        // Adding 1.5 * 2^23 rounds to the nearest integer, ties to even, in any instruction set, and
        // leaves it in the lowest bits.
        let rounded = *value * inverse + ROUNDER;
        let whole = rounded.to_bits().wrapping_sub(ROUNDER.to_bits()) as i32;
        *code = whole as i8;
        sum += whole;
        *value -= (rounded - ROUNDER) * scale;
    }
    (scale, sum)
}
