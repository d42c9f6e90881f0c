//! Loads of superblocks into registers of 128 bits.

use std::array::from_fn;

use super::loops::{LANES, Load128, QUARTER_BYTES, fives, halves, load, nibbles};
use crate::TILE_OUTPUTS;
use crate::neon::{
    float32x4_t, uint8x16_t, vandq_u8, vdupq_n_u8, vld1q_f32, vmulq_f32, vorrq_u8, vshrq_n_u8,
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
        let codes = &self.codes[block][pair / 2];
        // SAFETY: group is below 3 and quarter below 4: the loads end within 192 bytes; the caller has NEON.
        unsafe {
            let load = |group: usize| load(codes, group * GROUP_BYTES + quarter * QUARTER_BYTES);
            let bits = |bytes, mask| vandq_u8(bytes, vdupq_n_u8(mask));
            if pair.is_multiple_of(2) {
                return [bits(load(0), 63), bits(load(1), 63)];
            }
            let low = vshrq_n_u8::<6>(load(0));
            let middle = bits(vshrq_n_u8::<4>(load(1)), 3 << 2);
            let high = bits(vshrq_n_u8::<2>(load(2)), 3 << 4);
            let last = vorrq_u8(vorrq_u8(low, middle), high);
            [bits(load(2), 63), last]
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
