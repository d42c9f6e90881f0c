//! Rows of inputs as integers, with one scale for each 32 of them; for AMX as bfloat16, or as integers of 16 bits with one
//! scale a row.

use std::ops::Range;

use crate::BLOCK_INPUTS;
use crate::backend::Backend;
#[cfg(target_arch = "x86_64")]
use crate::backend::{Bfloats, Wide};
use crate::lanes::{self, Computation, LANES, Lanes, magnitude, squares};

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

/// An input that stays a float; its code is zero.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outlier {
    pub(crate) input: usize,
    pub(crate) value: f32,
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
    /// Of all rows, one after the other.
    pub(crate) outliers: Vec<Outlier>,
    /// `[rows]`: where those of a row end.
    pub(crate) outlier_ends: Vec<usize>,
    pub(crate) form: Form,
    #[cfg(target_arch = "x86_64")]
    pub(crate) bfloats: Bfloats,
    #[cfg(target_arch = "x86_64")]
    pub(crate) wide: Wide,
}

impl Activations {
    /// Quantises `values`, `[rows, inputs]` row-major. A row whose mean square is no normal number has no outliers. NaN counts as zero, infinities as the largest
    /// code of an infinite scale, so that they stay visible in the product; for AMX's fast mode magnitudes from 2^80 on
    /// count as infinite.
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
        if precision == Precision::Outliers {
            // No more can be so far from the mean square, so that a running model's buffer does not grow.
            self.outliers
                .reserve(self.rows * (inputs / OUTLIERS_MOST + 1));
        }
        let filling = Filling {
            activations: self,
            values,
            inputs,
            precision,
        };
        lanes::run(backend, filling);
    }

    /// Rows held.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Those of some rows, one row at least.
    pub(crate) fn outliers(&self, rows: Range<usize>) -> &[Outlier] {
        let end_of = |row: usize| self.outlier_ends[row];
        let first = rows.start.checked_sub(1).map_or(0, end_of);
        &self.outliers[first..end_of(rows.end - 1)]
    }
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
            let least = match self.precision {
                Precision::Fast | Precision::Fine => f32::INFINITY,
                Precision::Outliers => {
                    let mean = squares::<L>(values, 0.0) / self.inputs as f32;
                    if mean.is_normal() {
                        OUTLIER * mean.sqrt()
                    } else {
                        f32::INFINITY
                    }
                }
            };
            let (blocks, rest) = values.as_chunks::<BLOCK_INPUTS>();
            let mut last = [0.0; BLOCK_INPUTS];
            last[..rest.len()].copy_from_slice(rest);
            let last = (!rest.is_empty()).then_some(&last);
            for (block, values) in blocks.iter().chain(last).enumerate() {
                let mut largest = largest_magnitude::<L>(values);
                let mut others;
                let mut values = values;
                let mut taken = 0.0;
                if largest >= least && (SMALLEST..=LARGEST).contains(&largest) {
                    others = *values;
                    taken = take(&mut others, least, block, &mut into.outliers);
                    values = &others;
                    largest = largest_magnitude::<L>(values);
                }
                let index = row * into.blocks + block;
                let (codes, _) = into.codes.as_chunks_mut();
                let (lows, _) = into.lows.as_chunks_mut();
                let (step, [first, sum]) =
                    fill::<L>(values, largest, &mut codes[index], lows.get_mut(index));
                into.steps[index] = step;
                into.sums[index] = sum;
                into.firsts[index] = first;
                into.totals[index] = sum as f32 * step + taken;
            }
            into.outlier_ends.push(into.outliers.len());
        }
    }
}

/// The largest magnitude of a block's numbers.
#[allow(clippy::inline_always)] // as `Computation` asks
#[inline(always)]
fn largest_magnitude<L: Lanes>(values: &[f32; BLOCK_INPUTS]) -> f32 {
    let (halves, _) = values.as_chunks::<LANES>();
    let [left, right] = [L::load(&halves[0]).numbers(), L::load(&halves[1]).numbers()];
    magnitude(left).maximum(magnitude(right)).largest()
}

/// Takes the inputs of such magnitudes out of a block, and gives their sum.
#[allow(clippy::inline_always)] // to be compiled with the caller's instructions
#[inline(always)]
fn take(
    values: &mut [f32; BLOCK_INPUTS],
    least: f32,
    block: usize,
    outliers: &mut Vec<Outlier>,
) -> f32 {
    let mut these = 0_u32;
    for (input, value) in values.iter().enumerate() {
        these |= u32::from(value.abs() >= least) << input;
    }
    let mut sum = 0.0;
    while these != 0 {
        let input = these.trailing_zeros() as usize;
        these &= these - 1;
        let value = std::mem::take(&mut values[input]);
        sum += value;
        outliers.push(Outlier {
            input: block * BLOCK_INPUTS + input,
            value,
        });
    }
    sum
}

/// A sum of codes, which is a whole number below 2^22.
#[allow(clippy::inline_always)] // as `Computation` asks
#[inline(always)]
fn whole<L: Lanes>(codes: L) -> i32 {
    // Its last bits are those of the mantissa.
    const UNIT: f32 = 1.5 * (1 << 23) as f32;
    (codes.sum() + UNIT).to_bits().cast_signed() - UNIT.to_bits().cast_signed()
}

/// Writes the codes of one block, whose largest magnitude is known, and its second bytes where they have a place;
/// returns the step, and the sums of the first 16 and of all in steps.
#[allow(clippy::inline_always)] // as `Computation` asks
#[inline(always)]
fn fill<L: Lanes>(
    values: &[f32; BLOCK_INPUTS],
    largest: f32,
    codes: &mut [i8; BLOCK_INPUTS],
    lows: Option<&mut [i8; BLOCK_INPUTS]>,
) -> (f32, [i32; 2]) {
    if !(SMALLEST..=LARGEST).contains(&largest) {
        if let Some(lows) = lows {
            lows.fill(0);
        }
        return fill_extreme(values, codes, largest);
    }
    let (halves, _) = values.as_chunks::<LANES>();
    let (code_halves, _) = codes.as_chunks_mut::<LANES>();
    let [left, right] = [L::load(&halves[0]).numbers(), L::load(&halves[1]).numbers()];
    let inverse = 127.0 / largest;
    let step = largest / (127.0 * FIRST as f32);
    let factor = L::splat(inverse);
    let wholes = [
        left.multiply(factor).round(),
        right.multiply(factor).round(),
    ];
    wholes[0].store_bytes(&mut code_halves[0]);
    wholes[1].store_bytes(&mut code_halves[1]);
    let first = FIRST * whole(wholes[0]);
    let sum = first + FIRST * whole(wholes[1]);
    let Some(lows) = lows else {
        return (step, [first, sum]);
    };
    let (low_halves, _) = lows.as_chunks_mut::<LANES>();
    let scales = [-step * FIRST as f32, inverse * FIRST as f32];
    let rests = [
        second(left, wholes[0], scales),
        second(right, wholes[1], scales),
    ];
    rests[0].store_bytes(&mut low_halves[0]);
    rests[1].store_bytes(&mut low_halves[1]);
    let first_rest = whole(rests[0]);
    let rest = first_rest + whole(rests[1]);
    (step, [first + first_rest, sum + rest])
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

/// A block that is next to nothing, or beyond what products hold.
#[cold]
fn fill_extreme(
    values: &[f32; BLOCK_INPUTS],
    codes: &mut [i8; BLOCK_INPUTS],
    largest: f32,
) -> (f32, [i32; 2]) {
    let lost = largest > LARGEST;
    let mut sums = [0; 2];
    for (at, (value, code)) in values.iter().zip(codes).enumerate() {
        *code = if lost && value.abs() > LARGEST {
            value.signum() as i8
        } else {
            0
        };
        sums[at / LANES] += FIRST * i32::from(*code);
    }
    let step = if lost { f32::INFINITY } else { 0.0 };
    (step, [sums[0], sums[0] + sums[1]])
}
