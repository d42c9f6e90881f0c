//! The products of attention: of queries with a block of keys, and of weights with its values.

use super::{POSITION_VECTORS, TILE_ROWS};
use crate::cache::CACHE_BLOCK_POSITIONS;
use crate::lanes::{LANES, LINE_HALVES, Lanes, Product, fetch, in_parts};

/// Sums of values that are worked on together, at most: rows by vectors.
const SUMS_TOGETHER: usize = 16;

/// Scores of `R` rows with the 32 keys of a block: `keys` is `[size, 32]`, `scaled` `[R, size]`. Asks for the next block's keys
/// meanwhile, if there are any.
#[allow(clippy::inline_always)] // as `Computation` asks
#[inline(always)]
pub(super) fn scores<L: Lanes, const R: usize>(
    (keys, next): (&[u16], &[u16]),
    scaled: &[f32],
    size: usize,
    scores: &mut [[[f32; LANES]; POSITION_VECTORS]; R],
) {
    let (lines, _) = keys.as_chunks::<LANES>();
    in_parts::<L, R, POSITION_VECTORS>(&mut Scored {
        keys: &lines.as_chunks().0[..size],
        next: next.as_chunks().0,
        scaled,
        scores,
    });
}

/// A block of keys, and the scores of a tile's rows with it.
struct Scored<'a> {
    keys: &'a [[[u16; LANES]; POSITION_VECTORS]],
    next: &'a [[u16; LINE_HALVES]],
    scaled: &'a [f32],
    scores: &'a mut [[[f32; LANES]; POSITION_VECTORS]],
}

impl Product for Scored<'_> {
    #[allow(clippy::inline_always)] // as `Computation` asks
    #[allow(clippy::needless_range_loop)] // see within
    #[inline(always)]
    fn part<L: Lanes, const R: usize, const V: usize>(&mut self, first_row: usize, vector: usize) {
        let size = self.keys.len();
        let is_first = first_row == 0 && vector == 0;
        let next = if is_first { self.next } else { &[] };
        // Indices, not iterators over arrays: the sums have to stay in registers.
        let mut queries = [&self.scaled[..0]; R];
        for row in 0..R {
            queries[row] = &self.scaled[(first_row + row) * size..][..size];
        }
        let mut sums = [[L::splat(0.0); V]; R];
        for (index, keys) in self.keys.iter().enumerate() {
            if let Some(line) = next.get(index) {
                fetch(line);
            }
            let mut loaded = [L::splat(0.0); V];
            for v in 0..V {
                loaded[v] = L::load_half(&keys[vector + v]);
            }
            for row in 0..R {
                let factor = L::splat(queries[row][index]);
                for v in 0..V {
                    sums[row][v] = loaded[v].multiply_add(factor, sums[row][v]);
                }
            }
        }
        for row in 0..R {
            for v in 0..V {
                sums[row][v].store(&mut self.scores[first_row + row][vector + v]);
            }
        }
    }
}

/// `sums[r] = sums[r] * factors[r] + weights[r] x values`: `values` is `[positions, padded]`, `sums`
/// `[TILE_ROWS, padded]`. Asks for the next block's values meanwhile, if there are any.
#[allow(clippy::inline_always)] // as `Computation` asks
#[inline(always)]
pub(super) fn add_values<L: Lanes, const R: usize>(
    (values, next): (&[u16], &[u16]),
    weights: &[[[f32; LANES]; POSITION_VECTORS]; R],
    factors: &[f32; R],
    sums: &mut [f32],
) {
    let (sums, _) = sums.as_chunks_mut::<LANES>();
    let across = sums.len() / TILE_ROWS;
    let mut added = AddedValues {
        values: values.as_chunks().0,
        next: next.as_chunks().0,
        weights,
        factors,
        sums,
        across,
        column: 0,
    };
    macro_rules! together {
        ($count:expr) => {
            #[allow(clippy::int_plus_one)] // reads the same for every count
            while added.column + $count <= across {
                in_parts::<L, R, { $count }>(&mut added);
                added.column += $count;
            }
        };
    }
    if 4 * R <= SUMS_TOGETHER {
        together!(4);
    }
    together!(2);
    together!(1);
}

/// Some columns of the values of a block.
struct AddedValues<'a> {
    /// `[positions][across]`.
    values: &'a [[u16; LANES]],
    next: &'a [[u16; LINE_HALVES]],
    weights: &'a [[[f32; LANES]; POSITION_VECTORS]],
    factors: &'a [f32],
    /// Of each row `[across]`.
    sums: &'a mut [[f32; LANES]],
    across: usize,
    /// The first that is worked on.
    column: usize,
}

impl Product for AddedValues<'_> {
    #[allow(clippy::inline_always)] // as `Computation` asks
    #[allow(clippy::needless_range_loop)] // as in `Scored`
    #[inline(always)]
    fn part<L: Lanes, const R: usize, const V: usize>(&mut self, first_row: usize, vector: usize) {
        let (column, across) = (self.column + vector, self.across);
        let mut weights = [&[0.0; CACHE_BLOCK_POSITIONS]; R];
        let mut held = [[L::splat(0.0); V]; R];
        for row in 0..R {
            let (line, _) = self.weights[first_row + row].as_flattened().as_chunks();
            weights[row] = &line[0];
            let factor = L::splat(self.factors[first_row + row]);
            for v in 0..V {
                let so_far = L::load(&self.sums[(first_row + row) * across + column + v]);
                held[row][v] = so_far.multiply(factor);
            }
        }
        let lines = self.values.chunks_exact(across);
        // Of the next block's lines, as many at each position as there are for it; for other columns once more, since requests
        // are dropped where there are too many (Zen 5: 17 instead of 18 ms of 16 sequences, heads of 128).
        let next = if first_row == 0 { self.next } else { &[] };
        let part = next.len().div_ceil(self.values.len() / across);
        let mut next = next.chunks(part.max(1));
        for (position, line) in lines.enumerate().take(CACHE_BLOCK_POSITIONS) {
            for line in next.next().unwrap_or_default() {
                fetch(line);
            }
            let line = &line[column..][..V];
            let mut loaded = [L::splat(0.0); V];
            for v in 0..V {
                loaded[v] = L::load_half(&line[v]);
            }
            for row in 0..R {
                let weight = L::splat(weights[row][position]);
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
