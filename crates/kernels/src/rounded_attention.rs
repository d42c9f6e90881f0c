//! Attention of all rows of a text to each other, on whole numbers of 16 bits: two products for each of the
//! floats' (see [`crate::text_attention`], whose tiles these are).
//!
//! Queries and keys have 13 bits and a scale for each head, weights 14 bits, values 12 and a scale for each column:
//! what that loses is little beside layers of eight bits. A row's result depends on its text only, and has the same
//! bits on every back end.

mod head;

use std::cell::RefCell;
use std::ops::Range;

use crate::backend::{Backend, Columns};
use crate::lanes::{self, Computation, LANES, Lanes, Product, in_parts, power_of_two};
use crate::text_attention::{TILE_ROWS, TILE_VECTORS, TextAttention};
use head::{Head, PAIRS, Pair, Shape};

/// The base-2 logarithm of a weight of 1, 16383: the products of 32 keys with values up to 4095 stay within 32 bits.
const WHOLE_WEIGHT_LOG2: f32 = 13.999_912;
/// Scores that are so far below the largest have no weight: a code below 1/2.
const LOWEST: f32 = -32.0;

impl TextAttention<'_> {
    /// The rows that a text may have: with more, the weights of many keys that matter little could be lost.
    pub const ROUNDED_MAX_ROWS: usize = 1024;

    /// As [`TextAttention::run`], with rounded numbers: an error of about a thousandth of the largest values. What is
    /// no number counts as zero, and magnitudes above 1e15 as 1e15.
    ///
    /// # Panics
    /// When the sizes do not fit each other, or there are more rows than [`Self::ROUNDED_MAX_ROWS`].
    pub fn run_rounded(&self, rows: &[f32], out: &mut [f32], backend: Backend) {
        assert!(out.len() <= Self::ROUNDED_MAX_ROWS * self.heads * self.size);
        self.share(rows, out, &|heads, count, out| {
            HEAD.with_borrow_mut(|head| {
                let work = Work {
                    attention: self,
                    rows,
                    count,
                    heads,
                    out,
                    head,
                };
                lanes::run(backend, work);
            });
        });
    }
}

thread_local! {
    static HEAD: RefCell<Head> = RefCell::default();
}

/// Some heads.
struct Work<'a> {
    attention: &'a TextAttention<'a>,
    rows: &'a [f32],
    count: usize,
    heads: Range<usize>,
    out: &'a Columns<'a>,
    head: &'a mut Head,
}

impl Computation for Work<'_> {
    type Output = ();

    #[allow(clippy::inline_always)] // as `Computation` asks
    #[inline(always)]
    fn run<L: Lanes>(self) {
        // A short text's keys fill one vector.
        if self.count <= LANES {
            self.over_heads::<L, 1>();
        } else {
            self.over_heads::<L, TILE_VECTORS>();
        }
    }
}

impl Work<'_> {
    /// With tiles of so many vectors of keys.
    #[allow(clippy::inline_always)] // as `Computation` asks
    #[inline(always)]
    fn over_heads<L: Lanes, const V: usize>(self) {
        let attention = self.attention;
        let (size, count, scratch) = (attention.size, self.count, self.head);
        let shape = Shape::new(count, size, V);
        scratch.resize(shape);
        for head in self.heads {
            let steps = scratch.take::<L, V>(attention, self.rows, head, shape);
            // Scores for powers of two.
            let step = steps * attention.scale * std::f32::consts::LOG2_E;
            for first in (0..count).step_by(TILE_ROWS) {
                score::<L, V>(scratch, first, step, shape);
                let mut inverses = [0.0; TILE_ROWS];
                let lines = scratch.scores.chunks_exact_mut(shape.keys);
                let weights = scratch.weights.chunks_exact_mut(shape.weights / 2);
                for ((line, weights), inverse) in lines.zip(weights).zip(&mut inverses) {
                    *inverse = 1.0 / soften::<L>(line, weights, count);
                }
                gather::<L, V>(scratch, &inverses, shape);
                let last = TILE_ROWS.min(count - first);
                let sums = scratch.sums.chunks_exact(shape.columns);
                for (row, sums) in sums.take(last).enumerate() {
                    self.out.set((first + row, head * size), &sums[..size]);
                }
            }
        }
    }
}

/// `scores[r][k] = step * queries[first + r] . keys[k]`.
#[allow(clippy::inline_always)] // as `Computation` asks
#[inline(always)]
fn score<L: Lanes, const V: usize>(head: &mut Head, first: usize, step: f32, shape: Shape) {
    let depth = shape.depth / LANES;
    let mut scores = Scored::<V> {
        keys: &[],
        queries: &head.queries[first * depth..][..TILE_ROWS * depth],
        depth,
        step,
        scores: head.scores.as_chunks_mut().0,
        line: shape.keys / LANES,
        first_vector: 0,
    };
    for (tile, keys) in head.keys.chunks_exact(V * shape.depth / 2).enumerate() {
        (scores.keys, scores.first_vector) = (keys, tile * V);
        in_parts::<L, TILE_ROWS, V>(&mut scores);
    }
}

/// The scores of a tile of keys.
struct Scored<'a, const V: usize> {
    /// `[depth * 8][V]`: of the padded size.
    keys: &'a [[Pair; LANES]],
    /// `[8][depth]`.
    queries: &'a [[Pair; PAIRS]],
    depth: usize,
    /// What a product is worth.
    step: f32,
    /// `[8][line]`; the tile's are those from `first_vector` on.
    scores: &'a mut [[f32; LANES]],
    line: usize,
    first_vector: usize,
}

impl<const VECTORS: usize> Product for Scored<'_, VECTORS> {
    #[allow(clippy::inline_always)] // as `Computation` asks
    #[allow(clippy::needless_range_loop)] // arrays side by side, of constant length
    #[inline(always)]
    fn part<L: Lanes, const R: usize, const V: usize>(&mut self, first_row: usize, vector: usize) {
        let mut sums = [[L::nothing(); V]; R];
        // The pairs of a vector at once, so that nothing has to be asked about their bounds.
        for (part, keys) in self.keys.chunks_exact(PAIRS * VECTORS).enumerate() {
            let mut each = [&self.queries[part]; R];
            for (row, each) in each.iter_mut().enumerate() {
                *each = &self.queries[(first_row + row) * self.depth + part];
            }
            for pair in 0..PAIRS {
                for row in 0..R {
                    for v in 0..V {
                        let keys = &keys[VECTORS * pair + vector + v];
                        sums[row][v] = L::add_pairs(sums[row][v], keys, each[row][pair]);
                    }
                }
            }
        }
        let step = L::splat(self.step);
        for row in 0..R {
            let places =
                &mut self.scores[(first_row + row) * self.line + self.first_vector + vector..][..V];
            for v in 0..V {
                L::from_whole(sums[row][v])
                    .multiply(step)
                    .store(&mut places[v]);
            }
        }
    }
}

/// Turns a row's scores into weights, and gives their sum. What comes after `count` is padding.
#[allow(clippy::inline_always)] // as `Computation` asks
#[inline(always)]
fn soften<L: Lanes>(scores: &mut [f32], weights: &mut [Pair], count: usize) -> f32 {
    scores[count..].fill(f32::NEG_INFINITY);
    let (vectors, _) = scores.as_chunks::<LANES>();
    let mut maximum = L::splat(f32::NEG_INFINITY);
    for vector in vectors {
        maximum = L::load(vector).maximum(maximum);
    }
    let maximum = L::splat(maximum.largest());
    let (shorts, _) = weights.as_flattened_mut().as_chunks_mut::<LANES>();
    for (vector, shorts) in vectors.iter().zip(shorts) {
        let distance = L::splat(LOWEST).maximum(L::load(vector).subtract(maximum));
        power_of_two(distance.add(L::splat(WHOLE_WEIGHT_LOG2))).store_shorts(shorts);
    }
    // What is summed is what is multiplied, so that the weights are those of a mean.
    let mut total = L::nothing();
    for weights in weights.as_chunks::<LANES>().0 {
        total = L::add_pairs(total, weights, [1; 2]);
    }
    L::from_whole(total).sum()
}

/// `sums[r] = inverses[r] * (weights[r] x values)`.
#[allow(clippy::inline_always)] // as `Computation` asks
#[inline(always)]
fn gather<L: Lanes, const V: usize>(head: &mut Head, inverses: &[f32; TILE_ROWS], shape: Shape) {
    let across = shape.columns / LANES;
    let mut gathered = Gathered::<V> {
        weights: head.weights.as_chunks().0,
        line: shape.weights / LANES,
        values: &head.values,
        steps: head.value_steps.as_chunks().0,
        inverses,
        sums: head.sums.as_chunks_mut().0,
        across,
        column: 0,
    };
    for column in (0..across).step_by(TILE_VECTORS) {
        gathered.column = column;
        in_parts::<L, TILE_ROWS, TILE_VECTORS>(&mut gathered);
    }
}

/// Some columns of what a tile's rows attend to, by tiles of `V` vectors of keys.
struct Gathered<'a, const V: usize> {
    /// `[8][line]`.
    weights: &'a [[Pair; PAIRS]],
    line: usize,
    /// `[keys / 2][across]`.
    values: &'a [[Pair; LANES]],
    /// `[across]`.
    steps: &'a [[f32; LANES]],
    inverses: &'a [f32; TILE_ROWS],
    /// `[8][across]`; the tile's are those from `column` on.
    sums: &'a mut [[f32; LANES]],
    across: usize,
    column: usize,
}

impl<const VECTORS: usize> Product for Gathered<'_, VECTORS> {
    #[allow(clippy::inline_always)] // as `Computation` asks
    #[allow(clippy::needless_range_loop)] // arrays side by side, of constant length
    #[inline(always)]
    fn part<L: Lanes, const R: usize, const V: usize>(&mut self, first_row: usize, vector: usize) {
        let (column, across) = (self.column + vector, self.across);
        let mut held = [[L::splat(0.0); V]; R];
        // The products of a tile's keys stay within 32 bits.
        let tiles = self.values.chunks_exact(VECTORS * PAIRS * across);
        for (tile, values) in tiles.enumerate() {
            let mut whole = [[L::nothing(); V]; R];
            for (part, values) in values.chunks_exact(PAIRS * across).enumerate() {
                let part = tile * VECTORS + part;
                let mut each = [&self.weights[part]; R];
                for (row, each) in each.iter_mut().enumerate() {
                    *each = &self.weights[(first_row + row) * self.line + part];
                }
                for (pair, line) in values.chunks_exact(across).enumerate().take(PAIRS) {
                    let values = &line[column..][..V];
                    for row in 0..R {
                        let factors = each[row][pair];
                        for v in 0..V {
                            whole[row][v] = L::add_pairs(whole[row][v], &values[v], factors);
                        }
                    }
                }
            }
            for row in 0..R {
                for v in 0..V {
                    held[row][v] = held[row][v].add(L::from_whole(whole[row][v]));
                }
            }
        }
        for row in 0..R {
            let inverse = L::splat(self.inverses[first_row + row]);
            for v in 0..V {
                let step = L::load(&self.steps[column + v]).multiply(inverse);
                let place = &mut self.sums[(first_row + row) * across + column + v];
                held[row][v].multiply(step).store(place);
            }
        }
    }
}
