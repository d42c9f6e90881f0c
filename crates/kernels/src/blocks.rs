//! The product of many rows with a matrix of floats, block by block: rows and a part of the weights stay in
//! the processor's caches while they are used.
//!
//! Each output is the same chain of fused multiply-adds as in [`FloatLinear::multiply`]: between parts of the
//! inputs its sum waits in memory, which changes no bit.

use std::cell::RefCell;
use std::ops::Range;

use crate::backend::{Backend, Columns};
use crate::float_linear::{Bfloat, FloatLinear, Half, Panels, Single, Stored};
use crate::lanes::{self, Computation, LANES, Lanes, Product, in_parts};
use crate::pool::Pool;

/// Panels of 16 outputs that are computed together.
pub(crate) const PANELS: usize = 2;
/// Rows that are computed together; the last ones by fewer.
const ROWS: usize = 6;
/// Inputs whose weights are brought to single precision at a time: 32 KiB of them.
const DEPTH: usize = 256;
/// Rows of a block, at most.
const BLOCK_ROWS: usize = 192;
/// Inputs of a block's rows that are there at once, so that they stay in the second cache: 768 KiB of all rows.
const BLOCK_INPUTS: usize = 4 * DEPTH;
/// Floats between the inputs of two rows, so that rows do not meet in one set of a cache.
pub(crate) const GAP: usize = 16;

/// Where the rows of a product come from.
pub(crate) trait Rows: Sync {
    /// Some inputs of some rows, and the numbers from one row to the next: written into `block`, or lent where
    /// they lie.
    fn block<'a>(
        &'a self,
        rows: Range<usize>,
        inputs: Range<usize>,
        block: &'a mut Vec<f32>,
    ) -> (&'a [f32], usize);
}

/// Rows in order, `[rows, inputs]`.
pub(crate) struct Plain<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) inputs: usize,
}

impl Rows for Plain<'_> {
    fn block<'a>(
        &'a self,
        rows: Range<usize>,
        inputs: Range<usize>,
        block: &'a mut Vec<f32>,
    ) -> (&'a [f32], usize) {
        if inputs.len() == self.inputs {
            let values = &self.values[rows.start * self.inputs..rows.end * self.inputs];
            return (values, self.inputs);
        }
        let stride = inputs.len() + GAP;
        block.clear();
        for row in rows {
            let at = row * self.inputs;
            block.extend_from_slice(&self.values[at + inputs.start..at + inputs.end]);
            block.resize(block.len() + GAP, 0.0);
        }
        (block, stride)
    }
}

/// Where the sums of a product go.
pub(crate) trait Sink: Sync {
    /// Takes the sums of some rows, the first of them numbered: of each, as many as fill two panels, from an
    /// output on. Those beyond the last output are padding. `line` is room for anything.
    fn put(&self, first: usize, output: usize, sums: &[[f32; LANES]], line: &mut Vec<f32>);
}

/// Outputs of a row beside each other, `[rows, outputs]`, plus a bias `[outputs]`, or none.
pub(crate) struct Ordered<'a> {
    pub(crate) out: Columns<'a>,
    pub(crate) bias: &'a [f32],
}

impl Sink for Ordered<'_> {
    fn put(&self, first: usize, output: usize, sums: &[[f32; LANES]], line: &mut Vec<f32>) {
        let bias = self.bias.get(output..).unwrap_or_default();
        for (row, sums) in sums.chunks_exact(PANELS).enumerate() {
            line.clear();
            line.extend_from_slice(sums.as_flattened());
            for (sum, bias) in line.iter_mut().zip(bias) {
                *sum += bias;
            }
            self.out.set((first + row, output), line);
        }
    }
}

/// What a thread computes with; used again for its next block.
#[derive(Default)]
struct Scratch {
    rows: Vec<f32>,
    /// `[DEPTH][PANELS]` vectors.
    weights: Vec<[f32; LANES]>,
    /// `[pairs][rows][PANELS]` vectors.
    sums: Vec<[f32; LANES]>,
    line: Vec<f32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Gives `count` rows times the weights to a sink.
pub(crate) fn product(
    matrix: &FloatLinear,
    source: &impl Rows,
    count: usize,
    sink: &impl Sink,
    backend: Backend,
) {
    let pool = Pool::global();
    let pairs = matrix.outputs().div_ceil(LANES * PANELS);
    let fair = count.div_ceil(pool.threads()).next_multiple_of(ROWS);
    let rows = BLOCK_ROWS.min(fair);
    let blocks = count.div_ceil(rows);
    // Few blocks are divided among the threads by outputs.
    let parts = pool.threads().div_ceil(blocks).min(pairs);
    pool.run(blocks * parts, &|chunk| {
        let (block, part) = (chunk / parts, chunk % parts);
        let taken = block * rows..count.min((block + 1) * rows);
        let pairs = pairs * part / parts..pairs * (part + 1) / parts;
        SCRATCH.with_borrow_mut(|scratch| {
            let block = Block {
                source,
                rows: taken,
                inputs: matrix.inputs(),
                pairs,
                sink,
                scratch,
            };
            match &matrix.panels {
                Panels::Single(panels) => lanes::run(backend, Of::<Single, _, _>(panels, block)),
                Panels::Half(panels) => lanes::run(backend, Of::<Half, _, _>(panels, block)),
                Panels::Bfloat(panels) => lanes::run(backend, Of::<Bfloat, _, _>(panels, block)),
            }
        });
    });
}

/// Some rows times some pairs of panels.
struct Block<'a, R, K> {
    source: &'a R,
    rows: Range<usize>,
    inputs: usize,
    pairs: Range<usize>,
    sink: &'a K,
    scratch: &'a mut Scratch,
}

struct Of<'a, S: Stored, R, K>(&'a [[S::Item; LANES]], Block<'a, R, K>);

impl<S: Stored, R: Rows, K: Sink> Computation for Of<'_, S, R, K> {
    type Output = ();

    #[allow(clippy::inline_always)] // as `Computation` asks
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let Self(panels, block) = self;
        let (inputs, count) = (block.inputs, block.rows.len());
        let Scratch {
            rows,
            weights,
            sums,
            line,
        } = block.scratch;
        sums.resize(block.pairs.len() * count * PANELS, [0.0; LANES]);
        weights.resize(DEPTH * PANELS, [0.0; LANES]);
        for part in (0..inputs).step_by(BLOCK_INPUTS) {
            let end = inputs.min(part + BLOCK_INPUTS);
            let (values, stride) = block.source.block(block.rows.clone(), part..end, rows);
            let every = sums.chunks_exact_mut(count * PANELS);
            for (pair, sums) in block.pairs.clone().zip(every) {
                for from in (part..end).step_by(DEPTH) {
                    let depth = DEPTH.min(end - from);
                    for panel in 0..PANELS {
                        let at = (pair * PANELS + panel) * inputs + from;
                        let Some(found) = panels.get(at..at + depth) else {
                            continue; // the last pair has one panel only
                        };
                        for (index, found) in found.iter().enumerate() {
                            S::load::<L>(found).store(&mut weights[index * PANELS + panel]);
                        }
                    }
                    let weights = &weights[..depth * PANELS];
                    let mut row = 0;
                    macro_rules! together {
                        ($count:expr) => {
                            #[allow(clippy::int_plus_one)] // reads the same for every count
                            while row + $count <= count {
                                let mut lines = [&values[..0]; $count];
                                for (index, line) in lines.iter_mut().enumerate() {
                                    let at = (row + index) * stride + from - part;
                                    *line = &values[at..at + depth];
                                }
                                let sums = &mut sums[row * PANELS..][..$count * PANELS];
                                let mut added = Added {
                                    lines: &lines,
                                    weights: weights.as_chunks().0,
                                    is_first: from == 0,
                                    sums: sums.as_chunks_mut().0,
                                };
                                in_parts::<L, { $count }, PANELS>(&mut added);
                                row += $count;
                            }
                        };
                    }
                    together!(6);
                    together!(3);
                    together!(1);
                }
            }
        }
        let every = sums.chunks_exact(count * PANELS);
        for (pair, sums) in block.pairs.zip(every) {
            let output = pair * PANELS * LANES;
            block.sink.put(block.rows.start, output, sums, line);
        }
    }
}

/// The products of some rows with some inputs' weights, added to their sums.
struct Added<'a, const R: usize> {
    lines: &'a [&'a [f32]; R],
    weights: &'a [[[f32; LANES]; PANELS]],
    is_first: bool,
    sums: &'a mut [[[f32; LANES]; PANELS]],
}

impl<const ROWS: usize> Product for Added<'_, ROWS> {
    #[allow(clippy::inline_always)] // as `Computation` asks
    #[allow(clippy::needless_range_loop)] // see within
    #[inline(always)]
    fn part<L: Lanes, const R: usize, const V: usize>(&mut self, first_row: usize, panel: usize) {
        // Indices, not iterators over arrays: the sums have to stay in registers.
        let mut held = [[L::splat(0.0); V]; R];
        let mut lines = [self.lines[first_row]; R];
        for row in 0..R {
            lines[row] = &self.lines[first_row + row][..self.weights.len()];
            for v in 0..V {
                if !self.is_first {
                    held[row][v] = L::load(&self.sums[first_row + row][panel + v]);
                }
            }
        }
        for (index, weights) in self.weights.iter().enumerate() {
            let mut loaded = [L::splat(0.0); V];
            for v in 0..V {
                loaded[v] = L::load(&weights[panel + v]);
            }
            for row in 0..R {
                let factor = L::splat(lines[row][index]);
                for v in 0..V {
                    held[row][v] = loaded[v].multiply_add(factor, held[row][v]);
                }
            }
        }
        for row in 0..R {
            for v in 0..V {
                held[row][v].store(&mut self.sums[first_row + row][panel + v]);
            }
        }
    }
}
