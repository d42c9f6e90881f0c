//! SDOT: sums of four products of signed bytes (Armv8.2's FEAT_DotProd). Codes that fill a byte are made signed.

use super::loops::{LANES, Load128, Multiply, part_sums};
use crate::BLOCK_INPUTS;
use crate::backend::{Backend, Rows};
use crate::neon::{
    int8x16_t, int32x4_t, uint8x16_t, vdotq_lane_s32, vdupq_n_u8, veorq_u8, vld1_s8,
    vreinterpretq_s8_u8,
};
use crate::tile::{GROUPS, Tile};

pub(crate) struct Dotprod;

/// Codes as signed bytes.
#[inline(always)]
unsafe fn signed<T: Tile>(codes: uint8x16_t) -> int8x16_t {
    // SAFETY: the caller has NEON.
    unsafe {
        if T::BITS < 8 {
            vreinterpretq_s8_u8(codes)
        } else {
            vreinterpretq_s8_u8(veorq_u8(codes, vdupq_n_u8(128)))
        }
    }
}

impl Multiply for Dotprod {
    const BACKEND: Backend = Backend::NeonDotprod;

    #[inline(always)]
    fn taken<T: Tile>() -> i32 {
        if T::BITS < 8 { 0 } else { 128 }
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
                    let [even, odd] = tile.pair(block % T::BLOCKS, pair, first + quarter);
                    [signed::<T>(even), signed::<T>(odd)]
                });
                for (row, dots) in dots.iter_mut().enumerate() {
                    let at = (row * blocks + block) * BLOCK_INPUTS + pair * 8;
                    let inputs = vld1_s8(inputs.as_ptr().add(at));
                    for (sums, [even, odd]) in dots.iter_mut().zip(codes) {
                        *sums = vdotq_lane_s32::<0>(*sums, even, inputs);
                        *sums = vdotq_lane_s32::<1>(*sums, odd, inputs);
                    }
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn ordered<const R: usize, const Q: usize>(
        dots: [[int32x4_t; Q]; R],
    ) -> [[int32x4_t; Q]; R] {
        dots
    }

    #[cfg_attr(target_arch = "aarch64", target_feature(enable = "neon,dotprod"))]
    unsafe fn part_sums<T: Load128, const R: usize, const Q: usize>(
        tiles: &[T],
        rows: &Rows<'_>,
        first: usize,
    ) -> [[[f32; LANES]; Q]; R] {
        // SAFETY: as the caller promises.
        unsafe { part_sums::<Self, T, R, Q>(tiles, rows, first) }
    }
}
