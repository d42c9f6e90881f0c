//! Plain Rust: slow, for any processor, and what the other back ends are held against.

use super::{Arithmetic, Backend, Rows, outliers, part_sum};
use crate::activations::FIRST;
use crate::tile::Tile;
use crate::{BLOCK_INPUTS, TILE_OUTPUTS};

pub(crate) struct Portable;

impl<T: Tile> Arithmetic<T> for Portable {
    fn sums<const R: usize, const P: usize>(
        tiles: &[T],
        rows: &Rows<'_>,
        out: &mut [[[f32; TILE_OUTPUTS]; P]; R],
    ) {
        for (row, panels) in out.iter_mut().enumerate() {
            for (panel, sums) in panels.iter_mut().enumerate() {
                *sums = [0.0; TILE_OUTPUTS];
                for block in 0..rows.blocks {
                    let tile = &tiles[(panel * rows.blocks + block) / T::BLOCKS];
                    let within = block % T::BLOCKS;
                    let index = row * rows.blocks + block;
                    let (step, total) = (rows.steps[index], rows.totals[index]);
                    for (output, acc) in sums.iter_mut().enumerate() {
                        if let Some(min) = tile.min(output, within) {
                            *acc = min.mul_add(total, *acc);
                        }
                        for part in 0..T::PARTS {
                            let first = part * BLOCK_INPUTS / T::PARTS;
                            let times = |inputs: &[i8]| -> i32 {
                                let inputs = &inputs[index * BLOCK_INPUTS + first..];
                                let products = (0..BLOCK_INPUTS / T::PARTS).map(|input| {
                                    let input_of_tile = within * BLOCK_INPUTS + first + input;
                                    let code = tile.code(output, input_of_tile);
                                    i32::from(code) * i32::from(inputs[input])
                                });
                                products.sum()
                            };
                            let low = if rows.have_seconds() {
                                times(rows.lows)
                            } else {
                                0
                            };
                            let dot = FIRST * times(rows.codes) + low;
                            let sum = part_sum::<T>(part, rows.sums[index], rows.firsts[index]);
                            let dot = (dot - T::OFFSET * sum) as f32;
                            *acc = dot.mul_add(tile.scale(output, within, part) * step, *acc);
                        }
                    }
                }
            }
        }
        outliers::add(Backend::Portable, tiles, rows, out);
    }
}
