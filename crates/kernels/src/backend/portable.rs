//! Plain Rust: slow, for any processor, and what the other back ends are held against.

use super::{Arithmetic, Backend, Columns, Rows, outliers, part_owed};
use crate::activations::{Activations, FIRST, Steps};
use crate::tile::Tile;
use crate::{BLOCK_INPUTS, TILE_OUTPUTS};

pub(crate) struct Portable;

impl<T: Tile> Arithmetic<T> for Portable {
    fn sums<const R: usize, const P: usize>(
        tiles: &[T],
        (activations, first): (&Activations, usize),
        (columns, column): (&Columns<'_>, usize),
    ) {
        let rows = &Rows::of::<T, R, P>(tiles, (activations, first));
        let mut out = [[[0.0; TILE_OUTPUTS]; P]; R];
        for (row, panels) in out.iter_mut().enumerate() {
            let row_step = match rows.steps {
                Steps::OfBlocks(_) => None,
                Steps::OfRows(steps) => Some(steps[row]),
            };
            for (panel, sums) in panels.iter_mut().enumerate() {
                for block in 0..rows.blocks {
                    let tile = &tiles[(panel * rows.blocks + block) / T::BLOCKS];
                    let within = block % T::BLOCKS;
                    let index = row * rows.blocks + block;
                    let total = rows.totals[index];
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
                            let mut dot = times(rows.codes);
                            if rows.have_seconds() {
                                dot = FIRST * dot + times(rows.lows);
                            }
                            let owed = [rows.owed[index], rows.owed_firsts[index]];
                            let dot = (dot + part_owed::<T>(T::OFFSET, part, owed)) as f32;
                            let mut scale = tile.scale(output, within, part);
                            if let Steps::OfBlocks(steps) = rows.steps {
                                scale *= steps[index];
                            }
                            *acc = dot.mul_add(scale, *acc);
                        }
                    }
                }
                if let Some(step) = row_step {
                    *sums = sums.map(|sum| sum * step);
                }
            }
        }
        outliers::add(Backend::Portable, tiles, rows, &mut out);
        columns.set_all((first, column), &out);
    }
}
