//! Attention of all rows of a text to each other (Vaswani et al. 2017), on rows of queries, keys and values
//! side by side.
//!
//! Head by head: its keys are turned so that 32 of them lie side by side, and tiles of 8 queries read them.
//! A row's result depends on its text only, and has the same bits on every back end.

use std::cell::RefCell;
use std::ops::Range;

use crate::backend::{Backend, Columns};
use crate::lanes::{self, Computation, LANES, Lanes, Product, exponential, in_parts};
use crate::pool::Pool;

/// Queries that read keys and values together.
pub(crate) const TILE_ROWS: usize = 8;
/// Vectors of keys, or of a value, that are worked on together.
pub(crate) const TILE_VECTORS: usize = 2;
/// Keys that lie side by side.
pub(crate) const TILE_KEYS: usize = TILE_VECTORS * LANES;
/// Multiplications that are worth waking a helper for: about 20 microseconds of one core.
const CHUNK_MIN_OPERATIONS: usize = 1 << 20;

/// The attention of a layer.
#[derive(Debug, Clone, Copy)]
pub struct TextAttention<'a> {
    /// Heads.
    pub heads: usize,
    /// Floats of a head.
    pub size: usize,
    /// Multiplies the scores.
    pub scale: f32,
    /// Added to the rows, `[3 * heads * size]`; empty where there is none.
    pub bias: &'a [f32],
}

impl TextAttention<'_> {
    /// Writes what the rows of one text attend to into `out`, `[rows, heads * size]`. `rows` is
    /// `[rows, 3 * heads * size]`: queries, keys, values.
    ///
    /// # Panics
    /// When the sizes do not fit each other.
    pub fn run(&self, rows: &[f32], out: &mut [f32], backend: Backend) {
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

    /// Has the heads computed by the threads of the pool: `compute` is given some heads, the rows of the text,
    /// and where they attend to.
    pub(crate) fn share(
        &self,
        rows: &[f32],
        out: &mut [f32],
        compute: &(dyn Fn(Range<usize>, usize, &Columns<'_>) + Sync),
    ) {
        let width = self.heads * self.size;
        assert!(width > 0 && out.len().is_multiple_of(width));
        assert!(rows.len() == 3 * out.len());
        assert!(self.bias.is_empty() || self.bias.len() == 3 * width);
        let count = out.len() / width;
        let operations = 2 * count * count * width;
        let pool = Pool::global();
        let chunks = (operations / CHUNK_MIN_OPERATIONS)
            .clamp(1, 4 * pool.threads())
            .min(self.heads);
        let out = Columns::new(out, width);
        pool.run(chunks, &|chunk| {
            let heads = self.heads * chunk / chunks..self.heads * (chunk + 1) / chunks;
            compute(heads, count, &out);
        });
    }
}

/// One head, laid out for the tiles; used again for the next.
#[derive(Debug, Default)]
struct Head {
    /// `[keys / 32][size][32]`, both padded with zeros.
    keys: Vec<f32>,
    /// `[keys][size]`, both padded with zeros.
    values: Vec<f32>,
    /// `[8][size]`, scaled, padded with zeros.
    queries: Vec<f32>,
    /// `[8][keys]`.
    scores: Vec<f32>,
    /// `[8][size]`, padded.
    sums: Vec<f32>,
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
        let Self {
            attention,
            rows,
            count,
            heads,
            out,
            head: scratch,
        } = self;
        let size = attention.size;
        let shape = Shape {
            count,
            size,
            padded: size.next_multiple_of(TILE_KEYS),
            keys: count.next_multiple_of(TILE_KEYS),
        };
        scratch.keys.clear();
        scratch.keys.resize(shape.keys * shape.depth(), 0.0);
        scratch.values.clear();
        scratch.values.resize(shape.keys * shape.padded, 0.0);
        scratch.queries.clear();
        scratch.queries.resize(TILE_ROWS * shape.depth(), 0.0);
        scratch.scores.resize(TILE_ROWS * shape.keys, 0.0);
        scratch.sums.resize(TILE_ROWS * shape.padded, 0.0);
        for head in heads {
            scratch.take(attention, rows, head, shape);
            for first in (0..count).step_by(TILE_ROWS) {
                scratch.ask(attention, rows, head, first, shape);
                let Head {
                    keys,
                    values,
                    queries,
                    scores,
                    sums,
                } = &mut *scratch;
                score::<L>(keys, queries, scores, shape);
                let mut inverses = [0.0; TILE_ROWS];
                let lines = scores.chunks_exact_mut(shape.keys);
                for (line, inverse) in lines.zip(&mut inverses) {
                    *inverse = 1.0 / soften::<L>(line, count);
                }
                gather::<L>(scores, values, &inverses, sums, shape);
                let last = TILE_ROWS.min(count - first);
                let sums = sums.chunks_exact(shape.padded);
                for (row, sums) in sums.take(last).enumerate() {
                    out.set((first + row, head * size), &sums[..size]);
                }
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Shape {
    /// Rows of the text.
    count: usize,
    size: usize,
    /// The size of a value, padded.
    padded: usize,
    /// The keys, padded.
    keys: usize,
}

impl Shape {
    /// The size of a query and a key, padded to whole vectors.
    #[allow(clippy::inline_always)] // as `Computation` asks
    #[inline(always)]
    fn depth(self) -> usize {
        self.size.next_multiple_of(LANES)
    }
}

impl Head {
    /// Lays out the keys and values of a head.
    #[allow(clippy::inline_always)] // as `Computation` asks
    #[inline(always)]
    fn take(&mut self, attention: &TextAttention<'_>, rows: &[f32], head: usize, shape: Shape) {
        let (size, width) = (shape.size, attention.heads * shape.size);
        let (key, value) = (width + head * size, 2 * width + head * size);
        let (mut key_bias, mut value_bias): (&[f32], &[f32]) = (&[], &[]);
        if !attention.bias.is_empty() {
            key_bias = &attention.bias[key..key + size];
            value_bias = &attention.bias[value..value + size];
        }
        let tiles = self.keys.chunks_exact_mut(TILE_KEYS * shape.depth());
        for (tile, rows) in tiles.zip(rows.chunks(TILE_KEYS * 3 * width)) {
            for (place, row) in rows.chunks_exact(3 * width).enumerate() {
                let keys = &row[key..key + size];
                for (line, key) in tile.chunks_exact_mut(TILE_KEYS).zip(keys) {
                    line[place] = *key;
                }
            }
            if !key_bias.is_empty() {
                for (line, bias) in tile.chunks_exact_mut(TILE_KEYS).zip(key_bias) {
                    for place in line {
                        *place += bias;
                    }
                }
            }
        }
        let lines = self.values.chunks_exact_mut(shape.padded);
        for (line, row) in lines.zip(rows.chunks_exact(3 * width)) {
            line[..size].copy_from_slice(&row[value..value + size]);
            for (place, bias) in line.iter_mut().zip(value_bias) {
                *place += bias;
            }
        }
    }

    /// Takes the queries of a tile; rows after the last are the last one again.
    #[allow(clippy::inline_always)] // as `Computation` asks
    #[inline(always)]
    fn ask(
        &mut self,
        attention: &TextAttention<'_>,
        rows: &[f32],
        head: usize,
        first: usize,
        shape: Shape,
    ) {
        let (size, width) = (shape.size, attention.heads * shape.size);
        let (mut bias, at): (&[f32], usize) = (&[], head * size);
        if !attention.bias.is_empty() {
            bias = &attention.bias[at..at + size];
        }
        for (row, query) in self.queries.chunks_exact_mut(shape.depth()).enumerate() {
            let row = (first + row).min(shape.count - 1);
            let query = &mut query[..size];
            query.copy_from_slice(&rows[row * 3 * width + at..][..size]);
            for (place, bias) in query.iter_mut().zip(bias) {
                *place += bias;
            }
            for place in query {
                *place *= attention.scale;
            }
        }
    }
}

/// `scores[r][k] = queries[r] . keys[k]`.
#[allow(clippy::inline_always)] // as `Computation` asks
#[inline(always)]
fn score<L: Lanes>(keys: &[f32], queries: &[f32], scores: &mut [f32], shape: Shape) {
    let mut scores = Scored {
        keys: &[],
        queries: queries.as_chunks().0,
        depth: shape.depth() / LANES,
        scores: scores.as_chunks_mut().0,
        line: shape.keys / LANES,
        first_vector: 0,
    };
    let (vectors, _) = keys.as_chunks::<LANES>();
    for (tile, keys) in vectors
        .chunks_exact(TILE_VECTORS * shape.depth())
        .enumerate()
    {
        (scores.keys, scores.first_vector) = (keys, tile * TILE_VECTORS);
        in_parts::<L, TILE_ROWS, TILE_VECTORS>(&mut scores);
    }
}

/// The scores of a tile of keys.
struct Scored<'a> {
    /// `[depth * 16][2]`: of the padded size.
    keys: &'a [[f32; LANES]],
    /// `[8][depth]`.
    queries: &'a [[f32; LANES]],
    depth: usize,
    /// `[8][line]`; the tile's are those from `first_vector` on.
    scores: &'a mut [[f32; LANES]],
    line: usize,
    first_vector: usize,
}

impl Product for Scored<'_> {
    #[allow(clippy::inline_always)] // as `Computation` asks
    #[allow(clippy::needless_range_loop)] // arrays side by side, of constant length
    #[inline(always)]
    fn part<L: Lanes, const R: usize, const V: usize>(&mut self, first_row: usize, vector: usize) {
        let mut sums = [[L::splat(0.0); V]; R];
        // Sixteen numbers of each query at once, so that nothing has to be asked about their bounds.
        let (parts, _) = self.keys.as_chunks::<{ LANES * TILE_VECTORS }>();
        for (part, keys) in parts.iter().enumerate() {
            let mut each = [&self.queries[part]; R];
            for (row, each) in each.iter_mut().enumerate() {
                *each = &self.queries[(first_row + row) * self.depth + part];
            }
            for index in 0..LANES {
                let mut loaded = [L::splat(0.0); V];
                for v in 0..V {
                    loaded[v] = L::load(&keys[TILE_VECTORS * index + vector + v]);
                }
                for row in 0..R {
                    let factor = L::splat(each[row][index]);
                    for v in 0..V {
                        sums[row][v] = loaded[v].multiply_add(factor, sums[row][v]);
                    }
                }
            }
        }
        for row in 0..R {
            let places =
                &mut self.scores[(first_row + row) * self.line + self.first_vector + vector..][..V];
            for v in 0..V {
                sums[row][v].store(&mut places[v]);
            }
        }
    }
}

/// Turns a row's scores into weights, and gives their sum. What comes after `count` is padding.
#[allow(clippy::inline_always)] // as `Computation` asks
#[inline(always)]
fn soften<L: Lanes>(scores: &mut [f32], count: usize) -> f32 {
    scores[count..].fill(f32::NEG_INFINITY);
    let (vectors, _) = scores.as_chunks_mut::<LANES>();
    let mut maximum = L::splat(f32::NEG_INFINITY);
    for vector in vectors.iter() {
        maximum = L::load(vector).maximum(maximum);
    }
    let maximum = L::splat(maximum.largest());
    let mut total = L::splat(0.0);
    for vector in vectors.iter_mut() {
        let power = exponential(L::load(vector).subtract(maximum));
        power.store(vector);
        total = total.add(power);
    }
    // The padding's weights are the smallest number there is, and the largest is 1.
    total.sum()
}

/// `sums[r] = inverses[r] * (weights[r] x values)`.
#[allow(clippy::inline_always)] // as `Computation` asks
#[inline(always)]
fn gather<L: Lanes>(
    weights: &[f32],
    values: &[f32],
    inverses: &[f32; TILE_ROWS],
    sums: &mut [f32],
    shape: Shape,
) {
    let across = shape.padded / LANES;
    let mut gathered = Gathered {
        weights: weights.as_chunks().0,
        line: shape.keys / LANES,
        values: values.as_chunks().0,
        parts: shape.count.div_ceil(LANES),
        inverses,
        sums: sums.as_chunks_mut().0,
        across,
        column: 0,
    };
    for column in (0..across).step_by(TILE_VECTORS) {
        gathered.column = column;
        in_parts::<L, TILE_ROWS, TILE_VECTORS>(&mut gathered);
    }
}

/// Some columns of what a tile's rows attend to.
struct Gathered<'a> {
    /// `[8][line]`.
    weights: &'a [[f32; LANES]],
    line: usize,
    /// `[keys][across]`, of which so many parts of sixteen keys count. The values of keys that pad the last one are
    /// zeros.
    values: &'a [[f32; LANES]],
    parts: usize,
    inverses: &'a [f32; TILE_ROWS],
    /// `[8][across]`; the tile's are those from `column` on.
    sums: &'a mut [[f32; LANES]],
    across: usize,
    column: usize,
}

impl Product for Gathered<'_> {
    #[allow(clippy::inline_always)] // as `Computation` asks
    #[allow(clippy::needless_range_loop)] // arrays side by side, of constant length
    #[inline(always)]
    fn part<L: Lanes, const R: usize, const V: usize>(&mut self, first_row: usize, vector: usize) {
        let column = self.column + vector;
        let mut held = [[L::splat(0.0); V]; R];
        let parts = self.values.chunks_exact(LANES * self.across);
        for (part, values) in parts.take(self.parts).enumerate() {
            let mut each = [&self.weights[part]; R];
            for (row, each) in each.iter_mut().enumerate() {
                *each = &self.weights[(first_row + row) * self.line + part];
            }
            for index in 0..LANES {
                let values = &values[index * self.across + column..][..V];
                let mut loaded = [L::splat(0.0); V];
                for v in 0..V {
                    loaded[v] = L::load(&values[v]);
                }
                for row in 0..R {
                    let weight = L::splat(each[row][index]);
                    for v in 0..V {
                        held[row][v] = loaded[v].multiply_add(weight, held[row][v]);
                    }
                }
            }
        }
        for row in 0..R {
            let inverse = L::splat(self.inverses[first_row + row]);
            let places = &mut self.sums[(first_row + row) * self.across + column..][..V];
            for v in 0..V {
                held[row][v].multiply(inverse).store(&mut places[v]);
            }
        }
    }
}
