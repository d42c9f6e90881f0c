//! Rows of inputs as integers, with one step for each 32 of them or for a whole row; for AMX as bfloat16, or as integers of 16
//! bits with one step a row.

mod filling;

use std::ops::Range;

use crate::BLOCK_INPUTS;
use crate::backend::Backend;
#[cfg(target_arch = "x86_64")]
use crate::backend::{Bfloats, Wide};
use crate::lanes;
use crate::linear::{ROWS_TOGETHER, rows_together};
use filling::Filling;

/// How near the integers are to the numbers they stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Precision {
    /// One signed byte an input: an error of up to 1/254 of the block's largest magnitude, as in
    /// ggml's Q8_0. With AMX a bfloat16, as the weights are then: errors of up to 1/512 of themselves.
    Fast,
    /// One signed byte an input, with one step a row; but inputs whose magnitude is at least [`OUTLIER`] times the row's root
    /// mean square, or [`FAR_OUTLIER`] times that of what is left, stay floats, are multiplied with the weights themselves, and
    /// leave the step to the others: language models have outliers in few channels, which would make it coarse (Dettmers et al.
    /// 2022, LLM.int8).
    /// With AMX, two bytes an input, with one step a row: an error of up to 1/65024 of the row's largest magnitude. There
    /// scales and minima of weights are rounded to 1/32000 of their output's largest weight, or finer, and weights of
    /// eight bits themselves.
    Outliers,
    /// A second signed byte for what the first leaves: an error of up to 1/32512 of its largest magnitude.
    Fine,
}

/// With 3, 14 of a thousand of SmolLM2's inputs are outliers, and the perplexity of bench's text is 15.782 (in float32 15.760);
/// without [`FAR_OUTLIER`] it is 15.777 with 2.5, 15.779 with 3 and with 3.5, 15.802 with 4, and of the Q4_0 file 19.453, 19.451
/// and 19.475 with 2.5, 3 and 3.5: differences of 0.01 are what another rounding of anything makes.
/// With one step for 32 inputs it was 15.766: beside 96 products of bytes there were 24 of floats, with minima 36, where there
/// are 12 and 24.
const OUTLIER: f32 = 3.0;
/// A few magnitudes may be most of a row's mean, a thousand times the others (Sun et al. 2024, Massive Activations in Large
/// Language Models): then what is large beside the others would make their step coarse.
const FAR_OUTLIER: f32 = 8.0;
/// One input of so many is an outlier at most, for their squares are part of the means: a ninth and a 64th of all, or fewer.
const OUTLIERS_MOST: usize = 7;
/// What a first byte is worth, in steps of the second.
pub(crate) const FIRST: i32 = 256;
/// What [`Activations::owed`] holds for each step, which is what codes of 4 bits are above what they stand for.
pub(crate) const OWED: i32 = 8;

/// Inputs up to which sums of [`Form::Wide`] fit in 32 bits.
const WIDE_INPUTS_MAX: usize = 1 << 15;

/// How rows are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Form {
    /// A byte an input or two, with a step for 32 of them.
    #[default]
    Bytes,
    /// As AMX reads them in the fast mode.
    Bfloats,
    /// Two bytes an input, with a step a row: what AMX has instead of floats for outliers.
    Wide,
}

/// An input that stays a float in some of the rows that are multiplied together; its code is zero there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outlier {
    pub(crate) input: usize,
    /// Of each row; zeros where it is no outlier, and where there are fewer rows.
    pub(crate) values: [f32; ROWS_TOGETHER],
}

/// Quantised rows, `[rows, inputs]`, inputs padded with zeros to whole blocks. Its buffers are
/// reused by the next call of [`Activations::quantise`].
///
/// An input is its block's or its row's step times its code, times `256 * code + low` where there are second bytes, or an
/// outlier.
#[derive(Debug, Default)]
pub struct Activations {
    pub(crate) rows: usize,
    pub(crate) blocks: usize,
    /// `[rows][blocks * 32]`.
    pub(crate) codes: Vec<i8>,
    /// `[rows][blocks * 32]` where inputs have second bytes, else empty.
    pub(crate) lows: Vec<i8>,
    /// `[rows][blocks]`, or `[rows]` where a row has one.
    steps: Vec<f32>,
    has_row_steps: bool,
    /// `[rows][blocks]`: the sum of the block's inputs in steps, times `-OWED`.
    pub(crate) owed: Vec<i32>,
    /// `[rows][blocks]`: of the first 16 of them.
    pub(crate) owed_firsts: Vec<i32>,
    /// `[rows][blocks]`: the sum of the block and its outliers, in the row's steps where it has one: what minima are
    /// multiplied by.
    pub(crate) totals: Vec<f32>,
    /// `[rows][blocks]`, or empty: bit i is set where a block's input i is an outlier.
    masks: Vec<u32>,
    /// Of all rows that are multiplied together, one such group after the other.
    outliers: Vec<Outlier>,
    /// `[rows]`, or empty: where those of a row's group end.
    outlier_ends: Vec<usize>,
    pub(crate) form: Form,
    #[cfg(target_arch = "x86_64")]
    pub(crate) bfloats: Bfloats,
    #[cfg(target_arch = "x86_64")]
    pub(crate) wide: Wide,
}

impl Activations {
    /// Quantises `values`, `[rows, inputs]` row-major. A row whose mean square is no normal number has no outliers. NaN counts
    /// as zero, infinities as one step that is infinite, so that they stay visible in the product (and all else with the same
    /// step is zero); for AMX's fast mode magnitudes from 2^80 on count as infinite.
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
        self.form = match (backend, precision) {
            (Backend::Amx, Precision::Fast) => Form::Bfloats,
            (Backend::Amx, Precision::Outliers) if inputs <= WIDE_INPUTS_MAX => Form::Wide,
            _ => Form::Bytes,
        };
        #[cfg(target_arch = "x86_64")]
        match self.form {
            Form::Bfloats => return self.bfloats.fill(values, inputs),
            Form::Wide => return self.wide.fill(values, inputs),
            Form::Bytes => {}
        }
        self.codes.resize(blocks * BLOCK_INPUTS, 0);
        let lows = match precision {
            Precision::Fine => blocks * BLOCK_INPUTS,
            Precision::Fast | Precision::Outliers => 0,
        };
        self.lows.resize(lows, 0);
        self.has_row_steps = precision == Precision::Outliers;
        let steps = if self.has_row_steps {
            self.rows
        } else {
            blocks
        };
        self.steps.resize(steps, 0.0);
        self.owed.resize(blocks, 0);
        self.owed_firsts.resize(blocks, 0);
        self.totals.resize(blocks, 0.0);
        self.outliers.clear();
        self.outlier_ends.clear();
        self.masks
            .resize(if self.has_row_steps { blocks } else { 0 }, 0);
        let filling = Filling {
            activations: self,
            values,
            inputs,
        };
        lanes::run(backend, filling);
        if self.has_row_steps {
            self.gather(values, inputs);
        }
    }

    /// Lists the outliers of rows that are multiplied together, and adds them to the totals of their blocks.
    #[allow(clippy::manual_clamp)] // which leaves what is no number as it is
    fn gather(&mut self, values: &[f32], inputs: usize) {
        // No more can be so far from the mean square, so that a running model's buffer does not grow.
        let most = self.rows.min(ROWS_TOGETHER) * (inputs / OUTLIERS_MOST + 1);
        let groups = self.rows.div_ceil(ROWS_TOGETHER);
        self.outliers.reserve(groups * inputs.min(most));
        let (blocks, masks) = (self.blocks, &self.masks[..]);
        let mut first = 0;
        while first < self.rows {
            let rows = first..first + rows_together(self.rows, first);
            let mut inverses = [0.0; ROWS_TOGETHER];
            for (inverse, step) in inverses.iter_mut().zip(&self.steps[rows.clone()]) {
                // A row without a step has no outliers.
                *inverse = if *step > 0.0 { step.recip() } else { 0.0 };
            }
            for block in 0..blocks {
                let of_rows = rows.clone().map(|row| masks[row * blocks + block]);
                let all = of_rows.fold(0, |all, mask| all | mask);
                let mut taken = [0.0; ROWS_TOGETHER];
                for bit in bits(all) {
                    // Where it stays: elsewhere it would be read in larger pieces than it is written.
                    let outlier = self.outliers.push_mut(Outlier {
                        input: block * BLOCK_INPUTS + bit,
                        values: [0.0; ROWS_TOGETHER],
                    });
                    let places = outlier.values.iter_mut().zip(&mut taken);
                    for (row, (place, taken)) in rows.clone().zip(places) {
                        let index = row * blocks + block;
                        // A factor of 0 or 1: a branch would often be guessed wrong. What is no number, or an infinite one, is
                        // no outlier, and would be none times 0.
                        let is_outlier = (masks[index] >> bit & 1) as f32;
                        let value = values[row * inputs + outlier.input];
                        *place = value.max(-f32::MAX).min(f32::MAX) * is_outlier;
                        *taken += *place;
                    }
                }
                if all != 0 {
                    for (row, (taken, inverse)) in rows.clone().zip(taken.iter().zip(inverses)) {
                        self.totals[row * blocks + block] += taken * inverse;
                    }
                }
            }
            self.outlier_ends.resize(rows.end, self.outliers.len());
            first = rows.end;
        }
    }

    /// Rows held.
    pub fn rows(&self) -> usize {
        self.rows
    }

    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))] // AVX-512 asks
    pub(crate) fn has_row_steps(&self) -> bool {
        self.has_row_steps
    }

    /// The steps of some rows.
    pub(crate) fn steps(&self, rows: Range<usize>) -> Steps<'_> {
        if self.has_row_steps {
            Steps::OfRows(&self.steps[rows])
        } else {
            Steps::OfBlocks(&self.steps[rows.start * self.blocks..rows.end * self.blocks])
        }
    }

    /// Those of rows that are multiplied together ([`rows_together`]).
    ///
    /// # Panics
    /// When the rows are not such a group.
    pub(crate) fn outliers(&self, rows: Range<usize>) -> &[Outlier] {
        if self.outlier_ends.is_empty() {
            return &[];
        }
        assert_eq!(rows.len(), rows_together(self.rows, rows.start), "a group");
        let first = rows.start.checked_sub(1);
        let first = first.map_or(0, |row| self.outlier_ends[row]);
        &self.outliers[first..self.outlier_ends[rows.start]]
    }
}

/// The places of the bits that are set, the lowest first.
fn bits(mut mask: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = mask.trailing_zeros() as usize;
        mask &= mask.checked_sub(1)?;
        Some(bit)
    })
}

/// What the last byte of an input is worth.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Steps<'a> {
    /// `[rows][blocks]`.
    OfBlocks(&'a [f32]),
    /// `[rows]`.
    OfRows(&'a [f32]),
}
