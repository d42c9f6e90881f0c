//! Attention of rows to other rows (Vaswani et al. 2017), all of them seen: blocks of keys and values stay in
//! the processor's first cache while many queries read them.
//!
//! The softmax is kept as a running maximum and sum (Milakov and Gimelshein 2018). A row's result depends on
//! its own query, the keys and the values, and has the same bits on every back end.

use std::cell::RefCell;

use crate::backend::{Backend, Columns};
use crate::lanes::{self, Computation, LANES, Lanes, Product, exponential, in_parts};
use crate::pool::Pool;

/// Queries that are worked on together, in tiles.
const BLOCK_QUERIES: usize = 64;
/// Keys that are worked on together.
const BLOCK_KEYS: usize = 128;
/// Queries of a tile.
const TILE_ROWS: usize = 8;
/// Vectors of keys of a tile.
const TILE_VECTORS: usize = 2;
/// Keys that lie side by side.
const TILE_KEYS: usize = TILE_VECTORS * LANES;

/// Where the rows of queries, keys or values lie.
#[derive(Debug, Clone, Copy)]
pub struct Side<'a> {
    /// From the first head of the first row on.
    pub values: &'a [f32],
    /// Rows.
    pub rows: usize,
    /// Numbers from one row to the next.
    pub row: usize,
    /// Numbers from one head to the next.
    pub head: usize,
}

impl<'a> Side<'a> {
    #[allow(clippy::inline_always)] // as `Computation` asks
    #[inline(always)]
    fn at(&self, row: usize, head: usize, size: usize) -> &'a [f32] {
        &self.values[row * self.row + head * self.head..][..size]
    }
}

/// The attention of a layer.
#[derive(Debug, Clone, Copy)]
pub struct Crossed {
    /// Heads.
    pub heads: usize,
    /// Numbers of a head.
    pub size: usize,
    /// Multiplies the scores.
    pub scale: f32,
}

impl Crossed {
    /// Writes what queries attend to into `out`, `[queries, heads * size]`.
    ///
    /// # Panics
    /// When the sizes do not fit each other, or there are no keys.
    pub fn run(
        &self,
        queries: Side<'_>,
        [keys, values]: [Side<'_>; 2],
        out: &mut [f32],
        backend: Backend,
    ) {
        let width = self.heads * self.size;
        assert!(out.len() == queries.rows * width && keys.rows == values.rows);
        assert!(keys.rows > 0 && width > 0);
        let out = Columns::new(out, width);
        Pool::global().run(self.heads, &|head| {
            HEAD.with_borrow_mut(|scratch| {
                let work = Work {
                    crossed: self,
                    sides: [queries, keys, values],
                    head,
                    out: &out,
                    scratch,
                };
                lanes::run(backend, work);
            });
        });
    }
}

/// One head, laid out for the tiles; used again for the next.
#[derive(Debug, Default)]
struct Scratch {
    /// `[keys / 32][size][32]`, padded with zeros.
    keys: Vec<f32>,
    /// `[keys][size]`, rows padded with zeros.
    values: Vec<f32>,
    /// `[queries][size]`, scaled.
    queries: Vec<f32>,
    /// `[queries][keys of a block]`.
    scores: Vec<f32>,
    /// `[queries][size]`, padded.
    sums: Vec<f32>,
}

thread_local! {
    static HEAD: RefCell<Scratch> = RefCell::default();
}

struct Work<'a> {
    crossed: &'a Crossed,
    sides: [Side<'a>; 3],
    head: usize,
    out: &'a Columns<'a>,
    scratch: &'a mut Scratch,
}

/// A query's softmax so far.
#[derive(Debug, Clone, Copy)]
struct Softmax {
    maximum: f32,
    /// The sum of its weights, each place of a vector for itself.
    sums: [f32; LANES],
    /// By what the sums of values shrink before the next block's are added.
    factor: f32,
}

impl Computation for Work<'_> {
    type Output = ();

    #[allow(clippy::inline_always)] // as `Computation` asks
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let [queries, keys, values] = self.sides;
        let (size, head, scratch) = (self.crossed.size, self.head, self.scratch);
        let count = keys.rows;
        let padded = size.next_multiple_of(LANES);
        scratch.lay_out(keys, values, head, size);
        scratch.queries.resize(BLOCK_QUERIES * size, 0.0);
        scratch.scores.resize(BLOCK_QUERIES * BLOCK_KEYS, 0.0);
        for first in (0..queries.rows).step_by(BLOCK_QUERIES) {
            let asked = BLOCK_QUERIES.min(queries.rows - first);
            let tiles = asked.div_ceil(TILE_ROWS);
            for (row, query) in scratch.queries.chunks_exact_mut(size).enumerate() {
                // Rows after the last are the last one again.
                let from = queries.at(first + row.min(asked - 1), head, size);
                for (place, value) in query.iter_mut().zip(from) {
                    *place = value * self.crossed.scale;
                }
            }
            scratch.sums.clear();
            scratch.sums.resize(BLOCK_QUERIES * padded, 0.0);
            let nothing = Softmax {
                maximum: f32::NEG_INFINITY,
                sums: [0.0; LANES],
                factor: 0.0,
            };
            let mut softmaxes = [nothing; BLOCK_QUERIES];
            for block in (0..count).step_by(BLOCK_KEYS) {
                let seen = BLOCK_KEYS.min(count - block);
                let wide = seen.next_multiple_of(TILE_KEYS);
                let keys = &scratch.keys[block * size..(block + wide) * size];
                let values = &scratch.values[block * padded..(block + seen) * padded];
                for tile in 0..tiles {
                    let rows = tile * TILE_ROWS..(tile + 1) * TILE_ROWS;
                    let queries = &scratch.queries[rows.start * size..rows.end * size];
                    let scores =
                        &mut scratch.scores[rows.start * BLOCK_KEYS..rows.end * BLOCK_KEYS];
                    score::<L>(keys, queries, scores, size);
                    let softmaxes = &mut softmaxes[rows.clone()];
                    for (line, softmax) in scores.chunks_exact_mut(BLOCK_KEYS).zip(&mut *softmaxes)
                    {
                        soften::<L>(&mut line[..wide], seen, softmax);
                    }
                    let sums = &mut scratch.sums[rows.start * padded..rows.end * padded];
                    gather::<L>(scores, values, softmaxes, sums);
                }
            }
            for (row, softmax) in softmaxes[..asked].iter().enumerate() {
                let inverse = 1.0 / L::load(&softmax.sums).sum();
                let sums = &mut scratch.sums[row * padded..][..size];
                for value in sums.iter_mut() {
                    *value *= inverse;
                }
                self.out.set((first + row, head * size), sums);
            }
        }
    }
}

impl Scratch {
    #[allow(clippy::inline_always)] // as `Computation` asks
    #[inline(always)]
    fn lay_out(&mut self, keys: Side<'_>, values: Side<'_>, head: usize, size: usize) {
        let count = keys.rows;
        let padded = size.next_multiple_of(LANES);
        self.keys.clear();
        self.keys
            .resize(count.next_multiple_of(TILE_KEYS) * size, 0.0);
        self.values.clear();
        self.values.resize(count * padded, 0.0);
        for row in 0..count {
            let tile = &mut self.keys[row / TILE_KEYS * TILE_KEYS * size..];
            let lines = tile.chunks_exact_mut(TILE_KEYS);
            for (line, value) in lines.zip(keys.at(row, head, size)) {
                line[row % TILE_KEYS] = *value;
            }
            self.values[row * padded..][..size].copy_from_slice(values.at(row, head, size));
        }
    }
}

/// `scores[r][k] = queries[r] . keys[k]` of a tile's rows.
#[allow(clippy::inline_always)] // as `Computation` asks
#[inline(always)]
fn score<L: Lanes>(keys: &[f32], queries: &[f32], scores: &mut [f32], size: usize) {
    let mut scores = Scored {
        keys: &[],
        queries,
        scores: scores.as_chunks_mut().0,
        first_vector: 0,
    };
    let (vectors, _) = keys.as_chunks::<LANES>();
    for (tile, keys) in vectors.chunks_exact(TILE_VECTORS * size).enumerate() {
        (scores.keys, scores.first_vector) = (keys.as_chunks().0, tile * TILE_VECTORS);
        in_parts::<L, TILE_ROWS, TILE_VECTORS>(&mut scores);
    }
}

/// The scores of a tile of keys.
struct Scored<'a> {
    keys: &'a [[[f32; LANES]; TILE_VECTORS]],
    /// `[8][size]`.
    queries: &'a [f32],
    /// Of each row a block's; the tile's are those from `first_vector` on.
    scores: &'a mut [[f32; LANES]],
    first_vector: usize,
}

impl Product for Scored<'_> {
    #[allow(clippy::inline_always)] // as `Computation` asks
    #[allow(clippy::needless_range_loop)] // see within
    #[inline(always)]
    fn part<L: Lanes, const R: usize, const V: usize>(&mut self, first_row: usize, vector: usize) {
        let size = self.keys.len();
        let mut each = [&self.queries[..0]; R];
        for row in 0..R {
            each[row] = &self.queries[(first_row + row) * size..][..size];
        }
        // Indices, not iterators over arrays: the sums have to stay in registers.
        let mut sums = [[L::splat(0.0); V]; R];
        for (index, keys) in self.keys.iter().enumerate() {
            let mut loaded = [L::splat(0.0); V];
            for v in 0..V {
                loaded[v] = L::load(&keys[vector + v]);
            }
            for row in 0..R {
                let factor = L::splat(each[row][index]);
                for v in 0..V {
                    sums[row][v] = loaded[v].multiply_add(factor, sums[row][v]);
                }
            }
        }
        for row in 0..R {
            let at = (first_row + row) * (BLOCK_KEYS / LANES) + self.first_vector + vector;
            for v in 0..V {
                sums[row][v].store(&mut self.scores[at + v]);
            }
        }
    }
}

/// Turns a row's scores of a block into weights; what comes after `seen` is padding.
#[allow(clippy::inline_always)] // as `Computation` asks
#[inline(always)]
fn soften<L: Lanes>(scores: &mut [f32], seen: usize, softmax: &mut Softmax) {
    scores[seen..].fill(f32::NEG_INFINITY);
    let (vectors, _) = scores.as_chunks_mut::<LANES>();
    let mut most = L::splat(f32::NEG_INFINITY);
    for vector in vectors.iter() {
        most = L::load(vector).maximum(most);
    }
    let most = most.largest();
    let maximum = if most > softmax.maximum {
        most
    } else {
        softmax.maximum
    };
    // The first block has nothing to shrink.
    softmax.factor = if softmax.maximum > f32::NEG_INFINITY {
        let mut shrunk = [0.0; LANES];
        exponential(L::splat(softmax.maximum - maximum)).store(&mut shrunk);
        shrunk[0]
    } else {
        0.0
    };
    softmax.maximum = maximum;
    let maximum = L::splat(maximum);
    let mut total = L::load(&softmax.sums).multiply(L::splat(softmax.factor));
    for vector in vectors.iter_mut() {
        let power = exponential(L::load(vector).subtract(maximum));
        power.store(vector);
        total = total.add(power);
    }
    // The padding's weights are the smallest number there is, and the largest is 1.
    total.store(&mut softmax.sums);
}

/// `sums[r] = sums[r] * factors[r] + weights[r] x values` of a tile's rows.
#[allow(clippy::inline_always)] // as `Computation` asks
#[inline(always)]
fn gather<L: Lanes>(weights: &[f32], values: &[f32], softmaxes: &[Softmax], sums: &mut [f32]) {
    let across = sums.len() / TILE_ROWS / LANES;
    let mut gathered = Gathered {
        weights: weights.as_chunks().0,
        values: values.as_chunks().0,
        softmaxes,
        sums: sums.as_chunks_mut().0,
        across,
        column: 0,
    };
    macro_rules! together {
        ($count:expr) => {
            #[allow(clippy::int_plus_one)] // reads the same for every count
            while gathered.column + $count <= across {
                in_parts::<L, TILE_ROWS, { $count }>(&mut gathered);
                gathered.column += $count;
            }
        };
    }
    together!(3);
    together!(2);
    together!(1);
}

/// Some columns of the values of a block.
struct Gathered<'a> {
    /// Of each row.
    weights: &'a [[f32; BLOCK_KEYS]],
    /// `[keys][across]`.
    values: &'a [[f32; LANES]],
    softmaxes: &'a [Softmax],
    /// Of each row `[across]`.
    sums: &'a mut [[f32; LANES]],
    across: usize,
    /// The first that is worked on.
    column: usize,
}

impl Product for Gathered<'_> {
    #[allow(clippy::inline_always)] // as `Computation` asks
    #[allow(clippy::needless_range_loop)] // as in `Scored`
    #[inline(always)]
    fn part<L: Lanes, const R: usize, const V: usize>(&mut self, first_row: usize, vector: usize) {
        let (column, across) = (self.column + vector, self.across);
        let mut each = [&self.weights[first_row]; R];
        let mut held = [[L::splat(0.0); V]; R];
        for row in 0..R {
            each[row] = &self.weights[first_row + row];
            let factor = L::splat(self.softmaxes[first_row + row].factor);
            for v in 0..V {
                let so_far = L::load(&self.sums[(first_row + row) * across + column + v]);
                held[row][v] = so_far.multiply(factor);
            }
        }
        let lines = self.values.chunks_exact(across);
        for (key, line) in lines.enumerate().take(BLOCK_KEYS) {
            let line = &line[column..][..V];
            let mut loaded = [L::splat(0.0); V];
            for v in 0..V {
                loaded[v] = L::load(&line[v]);
            }
            for row in 0..R {
                let weight = L::splat(each[row][key]);
                for v in 0..V {
                    held[row][v] = loaded[v].multiply_add(weight, held[row][v]);
                }
            }
        }
        for row in 0..R {
            for v in 0..V {
                held[row][v].store(&mut self.sums[(first_row + row) * across + column + v]);
            }
        }
    }
}
