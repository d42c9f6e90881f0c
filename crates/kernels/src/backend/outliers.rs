//! Inputs that stayed floats, times the weights as they are. (Minima are in the sums already, by the totals of blocks.)

use super::Backend;
use crate::activations::Activations;
use crate::lanes::{self, Computation, Lanes};
use crate::tile::Tile;
use crate::{BLOCK_INPUTS, TILE_OUTPUTS};

/// Adds what the outliers of `R` rows, from the one beside the activations on, give to their sums over `P` panels:
/// `acc = fma((code - offset) * scale, outlier, acc)` for one after the other. `tiles` is `[P][blocks of a tile]`.
pub(super) fn add<T: Tile, const R: usize, const P: usize>(
    backend: Backend,
    tiles: &[T],
    (activations, first): (&Activations, usize),
    sums: &mut [[[f32; TILE_OUTPUTS]; P]; R],
) {
    if !activations.outliers(first..first + R).is_empty() {
        let adding = Adding {
            tiles,
            activations,
            first,
            sums,
        };
        lanes::run(backend, adding);
    }
}

struct Adding<'a, T, const P: usize> {
    tiles: &'a [T],
    activations: &'a Activations,
    first: usize,
    /// Of each row.
    sums: &'a mut [[[f32; TILE_OUTPUTS]; P]],
}

impl<T: Tile, const P: usize> Computation for Adding<'_, T, P> {
    type Output = ();

    #[allow(clippy::inline_always)] // as `Computation` asks
    #[allow(clippy::needless_range_loop)] // the sums have to stay in registers
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let across = self.activations.blocks / T::BLOCKS;
        let inputs = T::BLOCKS * BLOCK_INPUTS;
        for (first, sums) in (self.first..).zip(self.sums.iter_mut()) {
            let mut acc = [L::splat(0.0); P];
            for panel in 0..P {
                acc[panel] = L::load(&sums[panel]);
            }
            for outlier in self.activations.outliers(first..first + 1) {
                let value = L::splat(outlier.value);
                for panel in 0..P {
                    let tile = &self.tiles[panel * across + outlier.input / inputs];
                    let weights: L = tile.scaled(outlier.input % inputs);
                    acc[panel] = weights.multiply_add(value, acc[panel]);
                }
            }
            for panel in 0..P {
                acc[panel].store(&mut sums[panel]);
            }
        }
    }
}
