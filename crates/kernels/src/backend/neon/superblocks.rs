//! Loads of superblocks into registers of 128 bits.

use std::array::from_fn;

use super::loops::{LANES, Load128, QUARTER_BYTES, fives, halves, load, nibbles};
use crate::TILE_OUTPUTS;
use crate::neon::{
    float32x4_t, uint8x16_t, vandq_u8, vdupq_n_s8, vdupq_n_u8, vld1q_f32, vmulq_f32, vorrq_u8,
    vshlq_u8,
};
use crate::tile::{FiveK, FourK, GROUP_BYTES, SixK};

/// Small integers as floats.
#[inline(always)]
unsafe fn floats<N: Copy + Into<f32>>(integers: &[N; TILE_OUTPUTS], quarter: usize) -> float32x4_t {
    let floats: [f32; LANES] = from_fn(|lane| integers[quarter * LANES + lane].into());
    // SAFETY: four of four floats; the caller has NEON.
    unsafe { vld1q_f32(floats.as_ptr()) }
}

macro_rules! with_minima {
    () => {
        #[inline(always)]
        unsafe fn scales(&self, block: usize, _: usize, quarter: usize) -> float32x4_t {
            // SAFETY: as the caller promises.
            unsafe {
                let scales = floats(&self.scales[block], quarter);
                vmulq_f32(scales, halves(&self.steps, quarter))
            }
        }

        #[inline(always)]
        unsafe fn mins(&self, block: usize, quarter: usize) -> Option<float32x4_t> {
            // SAFETY: as the caller promises.
            unsafe {
                let mins = floats(&self.mins[block], quarter);
                Some(vmulq_f32(mins, halves(&self.min_steps, quarter)))
            }
        }
    };
}

impl Load128 for FourK {
    #[inline(always)]
    unsafe fn pair(&self, block: usize, pair: usize, quarter: usize) -> [uint8x16_t; 2] {
        // SAFETY: as the caller promises.
        unsafe { nibbles(&self.codes[block], pair, quarter) }
    }
    with_minima!();
}

impl Load128 for FiveK {
    #[inline(always)]
    unsafe fn pair(&self, block: usize, pair: usize, quarter: usize) -> [uint8x16_t; 2] {
        // SAFETY: as the caller promises.
        unsafe { fives(&self.codes[block], &self.highs[block], pair, quarter) }
    }
    with_minima!();
}

impl Load128 for SixK {
    #[inline(always)]
    unsafe fn pair(&self, block: usize, pair: usize, quarter: usize) -> [uint8x16_t; 2] {
        // SAFETY: pair and quarter are below 4: the load ends within 128 bytes; the caller has NEON.
        unsafe {
            let at = pair / 2 * GROUP_BYTES + quarter * QUARTER_BYTES;
            let highs = load(&self.highs[block], at);
            let [even, odd] = nibbles(&self.codes[block], pair, quarter);
            // A negative shift goes to the right.
            let high = |group: usize| {
                let places = vdupq_n_s8(4 - 2 * (group % 4) as i8);
                vandq_u8(vshlq_u8(highs, places), vdupq_n_u8(0x30))
            };
            [
                vorrq_u8(even, high(2 * pair)),
                vorrq_u8(odd, high(2 * pair + 1)),
            ]
        }
    }

    #[inline(always)]
    unsafe fn scales(&self, block: usize, part: usize, quarter: usize) -> float32x4_t {
        // SAFETY: as the caller promises.
        unsafe {
            let scales = floats(&self.scales[block][part], quarter);
            vmulq_f32(scales, halves(&self.steps, quarter))
        }
    }

    #[inline(always)]
    unsafe fn mins(&self, _: usize, _: usize) -> Option<float32x4_t> {
        None
    }
}
