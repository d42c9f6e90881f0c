//! Inputs that stayed floats, times the weights as they are. (Minima are in the sums already, by the totals of blocks.)

// What becomes part of a computation on lanes has to be inlined.
#![allow(clippy::inline_always)]

use super::{Backend, Rows};
use crate::activations::Outlier;
use crate::lanes::{self, Computation, Lanes, Product, in_parts};
use crate::tile::Tile;
use crate::{BLOCK_INPUTS, TILE_OUTPUTS};

/// Adds what the outliers of `R` rows that are multiplied together give to their sums over `P` panels:
/// `acc = fma((code - offset) * scale, outlier, acc)` for one input after the other, with zeros for rows in which it is no
/// outlier. `tiles` is `[P][blocks of a tile]`.
pub(super) fn add<T: Tile, const R: usize, const P: usize>(
    backend: Backend,
    tiles: &[T],
    rows: &Rows<'_>,
    sums: &mut [[[f32; TILE_OUTPUTS]; P]; R],
) {
    if !rows.outliers.is_empty() {
        let adding = Adding {
            tiles,
            across: rows.blocks / T::BLOCKS,
            outliers: rows.outliers,
            sums,
        };
        lanes::run(backend, adding);
    }
}

struct Adding<'a, T, const R: usize, const P: usize> {
    tiles: &'a [T],
    /// Tiles of a panel.
    across: usize,
    outliers: &'a [Outlier],
    sums: &'a mut [[[f32; TILE_OUTPUTS]; P]; R],
}

impl<T: Tile, const R: usize, const P: usize> Computation for Adding<'_, T, R, P> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(mut self) {
        in_parts::<L, R, P>(&mut self);
    }
}

impl<T: Tile, const ROWS: usize, const PANELS: usize> Product for Adding<'_, T, ROWS, PANELS> {
    #[allow(clippy::needless_range_loop)] // the sums have to stay in registers
    #[inline(always)]
    fn part<L: Lanes, const R: usize, const V: usize>(&mut self, row: usize, panel: usize) {
        let tiles = &self.tiles[panel * self.across..][..V * self.across];
        let sums = &mut self.sums[row..row + R];
        let mut acc = [[L::splat(0.0); V]; R];
        for r in 0..R {
            for v in 0..V {
                acc[r][v] = L::load(&sums[r][panel + v]);
            }
        }
        add_to(&mut acc, (tiles, self.across), (self.outliers, row));
        for r in 0..R {
            for v in 0..V {
                acc[r][v].store(&mut sums[r][panel + v]);
            }
        }
    }
}

/// The same with sums in registers: of `R` rows, from one of their group on, and of panels of so many tiles.
#[allow(clippy::needless_range_loop)] // as above
#[inline(always)]
pub(super) fn add_to<L: Lanes, T: Tile, const R: usize, const P: usize>(
    acc: &mut [[L; P]; R],
    (tiles, across): (&[T], usize),
    (outliers, first_row): (&[Outlier], usize),
) {
    let inputs = T::BLOCKS * BLOCK_INPUTS;
    for outlier in outliers {
        let mut weights = [L::splat(0.0); P];
        for panel in 0..P {
            let tile = &tiles[panel * across + outlier.input / inputs];
            weights[panel] = tile.scaled(outlier.input % inputs);
        }
        for row in 0..R {
            let value = L::splat(outlier.values[first_row + row]);
            for panel in 0..P {
                acc[row][panel] = weights[panel].multiply_add(value, acc[row][panel]);
            }
        }
    }
}
