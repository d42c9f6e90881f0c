//! USMMLA and USDOT: products of unsigned and signed bytes (FEAT_I8MM, part of Armv8.6).
//!
//! USMMLA multiplies two outputs by two rows over eight inputs, twice the products of USDOT. Codes lie by groups of
//! four inputs, so a tile's registers are interleaved first, once for all rows: that many instructions are saved from
//! six rows on.

use super::loops::{LANES, Load128, Multiply, part_sums};
use crate::BLOCK_INPUTS;
use crate::backend::{Backend, Rows};
use crate::neon::{
    int32x4_t, uint8x16_t, vcombine_s8, vld1_s8, vreinterpretq_u8_u32, vreinterpretq_u32_u8,
    vusdotq_lane_s32, vusmmlaq_s32, vuzp1q_s32, vuzp2q_s32, vzip1q_u32, vzip2q_u32,
};
use crate::tile::{GROUPS, Tile};

pub(crate) struct I8mm;

/// Whether so many rows are multiplied two at a time. The sums of rows `2 * n` and `2 * n + 1` are then two by
/// two: of the quarter's first two outputs in the place of the first row, of the others in that of the second.
const fn by_twos(rows: usize) -> bool {
    rows >= 6 && rows.is_multiple_of(2)
}

/// Eight codes of the first output and of the second, and of the third and of the fourth, from four codes of
/// each of them in two registers.
#[inline(always)]
unsafe fn interleaved([even, odd]: [uint8x16_t; 2]) -> [uint8x16_t; 2] {
    // SAFETY: the caller has NEON.
    unsafe {
        let (even, odd) = (vreinterpretq_u32_u8(even), vreinterpretq_u32_u8(odd));
        [
            vreinterpretq_u8_u32(vzip1q_u32(even, odd)),
            vreinterpretq_u8_u32(vzip2q_u32(even, odd)),
        ]
    }
}

impl Multiply for I8mm {
    const BACKEND: Backend = Backend::NeonI8mm;

    #[inline(always)]
    fn taken<T: Tile>() -> i32 {
        0
    }

    #[inline(always)]
    unsafe fn add_dots<T: Load128, const R: usize, const Q: usize>(
        dots: &mut [[int32x4_t; Q]; R],
        (tile, first): (&T, usize),
        inputs: &[i8],
        (block, blocks, part): (usize, usize, usize),
    ) {
        let pairs = GROUPS / 2 / T::PARTS;
        // SAFETY: row < R and block < blocks, within the bounds that the caller of `part_sums` asserted.
        unsafe {
            for pair in part * pairs..(part + 1) * pairs {
                let codes: [_; Q] = std::array::from_fn(|quarter| {
                    tile.pair(block % T::BLOCKS, pair, first + quarter)
                });
                let load = |row: usize| {
                    let at = (row * blocks + block) * BLOCK_INPUTS + pair * 8;
                    vld1_s8(inputs.as_ptr().add(at))
                };
                if by_twos(R) {
                    let codes = codes.map(|codes| interleaved(codes));
                    for (two, [first, second]) in dots.as_chunks_mut().0.iter_mut().enumerate() {
                        let inputs = vcombine_s8(load(2 * two), load(2 * two + 1));
                        for (quarter, [low, high]) in codes.into_iter().enumerate() {
                            first[quarter] = vusmmlaq_s32(first[quarter], low, inputs);
                            second[quarter] = vusmmlaq_s32(second[quarter], high, inputs);
                        }
                    }
                } else {
                    for (row, dots) in dots.iter_mut().enumerate() {
                        let inputs = load(row);
                        for (sums, [even, odd]) in dots.iter_mut().zip(codes) {
                            *sums = vusdotq_lane_s32::<0>(*sums, even, inputs);
                            *sums = vusdotq_lane_s32::<1>(*sums, odd, inputs);
                        }
                    }
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn ordered<const R: usize, const Q: usize>(
        mut dots: [[int32x4_t; Q]; R],
    ) -> [[int32x4_t; Q]; R] {
        if by_twos(R) {
            for [first, second] in dots.as_chunks_mut().0 {
                for (first, second) in first.iter_mut().zip(second) {
                    // SAFETY: the caller has NEON.
                    (*first, *second) =
                        unsafe { (vuzp1q_s32(*first, *second), vuzp2q_s32(*first, *second)) };
                }
            }
        }
        dots
    }

    #[cfg_attr(target_arch = "aarch64", target_feature(enable = "neon,i8mm"))]
    unsafe fn part_sums<T: Load128, const R: usize, const Q: usize>(
        tiles: &[T],
        rows: &Rows<'_>,
        first: usize,
    ) -> [[[f32; LANES]; Q]; R] {
        // SAFETY: as the caller promises.
        unsafe { part_sums::<Self, T, R, Q>(tiles, rows, first) }
    }
}
