//! Loads of superblocks into registers of 256 bits.

use std::arch::x86_64::{
    __m256, __m256i, _mm_loadl_epi64, _mm256_and_si256, _mm256_cvtepi8_epi32, _mm256_cvtepi32_ps,
    _mm256_cvtepu8_epi32, _mm256_mul_ps, _mm256_or_si256, _mm256_set1_epi8, _mm256_srli_epi16,
};

use super::{LANES, Load256, fives, halves, load, nibbles};
use crate::TILE_OUTPUTS;
use crate::tile::{FiveK, FourK, GROUP_BYTES, SixK, Tile};

/// Small integers as floats.
#[inline(always)]
unsafe fn floats(integers: &[u8; TILE_OUTPUTS], half: usize) -> __m256 {
    debug_assert!(half < 2);
    // SAFETY: 8 bytes from offset 0 or 8 of an array of 16.
    unsafe {
        let integers = _mm_loadl_epi64(integers.as_ptr().add(half * LANES).cast());
        _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(integers))
    }
}

macro_rules! with_minima {
    () => {
        #[inline(always)]
        unsafe fn scales(&self, block: usize, _: usize, half: usize) -> __m256 {
            debug_assert!(block < Self::BLOCKS);
            // SAFETY: block is below the array's length, the rest as the caller promises.
            unsafe {
                let scales = floats(self.scales.get_unchecked(block), half);
                _mm256_mul_ps(scales, halves(&self.steps, half))
            }
        }

        #[inline(always)]
        unsafe fn mins(&self, block: usize, half: usize) -> Option<__m256> {
            debug_assert!(block < Self::BLOCKS);
            // SAFETY: block is below the array's length, the rest as the caller promises.
            unsafe {
                let mins = floats(self.mins.get_unchecked(block), half);
                Some(_mm256_mul_ps(mins, halves(&self.min_steps, half)))
            }
        }
    };
}

impl Load256 for FourK {
    #[inline(always)]
    unsafe fn pair(&self, block: usize, pair: usize, half: usize) -> [__m256i; 2] {
        debug_assert!(block < Self::BLOCKS);
        // SAFETY: block is below the array's length, the rest as the caller promises.
        unsafe { nibbles(self.codes.get_unchecked(block), pair, half) }
    }
    with_minima!();
}

impl Load256 for FiveK {
    #[inline(always)]
    unsafe fn pair(&self, block: usize, pair: usize, half: usize) -> [__m256i; 2] {
        debug_assert!(block < Self::BLOCKS);
        // SAFETY: block is below the arrays' lengths, the rest as the caller promises.
        unsafe {
            let highs = self.highs.get_unchecked(block);
            fives(self.codes.get_unchecked(block), highs, pair, half)
        }
    }
    with_minima!();
}

impl Load256 for SixK {
    #[inline(always)]
    unsafe fn pair(&self, block: usize, pair: usize, half: usize) -> [__m256i; 2] {
        debug_assert!(block < Self::BLOCKS && pair < 4);
        // SAFETY: block is below the array's length; group is below 3 and half below 2, so the loads end within 192
        // bytes; the caller has AVX2.
        unsafe {
            let codes = self.codes.get_unchecked(block).get_unchecked(pair / 2);
            let load = |group: usize| load(codes, group * GROUP_BYTES + half * 32);
            let bits = |bytes, mask| _mm256_and_si256(bytes, _mm256_set1_epi8(mask));
            if pair.is_multiple_of(2) {
                return [bits(load(0), 63), bits(load(1), 63)];
            }
            let low = bits(_mm256_srli_epi16::<6>(load(0)), 3);
            let middle = bits(_mm256_srli_epi16::<4>(load(1)), 3 << 2);
            let high = bits(_mm256_srli_epi16::<2>(load(2)), 3 << 4);
            let last = _mm256_or_si256(_mm256_or_si256(low, middle), high);
            [bits(load(2), 63), last]
        }
    }

    #[inline(always)]
    unsafe fn scales(&self, block: usize, part: usize, half: usize) -> __m256 {
        debug_assert!(block < Self::BLOCKS && part < Self::PARTS && half < 2);
        // SAFETY: block and part are below the arrays' lengths; 8 bytes from offset 0 or 8 of an array of 16; the
        // caller has AVX2.
        unsafe {
            let scales = self.scales.get_unchecked(block).get_unchecked(part);
            let scales = _mm_loadl_epi64(scales.as_ptr().add(half * LANES).cast());
            let scales = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(scales));
            _mm256_mul_ps(scales, halves(&self.steps, half))
        }
    }

    #[inline(always)]
    unsafe fn mins(&self, _: usize, _: usize) -> Option<__m256> {
        None
    }
}
