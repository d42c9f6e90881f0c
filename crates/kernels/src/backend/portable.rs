//! Plain Rust: slow, for any processor, and what the other back ends are held against.

use super::{Arithmetic, Rows};
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
                    let tile = &tiles[panel * rows.stride + block];
                    let index = row * rows.blocks + block;
                    let codes = &rows.codes[index * BLOCK_INPUTS..][..BLOCK_INPUTS];
                    let (scale, sum) = (rows.scales[index], rows.sums[index]);
                    for (output, acc) in sums.iter_mut().enumerate() {
                        let dot: i32 = codes
                            .iter()
                            .enumerate()
                            .map(|(input, &x)| i32::from(tile.code(output, input)) * i32::from(x))
                            .sum();
                        if let Some(min) = tile.min(output) {
                            *acc = min.to_f32().mul_add(sum as f32 * scale, *acc);
                        }
                        let dot = (dot - T::OFFSET * sum) as f32;
                        *acc = dot.mul_add(tile.scale(output).to_f32() * scale, *acc);
                    }
                }
            }
        }
        sums
    }
}
