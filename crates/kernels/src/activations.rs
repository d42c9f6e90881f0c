//! Rows of inputs as integers, with one scale for each 32 of them; for AMX as bfloat16, or as integers of 16 bits with one
//! scale a row.

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
    /// A second signed byte, for what the first leaves, in the blocks whose largest magnitude is at least
    /// [`OUTLIER`] times the row's root mean square. There one byte loses most: outliers, which language
    /// models have in few channels (Dettmers et al. 2022, LLM.int8), make the steps of their block coarse.
    /// With AMX, two bytes an input, with one step a row: an error of up to 1/65024 of the row's largest magnitude. There
    /// scales and minima of weights are rounded to 1/32000 of their output's largest weight, or finer, and weights of
    /// eight bits themselves.
    Outliers,
    /// The second byte in every block: an error of up to 1/32512 of its largest magnitude.
    Fine,
}

/// With 3, three tenths of SmolLM2's blocks have a second byte, and its 20 largest logits are up to 0.11 from
/// float32; with 2, over half and 0.07; with 6, a tenth and 0.27; with none, 0.88; with all, 0.004.
const OUTLIER: f32 = 3.0;
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
    /// Two bytes an input, with a step a row: what AMX has instead of second bytes for outliers.
    Wide,
}

/// Quantised rows, `[rows, inputs]`, inputs padded with zeros to whole blocks. Its buffers are
/// reused by the next call of [`Activations::quantise`].
///
/// An input is its block's step times `256 * code + low`.
#[derive(Debug, Default)]
pub struct Activations {
    pub(crate) rows: usize,
    pub(crate) blocks: usize,
    /// `[rows][blocks * 32]`.
    pub(crate) codes: Vec<i8>,
    /// `[rows][blocks * 32]`; zeros in blocks without second bytes, or anything, where no row has any.
    pub(crate) lows: Vec<i8>,
    /// `[rows][blocks]`.
    pub(crate) steps: Vec<f32>,
    /// `[rows][blocks]`: the sum of the block's inputs in steps.
    pub(crate) sums: Vec<i32>,
    /// `[rows][blocks]`: the sum of the first 16 of them.
    pub(crate) firsts: Vec<i32>,
    /// `[rows][blocks]`: the sum of the block times the step.
    pub(crate) totals: Vec<f32>,
    /// `[rows][blocks / 64]`: which blocks have second bytes, a bit for each.
    pub(crate) seconds: Vec<u64>,
    pub(crate) form: Form,
    #[cfg(target_arch = "x86_64")]
    pub(crate) bfloats: Bfloats,
    #[cfg(target_arch = "x86_64")]
    pub(crate) wide: Wide,
}

impl Activations {
    /// Quantises `values`, `[rows, inputs]` row-major. NaN counts as zero, infinities as the largest
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
        self.lows.resize(blocks * BLOCK_INPUTS, 0);
        self.steps.resize(blocks, 0.0);
        self.sums.resize(blocks, 0);
        self.firsts.resize(blocks, 0);
        self.totals.resize(blocks, 0.0);
        self.seconds.clear();
        self.seconds.resize(self.rows * self.words(), 0);
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

    /// Words of a row's `seconds`.
    pub(crate) fn words(&self) -> usize {
        self.blocks.div_ceil(u64::BITS as usize)
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
        let words = into.words();
        for (row, values) in self.values.chunks_exact(self.inputs).enumerate() {
            let least = match self.precision {
                Precision::Fast => f32::INFINITY,
                Precision::Fine => 0.0,
                Precision::Outliers => {
                    let squares = squares::<L>(values, 0.0);
                    OUTLIER * (squares / self.inputs as f32).sqrt()
                }
            };
            let (whole, rest) = values.as_chunks::<BLOCK_INPUTS>();
            let mut last = [0.0; BLOCK_INPUTS];
            last[..rest.len()].copy_from_slice(rest);
            let last = (!rest.is_empty()).then_some(&last);
            let first = row * into.blocks;
            let (codes, _) = into.codes[first * BLOCK_INPUTS..].as_chunks_mut();
            let (lows, _) = into.lows[first * BLOCK_INPUTS..].as_chunks_mut();
            let steps = into.steps[first..].iter_mut();
            let places = codes.iter_mut().zip(lows).zip(steps);
            let places = places.zip(&mut into.sums[first..]);
            let places = places.zip(&mut into.firsts[first..]);
            let places = places.zip(&mut into.totals[first..]);
            let blocks = whole.iter().chain(last);
            for (block, (values, place)) in blocks.zip(places).enumerate() {
                let (((((codes, lows), step), sum), first_sum), total) = place;
                let has_second;
                (*step, [*first_sum, *sum], has_second) = if self.precision == Precision::Fast {
                    fill::<L>(values, codes, None)
                } else {
                    fill::<L>(values, codes, Some((lows, least)))
                };
                *total = *sum as f32 * *step;
                let bit = u64::from(has_second) << (block % u64::BITS as usize);
                into.seconds[row * words + block / u64::BITS as usize] |= bit;
            }
        }
    }
}

/// Writes the codes of one block, and where its largest magnitude is at least the number beside `lows`, its
/// second bytes; returns the step, the sums of the first 16 and of all in steps, and whether there are second bytes.
#[allow(clippy::inline_always)] // as `Computation` asks
#[inline(always)]
fn fill<L: Lanes>(
    values: &[f32; BLOCK_INPUTS],
    codes: &mut [i8; BLOCK_INPUTS],
    lows: Option<(&mut [i8; BLOCK_INPUTS], f32)>,
) -> (f32, [i32; 2], bool) {
    let (halves, _) = values.as_chunks::<LANES>();
    let (code_halves, _) = codes.as_chunks_mut::<LANES>();
    let [left, right] = [L::load(&halves[0]).numbers(), L::load(&halves[1]).numbers()];
    let largest = magnitude(left).maximum(magnitude(right)).largest();
    if !(SMALLEST..=LARGEST).contains(&largest) {
        if let Some((lows, _)) = lows {
            lows.fill(0);
        }
        return fill_extreme(values, codes, largest);
    }
    let inverse = 127.0 / largest;
    let step = largest / (127.0 * FIRST as f32);
    let factor = L::splat(inverse);
    let wholes = [
        left.multiply(factor).round(),
        right.multiply(factor).round(),
    ];
    wholes[0].store_bytes(&mut code_halves[0]);
    wholes[1].store_bytes(&mut code_halves[1]);
    let first = FIRST * wholes[0].sum() as i32;
    let sum = first + FIRST * wholes[1].sum() as i32;
    let Some((lows, least)) = lows else {
        return (step, [first, sum], false);
    };
    if largest < least {
        lows.fill(0);
        return (step, [first, sum], false);
    }
    let (low_halves, _) = lows.as_chunks_mut::<LANES>();
    let scales = [-step * FIRST as f32, inverse * FIRST as f32];
    let rests = [
        second(left, wholes[0], scales),
        second(right, wholes[1], scales),
    ];
    rests[0].store_bytes(&mut low_halves[0]);
    rests[1].store_bytes(&mut low_halves[1]);
    let first_rest = rests[0].sum() as i32;
    let rest = first_rest + rests[1].sum() as i32;
    (step, [first + first_rest, sum + rest], true)
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
) -> (f32, [i32; 2], bool) {
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
    (step, [sums[0], sums[0] + sums[1]], false)
}
