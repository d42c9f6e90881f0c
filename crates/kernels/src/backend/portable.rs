//! Plain Rust: slow, for any processor, and what the other back ends are held against.

use super::{Arithmetic, Rows};
use crate::activations::FIRST;
use crate::tile::Tile;
use crate::{BLOCK_INPUTS, TILE_OUTPUTS};

pub(crate) struct Portable;

impl<T: Tile> Arithmetic<T> for Portable {
    fn sums<const R: usize, const P: usize>(
        tiles: &[T],
        rows: &Rows<'_>,
    ) -> [[[f32; TILE_OUTPUTS]; P]; R] {
        let mut sums = [[[0.0_f32; TILE_OUTPUTS]; P]; R];
        for (row, panels) in sums.iter_mut().enumerate() {
            for (panel, sums) in panels.iter_mut().enumerate() {
                for block in 0..rows.blocks {
                    let tile = &tiles[panel * rows.blocks + block];
                    let index = row * rows.blocks + block;
                    let codes = &rows.codes[index * BLOCK_INPUTS..][..BLOCK_INPUTS];
                    let lows = &rows.lows[index * BLOCK_INPUTS..][..BLOCK_INPUTS];
                    let word = rows.seconds(row..row + 1, block / u64::BITS as usize);
                    let has_second = word >> (block % u64::BITS as usize) & 1 != 0;
                    let (step, sum, total) =
                        (rows.steps[index], rows.sums[index], rows.totals[index]);
                    for (output, acc) in sums.iter_mut().enumerate() {
                        let times = |inputs: &[i8]| -> i32 {
                            let products = inputs.iter().enumerate().map(|(input, &x)| {
                                i32::from(tile.code(output, input)) * i32::from(x)
                            });
                            products.sum()
                        };
                        let low = if has_second { times(lows) } else { 0 };
                        let dot = FIRST * times(codes) + low;
                        if let Some(min) = tile.min(output) {
                            *acc = min.to_f32().mul_add(total, *acc);
                        }
                        let dot = (dot - T::OFFSET * sum) as f32;
                        *acc = dot.mul_add(tile.scale(output).to_f32() * step, *acc);
                    }
                }
            }
        }
        sums
    }
}
