//! Inputs that stayed floats, times the weights as they are.

use super::Backend;
use crate::activations::Activations;
use crate::lanes::{self, Computation, Lanes};
use crate::tile::Tile;
use crate::{BLOCK_INPUTS, TILE_OUTPUTS};

/// Adds what the outliers of `R` rows, from the one beside the activations on, give to their sums over `P` panels:
/// `acc = fma(weight, outlier, acc)` for one after the other, where `weight = fma(code - offset, scale, min)`, or without
/// a minimum `(code - offset) * scale`. `tiles` is `[P][blocks of a tile]`.
pub(super) fn add<T: Tile, const R: usize, const P: usize>(
    backend: Backend,
    tiles: &[T],
    (activations, first): (&Activations, usize),
    sums: &mut [[[f32; TILE_OUTPUTS]; P]; R],
) {
    let ends = &activations.outlier_ends;
    let before = first.checked_sub(1).map_or(0, |row| ends[row]);
    if before < ends[first + R - 1] {
        lanes::run(
            backend,
            Adding {
                tiles,
                activations,
                first,
                sums: sums.as_flattened_mut(),
                panels: P,
            },
        );
    }
}

struct Adding<'a, T> {
    tiles: &'a [T],
    activations: &'a Activations,
    first: usize,
    /// `[rows][panels]`.
    sums: &'a mut [[f32; TILE_OUTPUTS]],
    panels: usize,
}

impl<T: Tile> Computation for Adding<'_, T> {
    type Output = ();

    #[allow(clippy::inline_always)] // as `Computation` asks
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let across = self.activations.blocks / T::BLOCKS;
        for (row, sums) in self.sums.chunks_exact_mut(self.panels).enumerate() {
            let outliers = self.activations.outliers(self.first + row);
            for (tiles, sums) in self.tiles.chunks_exact(across).zip(sums) {
                let mut acc = L::load(sums);
                for outlier in outliers {
                    let inputs = T::BLOCKS * BLOCK_INPUTS;
                    let tile = &tiles[outlier.input / inputs];
                    let weights: L = tile.weights(outlier.input % inputs);
                    acc = weights.multiply_add(L::splat(outlier.value), acc);
                }
                acc.store(sums);
            }
        }
    }
}
