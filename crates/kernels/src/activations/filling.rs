//! Rounding of rows to integers.

use super::{Activations, FAR_OUTLIER, FIRST, OUTLIER, OWED};
use crate::BLOCK_INPUTS;
use crate::lanes::{Computation, LANES, Lanes, Padded, squares};

/// A block or a row without a larger magnitude stands for zeros: neither its scale's inverse nor the scale times any of
/// half precision leaves the normal numbers.
const SMALLEST: f32 = 1e-24;
/// Magnitudes above count as infinite, for the same reason.
const LARGEST: f32 = 1e28;
/// Inputs so small, to the least outlier, need no finer step: its rounding is below that of a float as large as the row's mean.
const NEGLIGIBLE: f32 = 1.0 / (1 << 20) as f32;
/// The largest code of an input.
const LARGEST_CODE: f32 = 127.0;

/// Rounds whole rows of inputs.
pub(super) struct Filling<'a> {
    pub(super) activations: &'a mut Activations,
    pub(super) values: &'a [f32],
    pub(super) inputs: usize,
}

impl Computation for Filling<'_> {
    type Output = ();

    #[allow(clippy::inline_always)] // as `Computation` asks
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let into = self.activations;
        for (row, values) in self.values.chunks_exact(self.inputs).enumerate() {
            let mut scaling = None;
            if into.has_row_steps {
                let of_row = Scaling::of_row::<L>(values);
                into.steps[row] = of_row.step;
                scaling = Some(of_row);
            }
            let (blocks, rest) = values.as_chunks::<BLOCK_INPUTS>();
            let mut last = [0.0; BLOCK_INPUTS];
            last[..rest.len()].copy_from_slice(rest);
            let first = row * into.blocks;
            let (fours, others) = blocks.as_chunks::<TOGETHER>();
            for (index, four) in fours.iter().enumerate() {
                into.fill::<L, TOGETHER>(four, scaling, first + TOGETHER * index);
            }
            let mut index = first + TOGETHER * fours.len();
            let (pairs, others) = others.as_chunks::<2>();
            for pair in pairs {
                into.fill::<L, 2>(pair, scaling, index);
                index += 2;
            }
            for block in others.iter().chain((!rest.is_empty()).then_some(&last)) {
                into.fill::<L, 1>(std::array::from_ref(block), scaling, index);
                index += 1;
            }
        }
    }
}

/// How a row with one step is rounded.
#[derive(Debug, Clone, Copy)]
struct Scaling {
    /// What is as large is an outlier. Where it is infinite, a row may hold what is no number.
    least: f32,
    step: f32,
    /// One by the step, rounded by itself, or zero.
    inverse: f32,
}

impl Scaling {
    /// Of a row: its step is as fine as what is no outlier lets it be, but not so fine that outliers are too many of them.
    #[allow(clippy::inline_always)] // as `Computation` asks
    #[inline(always)]
    fn of_row<L: Lanes>(values: &[f32]) -> Self {
        let count = values.len() as f32;
        let mean = squares::<L>(values, 0.0) / count;
        let mut least = f32::INFINITY;
        if mean.is_normal() {
            least = OUTLIER * mean.sqrt();
        }
        let mut below = Below::of_row::<L>(values, least);
        if least < f32::INFINITY {
            let negligible = (least * NEGLIGIBLE).max(SMALLEST);
            let others = below.squares / count;
            if others.is_normal() && below.largest >= FAR_OUTLIER * others.sqrt() {
                least = FAR_OUTLIER * others.sqrt();
                below = Below::of_row::<L>(values, least);
            }
            below.largest = below.largest.max(negligible);
        }
        let [step, inverse] = match below.largest {
            largest if largest > LARGEST => [f32::INFINITY, 0.0],
            largest if largest < SMALLEST => [0.0; 2],
            largest => [largest / LARGEST_CODE, LARGEST_CODE / largest],
        };
        Self {
            least,
            step,
            inverse,
        }
    }
}

/// What magnitudes below some number are together (those of numbers, where that is infinite).
struct Below {
    largest: f32,
    squares: f32,
}

impl Below {
    #[allow(clippy::inline_always)] // as `Computation` asks
    #[inline(always)]
    fn of_row<L: Lanes>(values: &[f32], least: f32) -> Self {
        // What fills up the last vector is no larger than what is in it, and adds nothing.
        let padded = Padded::new(values);
        let count = values.len().div_ceil(LANES);
        let mut most = [L::splat(0.0); 4];
        let mut squares = most;
        for first in (0..count).step_by(4) {
            for lane in 0..4.min(count - first) {
                let (below, _) = numbers_below::<L>(padded.load(first + lane), least);
                most[lane] = below.magnitude().maximum(most[lane]);
                squares[lane] = below.multiply_add(below, squares[lane]);
            }
        }
        let [a, b, c, d] = most;
        let largest = a.maximum(b).maximum(c.maximum(d)).largest();
        let [a, b, c, d] = squares;
        let squares = a.add(b).add(c.add(d)).sum();
        Self { largest, squares }
    }
}

/// Zeros where the magnitude is at least `least`, and the lanes where it is; zeros for what is no number where that is infinite.
#[allow(clippy::inline_always)] // as `Computation` asks
#[inline(always)]
fn numbers_below<L: Lanes>(value: L, least: f32) -> (L, u16) {
    if least < f32::INFINITY {
        value.below(least)
    } else {
        (value.numbers(), 0)
    }
}

/// Blocks whose sums and largest magnitudes are found together.
const TOGETHER: usize = 4;

impl Activations {
    /// Fills blocks of a row from the one of this index on.
    #[allow(clippy::inline_always)] // as `Computation` asks
    #[inline(always)]
    fn fill<L: Lanes, const N: usize>(
        &mut self,
        blocks: &[[f32; BLOCK_INPUTS]; N],
        scaling: Option<Scaling>,
        first: usize,
    ) {
        let zero = L::splat(0.0);
        let here = first..first + N;
        let mut values = [[zero; TOGETHER]; 2];
        let mut least = f32::INFINITY;
        if let Some(scaling) = scaling {
            least = scaling.least;
        }
        let mut masks = [0; N];
        for block in 0..N {
            let (halves, _) = blocks[block].as_chunks::<LANES>();
            for half in 0..2 {
                let (value, others) = numbers_below(L::load(&halves[half]), least);
                masks[block] |= u32::from(others) << (half * LANES);
                values[half][block] = value;
            }
        }
        let (mut steps, mut factors) = ([1.0; N], [0.0; N]);
        let mut is_lost = false;
        if let Some(scaling) = scaling {
            self.masks[here.clone()].copy_from_slice(&masks);
            factors = [scaling.inverse; N];
            is_lost = scaling.step.is_infinite();
        } else {
            let mut magnitudes = [zero; TOGETHER];
            for block in 0..N {
                let other = values[1][block].magnitude();
                magnitudes[block] = values[0][block].magnitude().maximum(other);
            }
            let largest = L::largest_of(magnitudes);
            let worth = if self.lows.is_empty() { 1 } else { FIRST };
            for block in 0..N {
                // A block that is next to nothing has codes of zero, as one that is lost at first.
                steps[block] = 0.0;
                if (SMALLEST..=LARGEST).contains(&largest[block]) {
                    steps[block] = largest[block] / (LARGEST_CODE * worth as f32);
                    factors[block] = LARGEST_CODE / largest[block];
                }
                is_lost |= largest[block] > LARGEST;
            }
            self.steps[here.clone()].copy_from_slice(&steps);
        }
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
        add::<L, N>(&mut sums, &wholes);
        if !self.lows.is_empty() {
            for sum in sums.as_flattened_mut() {
                *sum = sum.wrapping_mul(FIRST);
            }
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
            add::<L, N>(&mut sums, &wholes);
        }
        let mut totals = [0.0; N];
        let mut owed = [[0; N]; 2];
        for block in 0..N {
            // Of a block that is lost they may be any numbers so far.
            let sum = sums[0][block].wrapping_add(sums[1][block]);
            totals[block] = sum as f32 * steps[block];
            owed[0][block] = sums[0][block].wrapping_mul(-OWED);
            owed[1][block] = sum.wrapping_mul(-OWED);
        }
        self.owed_firsts[here.clone()].copy_from_slice(&owed[0]);
        self.owed[here.clone()].copy_from_slice(&owed[1]);
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
            sums[at / LANES] += i32::from(*code);
        }
        if let Some(lows) = self.lows.as_chunks_mut::<BLOCK_INPUTS>().0.get_mut(index) {
            lows.fill(0);
            sums = sums.map(|sum| sum * FIRST);
        }
        let sum = sums[0] + sums[1];
        self.owed_firsts[index] = -OWED * sums[0];
        self.owed[index] = -OWED * sum;
        self.totals[index] = sum as f32;
        if !self.has_row_steps {
            self.steps[index] = f32::INFINITY;
            self.totals[index] *= f32::INFINITY;
        }
    }
}

/// Adds the sums of whole numbers, of blocks' first and second halves. Those are below 2^22.
#[allow(clippy::inline_always)] // as `Computation` asks
#[inline(always)]
fn add<L: Lanes, const N: usize>(sums: &mut [[i32; N]; 2], wholes: &[[L; TOGETHER]; 2]) {
    // The last bits of such a float are those of a whole number.
    const UNIT: f32 = 1.5 * (1 << 23) as f32;
    for half in 0..2 {
        let floats = L::whole_sums(wholes[half]);
        for block in 0..N {
            let bits = (floats[block] + UNIT).to_bits().cast_signed();
            let sum = bits.wrapping_sub(UNIT.to_bits().cast_signed());
            sums[half][block] = sum.wrapping_add(sums[half][block]);
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
