//! One head of a text in whole numbers, laid out for the tiles.

use crate::lanes::{LANES, Lanes, load};
use crate::text_attention::{TILE_KEYS, TILE_ROWS, TextAttention};

/// The largest code of a query's or a key's number, where a head is not so large that their products' sum would
/// leave 32 bits.
const MOST_CODE: f32 = 8191.0;
/// The largest code of a value.
const MOST_VALUE: f32 = 4095.0;
/// Larger magnitudes count as this one, so that no sum is infinite.
const LARGEST: f32 = 1e15;
/// Where nothing is larger, numbers are rounded as if this were the largest.
const SMALLEST: f32 = 1e-30;
/// Pairs of a vector's numbers.
pub(super) const PAIRS: usize = LANES / 2;

/// Two neighbouring numbers, which one instruction multiplies and adds up.
pub(super) type Pair = [i16; 2];

/// Used again for the next head.
#[derive(Debug, Default)]
pub(super) struct Head {
    /// `[rows][size / 16]`, both padded with zeros.
    pub(super) queries: Vec<[Pair; PAIRS]>,
    /// `[keys / 16 V][size / 2][V]` vectors of 16 keys, padded with zeros.
    pub(super) keys: Vec<[Pair; LANES]>,
    /// `[keys / 2][columns / 16]` vectors of 16 columns, padded with anything.
    pub(super) values: Vec<[Pair; LANES]>,
    /// `[columns]`: what codes of a column are worth.
    pub(super) value_steps: Vec<f32>,
    /// `[8][keys]`.
    pub(super) scores: Vec<f32>,
    /// `[8][keys / 2]`, padded with zeros to tiles of two vectors.
    pub(super) weights: Vec<Pair>,
    /// `[8][columns]`.
    pub(super) sums: Vec<f32>,
    /// Vectors of queries, keys, or values as they come, `[keys][width / 16]`.
    floats: Vec<[f32; LANES]>,
}

/// The sizes of a head.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    /// Rows of the text.
    count: usize,
    /// The size of a query and a key, padded to whole vectors.
    pub(super) depth: usize,
    /// The size of a value, padded to whole tiles.
    pub(super) columns: usize,
    /// The keys, padded to whole tiles.
    pub(super) keys: usize,
    /// A row's weights.
    pub(super) weights: usize,
    /// The largest code of a query and a key.
    most: f32,
}

impl Shape {
    /// With so many vectors of keys in a tile.
    pub(super) fn new(count: usize, size: usize, vectors: usize) -> Self {
        let most = (i32::MAX as f32 / size as f32).sqrt() - 1.0;
        Self {
            count,
            depth: size.next_multiple_of(LANES),
            columns: size.next_multiple_of(TILE_KEYS),
            keys: count.next_multiple_of(vectors * LANES),
            weights: count.next_multiple_of(TILE_KEYS),
            most: most.floor().min(MOST_CODE),
        }
    }
}

impl Head {
    pub(super) fn resize(&mut self, shape: Shape) {
        let Shape {
            count,
            depth,
            columns,
            keys,
            weights,
            ..
        } = shape;
        let rows = count.next_multiple_of(TILE_ROWS);
        self.queries.clear();
        self.queries.resize(rows * depth / LANES, [[0; 2]; PAIRS]);
        self.keys.clear();
        self.keys.resize(keys / LANES * depth / 2, [[0; 2]; LANES]);
        self.values
            .resize(keys / 2 * columns / LANES, [[0; 2]; LANES]);
        self.value_steps.resize(columns, 0.0);
        self.scores.resize(TILE_ROWS * keys, 0.0);
        self.weights.clear();
        self.weights.resize(TILE_ROWS * weights / 2, [0; 2]);
        self.sums.resize(TILE_ROWS * columns, 0.0);
        self.floats.clear();
        self.floats.resize(keys * columns / LANES, [0.0; LANES]);
    }

    /// Rounds and lays out the queries, keys and values of a head; gives what a product of a query's and a key's code
    /// is worth. Rows are `[count, 3 * heads * size]`.
    #[allow(clippy::inline_always)] // as `Computation` asks
    #[inline(always)]
    pub(super) fn take<L: Lanes, const V: usize>(
        &mut self,
        attention: &TextAttention<'_>,
        rows: &[f32],
        head: usize,
        shape: Shape,
    ) -> f32 {
        let (size, width) = (attention.size, attention.heads * attention.size);
        let part = |index: usize| Part {
            at: index * width + head * size,
            size,
            of: 3 * width,
            rows,
            bias: attention.bias,
        };
        let across = shape.depth / LANES;
        let step = self.stage::<L>(part(0), across).max(SMALLEST) / shape.most;
        self.take_queries::<L>(step.recip(), shape.count * across);
        let key_step = self.stage::<L>(part(1), across).max(SMALLEST) / shape.most;
        self.take_keys::<L, V>(key_step.recip(), shape);
        self.stage::<L>(part(2), shape.columns / LANES);
        self.take_values::<L>(shape);
        step * key_step
    }

    /// Writes one part of all rows into `floats`, so many vectors each, and gives the largest magnitude.
    #[allow(clippy::inline_always)] // as `Computation` asks
    #[inline(always)]
    fn stage<L: Lanes>(&mut self, part: Part<'_>, across: usize) -> f32 {
        let vectors = part.size.div_ceil(LANES);
        let mut largest = L::splat(0.0);
        let lines = self.floats.chunks_exact_mut(across);
        for (line, row) in lines.zip(part.rows.chunks_exact(part.of)) {
            let row = &row[part.at..][..part.size];
            for (index, place) in line.iter_mut().take(vectors).enumerate() {
                let mut value = load::<L>(row, index);
                if !part.bias.is_empty() {
                    value = value.add(load(&part.bias[part.at..][..part.size], index));
                }
                let value = usual(value);
                largest = value.magnitude().maximum(largest);
                value.store(place);
            }
        }
        largest.largest()
    }

    #[allow(clippy::inline_always)] // as `Computation` asks
    #[inline(always)]
    fn take_queries<L: Lanes>(&mut self, inverse: f32, vectors: usize) {
        for (query, vector) in self.queries.iter_mut().zip(&self.floats[..vectors]) {
            *query = pairs(round::<L>(vector, L::splat(inverse)));
        }
    }

    #[allow(clippy::inline_always)] // as `Computation` asks
    #[inline(always)]
    fn take_keys<L: Lanes, const V: usize>(&mut self, inverse: f32, shape: Shape) {
        let across = shape.depth / LANES;
        let tiles = self.keys.chunks_exact_mut(V * shape.depth / 2);
        let mut left = shape.count;
        for (tile, floats) in tiles.zip(self.floats.chunks_exact(V * LANES * across)) {
            for (part, tile) in tile.chunks_exact_mut(PAIRS * V).enumerate() {
                for vector in 0..V {
                    for lane in 0..LANES.min(left.saturating_sub(vector * LANES)) {
                        let floats = &floats[(vector * LANES + lane) * across + part];
                        let codes = pairs(round::<L>(floats, L::splat(inverse)));
                        for (index, pair) in codes.into_iter().enumerate() {
                            tile[index * V + vector][lane] = pair;
                        }
                    }
                }
            }
            left = left.saturating_sub(V * LANES);
        }
    }

    /// Column by column.
    #[allow(clippy::inline_always)] // as `Computation` asks
    #[inline(always)]
    fn take_values<L: Lanes>(&mut self, shape: Shape) {
        let across = shape.columns / LANES;
        let rows = shape.count * across;
        // A tile's keys after the last have values, too.
        self.floats[rows..].fill([0.0; LANES]);
        let (steps, _) = self.value_steps.as_chunks_mut::<LANES>();
        for (column, steps) in steps.iter_mut().enumerate() {
            let mut largest = L::splat(SMALLEST);
            for vector in self.floats[..rows].iter().skip(column).step_by(across) {
                largest = L::load(vector).magnitude().maximum(largest);
            }
            largest.multiply(L::splat(MOST_VALUE.recip())).store(steps);
            let inverse = L::splat(MOST_VALUE).divide(largest);
            let lines = self.values.chunks_exact_mut(across);
            for (line, two) in lines.zip(self.floats.chunks_exact(2 * across)) {
                let first = round::<L>(&two[column], inverse);
                let second = round::<L>(&two[column + across], inverse);
                for (lane, pair) in line[column].iter_mut().enumerate() {
                    *pair = [first[lane], second[lane]];
                }
            }
        }
    }
}

/// What a row has of a head.
#[derive(Clone, Copy)]
struct Part<'a> {
    /// Its first number within a row, and how many there are.
    at: usize,
    size: usize,
    /// `[count, of]`.
    rows: &'a [f32],
    of: usize,
    /// `[of]`, or nothing.
    bias: &'a [f32],
}

/// A number within bounds; zero where it is none.
#[allow(clippy::inline_always)] // as `Computation` asks
#[inline(always)]
fn usual<L: Lanes>(value: L) -> L {
    L::splat(-LARGEST).maximum(L::splat(LARGEST).minimum(value.numbers()))
}

/// The codes of a vector.
#[allow(clippy::inline_always)] // as `Computation` asks
#[inline(always)]
fn round<L: Lanes>(values: &[f32; LANES], inverse: L) -> [i16; LANES] {
    let mut codes = [0; LANES];
    L::load(values).multiply(inverse).store_shorts(&mut codes);
    codes
}

#[allow(clippy::inline_always)] // as `Computation` asks
#[inline(always)]
fn pairs(codes: [i16; LANES]) -> [Pair; PAIRS] {
    let mut pairs = [[0; 2]; PAIRS];
    for (index, pair) in pairs.iter_mut().enumerate() {
        *pair = [codes[2 * index], codes[2 * index + 1]];
    }
    pairs
}
