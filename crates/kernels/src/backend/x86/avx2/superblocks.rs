//! Loads of superblocks into registers of 256 bits.

use std::arch::x86_64::{
    __m256, __m256i, _mm_loadl_epi64, _mm256_and_si256, _mm256_cvtepi8_epi32, _mm256_cvtepi32_ps,
    _mm256_cvtepu8_epi32, _mm256_mul_ps, _mm256_or_si256, _mm256_set1_epi8, _mm256_slli_epi16,
    _mm256_srli_epi16,
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
        debug_assert!(block < Self::BLOCKS);
        // SAFETY: block is below the arrays' lengths; pair is below 4 and half below 2: the loads end within 256 and
        // 128 bytes; the caller has AVX2.
        unsafe {
            let highs = self.highs.get_unchecked(block);
            let highs = load(highs, pair / 2 * GROUP_BYTES + half * 32);
            let highs = if pair % 2 == 0 {
                highs
            } else {
                _mm256_srli_epi16::<4>(highs)
            };
            let [even, odd] = nibbles(self.codes.get_unchecked(block), pair, half);
            let mask = _mm256_set1_epi8(0x30);
            let even_high = _mm256_and_si256(_mm256_slli_epi16::<4>(highs), mask);
            let odd_high = _mm256_and_si256(_mm256_slli_epi16::<2>(highs), mask);
            [
                _mm256_or_si256(even, even_high),
                _mm256_or_si256(odd, odd_high),
            ]
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
