//! Rows of inputs as integers, with one scale for each 32 of them; for AMX as bfloat16, or as integers of 16 bits with one
//! scale a row.

use std::ops::Range;

use crate::BLOCK_INPUTS;
use crate::backend::Backend;
#[cfg(target_arch = "x86_64")]
use crate::backend::{Bfloats, Wide};
use crate::lanes::{self, Computation, LANES, Lanes, squares};
use crate::linear::{ROWS_TOGETHER, rows_together};

/// How near the integers are to the numbers they stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Precision {
    /// One signed byte an input: an error of up to 1/254 of the block's largest magnitude, as in
    /// ggml's Q8_0. With AMX a bfloat16, as the weights are then: errors of up to 1/512 of themselves.
    Fast,
    /// The same, but inputs whose magnitude is at least [`OUTLIER`] times the row's root mean square stay floats, are
    /// multiplied with the weights themselves, and leave their block's step to the others: language models have outliers in
    /// few channels, which would make the steps of their blocks coarse (Dettmers et al. 2022, LLM.int8).
    /// With AMX, two bytes an input, with one step a row: an error of up to 1/65024 of the row's largest magnitude. There
    /// scales and minima of weights are rounded to 1/32000 of their output's largest weight, or finer, and weights of
    /// eight bits themselves.
    Outliers,
    /// A second signed byte for what the first leaves: an error of up to 1/32512 of its largest magnitude.
    Fine,
}

/// With 3, 14 of a thousand of SmolLM2's inputs are outliers, and the perplexity of bench's text is 15.766 (in float32 15.760);
/// with 4, 7 and 15.775; with 5, 4 and 15.772. Of the text's first 4352 tokens it is 17.05 with 3 and with 4, 17.08 with 6 and
/// 17.15 without outliers.
const OUTLIER: f32 = 3.0;
/// One input of so many is an outlier at most, for their squares are part of the mean.
const OUTLIERS_MOST: usize = (OUTLIER * OUTLIER) as usize;
/// What a first byte is worth, in steps of the second.
pub(crate) const FIRST: i32 = 256;
/// A block without a larger magnitude stands for zeros: neither its scale's inverse nor the scale times any of
/// half precision leaves the normal numbers.
const SMALLEST: f32 = 1e-24;
/// Magnitudes above count as infinite, for the same reason.
const LARGEST: f32 = 1e28;

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
/// An input is its block's step times `256 * code + low`, or an outlier.
#[derive(Debug, Default)]
pub struct Activations {
    pub(crate) rows: usize,
    pub(crate) blocks: usize,
    /// `[rows][blocks * 32]`.
    pub(crate) codes: Vec<i8>,
    /// `[rows][blocks * 32]` where inputs have second bytes, else empty.
    pub(crate) lows: Vec<i8>,
    /// `[rows][blocks]`.
    pub(crate) steps: Vec<f32>,
    /// `[rows][blocks]`: the sum of the block's inputs in steps.
    pub(crate) sums: Vec<i32>,
    /// `[rows][blocks]`: the sum of the first 16 of them.
    pub(crate) firsts: Vec<i32>,
    /// `[rows][blocks]`: the sum of the block times the step, and the outliers: what minima are multiplied by.
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
    /// as zero, infinities as the largest code of an infinite scale, so that they stay visible in the product; for AMX's fast
    /// mode magnitudes from 2^80 on count as infinite.
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
        self.steps.resize(blocks, 0.0);
        self.sums.resize(blocks, 0);
        self.firsts.resize(blocks, 0);
        self.totals.resize(blocks, 0.0);
        self.outliers.clear();
        self.outlier_ends.clear();
        let masks = match precision {
            Precision::Outliers => blocks,
            Precision::Fast | Precision::Fine => 0,
        };
        self.masks.resize(masks, 0);
        let filling = Filling {
            activations: self,
            values,
            inputs,
            precision,
        };
        lanes::run(backend, filling);
        if precision == Precision::Outliers {
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
            let rows = first..first + rows_together(self.rows - first);
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
                    for (row, taken) in rows.clone().zip(taken) {
                        self.totals[row * blocks + block] += taken;
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

    /// Those of rows that are multiplied together ([`rows_together`]).
    ///
    /// # Panics
    /// When the rows are not such a group.
    pub(crate) fn outliers(&self, rows: Range<usize>) -> &[Outlier] {
        if self.outlier_ends.is_empty() {
            return &[];
        }
        assert_eq!(rows.len(), rows_together(self.rows - rows.start), "a group");
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

struct Filling<'a> {
    activations: &'a mut Activations,
    values: &'a [f32],
    inputs: usize,
    precision: Precision,
}

impl Computation for Filling<'_> {
    type Output = ();

    #[allow(clippy::inline_always)] // as `Computation` asks
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let into = self.activations;
        for (row, values) in self.values.chunks_exact(self.inputs).enumerate() {
            let mut least = f32::INFINITY;
            if self.precision == Precision::Outliers {
                let mean = squares::<L>(values, 0.0) / self.inputs as f32;
                if mean.is_normal() {
                    least = OUTLIER * mean.sqrt();
                }
            }
            let (blocks, rest) = values.as_chunks::<BLOCK_INPUTS>();
            let mut last = [0.0; BLOCK_INPUTS];
            last[..rest.len()].copy_from_slice(rest);
            let first = row * into.blocks;
            let (fours, others) = blocks.as_chunks::<TOGETHER>();
            for (index, four) in fours.iter().enumerate() {
                into.fill::<L, TOGETHER>(four, least, [first, TOGETHER * index]);
            }
            let mut index = TOGETHER * fours.len();
            let (pairs, others) = others.as_chunks::<2>();
            for pair in pairs {
                into.fill::<L, 2>(pair, least, [first, index]);
                index += 2;
            }
            for block in others.iter().chain((!rest.is_empty()).then_some(&last)) {
                into.fill::<L, 1>(std::array::from_ref(block), least, [first, index]);
                index += 1;
            }
        }
    }
}

/// Blocks whose sums and largest magnitudes are found together.
const TOGETHER: usize = 4;

impl Activations {
    /// Fills blocks of a row, whose first block's index and their own first one's within the row are given. If `least` is finite,
    /// it is a normal number, and so are the squares' sums: no value is too large for a step.
    #[allow(clippy::inline_always)] // as `Computation` asks
    #[inline(always)]
    fn fill<L: Lanes, const N: usize>(
        &mut self,
        blocks: &[[f32; BLOCK_INPUTS]; N],
        least: f32,
        [row_start, first]: [usize; 2],
    ) {
        let zero = L::splat(0.0);
        let mut values = [[zero; TOGETHER]; 2];
        let mut magnitudes = [zero; TOGETHER];
        let mut masks = [0; N];
        for block in 0..N {
            let (halves, _) = blocks[block].as_chunks::<LANES>();
            for half in 0..2 {
                let mut value = L::load(&halves[half]);
                if least < f32::INFINITY {
                    let (below, others) = value.below(least);
                    value = below;
                    masks[block] |= u32::from(others) << (half * LANES);
                } else {
                    value = value.numbers();
                }
                values[half][block] = value;
                magnitudes[block] = magnitudes[block].maximum(value.magnitude());
            }
        }
        let largest = L::largest_of(magnitudes);
        // A block that is next to nothing has codes of zero, as one that is lost at first.
        let mut steps = [0.0; N];
        let mut factors = [0.0; N];
        for block in 0..N {
            if (SMALLEST..=LARGEST).contains(&largest[block]) {
                steps[block] = largest[block] / (127.0 * FIRST as f32);
                factors[block] = 127.0 / largest[block];
            }
        }
        let here = row_start + first..row_start + first + N;
        let mut wholes = [[zero; TOGETHER]; 2];
        let (codes, _) = self.codes.as_chunks_mut::<BLOCK_INPUTS>();
        for (block, codes) in codes[here.clone()].iter_mut().enumerate() {
            let (places, _) = codes.as_chunks_mut::<LANES>();
            for half in 0..2 {
                let value = values[half][block];
                let whole = value.multiply(L::splat(factors[block])).round();
                whole.store_bytes(&mut places[half]);
                wholes[half][block] = whole;
            }
        }
        let mut sums = [[0; N]; 2];
        add::<L, N>(&mut sums, &wholes, FIRST);
        if !self.lows.is_empty() {
            let (lows, _) = self.lows.as_chunks_mut::<BLOCK_INPUTS>();
            for (block, lows) in lows[here.clone()].iter_mut().enumerate() {
                let (places, _) = lows.as_chunks_mut::<LANES>();
                let scales = [-steps[block] * FIRST as f32, factors[block] * FIRST as f32];
                for half in 0..2 {
                    let whole = &mut wholes[half][block];
                    *whole = second(values[half][block], *whole, scales);
                    whole.store_bytes(&mut places[half]);
                }
            }
            add::<L, N>(&mut sums, &wholes, 1);
        }
        if let Some(places) = self.masks.get_mut(here.clone()) {
            places.copy_from_slice(&masks);
        }
        self.firsts[here.clone()].copy_from_slice(&sums[0]);
        let mut totals = [0.0; N];
        let mut is_lost = false;
        for block in 0..N {
            sums[1][block] = sums[1][block].wrapping_add(sums[0][block]);
            totals[block] = sums[1][block] as f32 * steps[block];
            is_lost |= largest[block] > LARGEST;
        }
        self.steps[here.clone()].copy_from_slice(&steps);
        self.sums[here.clone()].copy_from_slice(&sums[1]);
        self.totals[here.clone()].copy_from_slice(&totals);
        if is_lost {
            for (block, index) in blocks.iter().zip(here) {
                self.lose(block, index);
            }
        }
    }

    /// Fills a block if it has magnitudes beyond what products hold.
    #[cold]
    fn lose(&mut self, values: &[f32; BLOCK_INPUTS], index: usize) {
        if !values.iter().any(|value| value.abs() > LARGEST) {
            return;
        }
        let (codes, _) = self.codes.as_chunks_mut::<BLOCK_INPUTS>();
        let mut sums = [0; 2];
        for (at, (value, code)) in values.iter().zip(&mut codes[index]).enumerate() {
            *code = if value.abs() > LARGEST {
                value.signum() as i8
            } else {
                0
            };
            sums[at / LANES] += FIRST * i32::from(*code);
        }
        if let Some(lows) = self.lows.as_chunks_mut::<BLOCK_INPUTS>().0.get_mut(index) {
            lows.fill(0);
        }
        self.steps[index] = f32::INFINITY;
        self.firsts[index] = sums[0];
        self.sums[index] = sums[0] + sums[1];
        self.totals[index] = self.sums[index] as f32 * f32::INFINITY;
    }
}

/// Adds the sums of whole numbers, of blocks' first and second halves, as often as they are worth. Those are below 2^22.
#[allow(clippy::inline_always)] // as `Computation` asks
#[inline(always)]
fn add<L: Lanes, const N: usize>(
    sums: &mut [[i32; N]; 2],
    wholes: &[[L; TOGETHER]; 2],
    worth: i32,
) {
    // The last bits of such a float are those of a whole number.
    const UNIT: f32 = 1.5 * (1 << 23) as f32;
    for half in 0..2 {
        let floats = L::whole_sums(wholes[half]);
        for block in 0..N {
            let bits = (floats[block] + UNIT).to_bits().cast_signed();
            let sum = bits.wrapping_sub(UNIT.to_bits().cast_signed());
            sums[half][block] = sum.wrapping_mul(worth).wrapping_add(sums[half][block]);
        }
    }
}

/// What whole numbers leave of values, in steps.
#[allow(clippy::inline_always)] // as `Computation` asks
#[inline(always)]
fn second<L: Lanes>(value: L, whole: L, [scale, inverse]: [f32; 2]) -> L {
    let rest = whole.multiply_add(L::splat(scale), value);
    let rounded = rest.multiply(L::splat(inverse)).round();
    // A rest of half a scale would be 128.
    L::splat(-127.0).maximum(L::splat(127.0).minimum(rounded))
}
