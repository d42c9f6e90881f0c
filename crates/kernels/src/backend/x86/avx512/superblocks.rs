//! Loads of superblocks into registers of 512 bits.

use std::arch::x86_64::{
    __m512, __m512i, _mm_loadu_si128, _mm512_and_si512, _mm512_cvtepi8_epi32, _mm512_cvtepi32_ps,
    _mm512_cvtepu8_epi32, _mm512_loadu_si512, _mm512_mul_ps, _mm512_or_si512, _mm512_set1_epi8,
    _mm512_srli_epi16,
};

use super::{Load512, fives, halves, nibble_words, nibbles};
use crate::TILE_OUTPUTS;
use crate::tile::{FiveK, FourK, GROUP_BYTES, SixK, Tile};

/// Small integers as floats.
#[inline(always)]
unsafe fn floats(integers: &[u8; TILE_OUTPUTS]) -> __m512 {
    // SAFETY: 16 bytes are read from an array of 16.
    unsafe {
        let integers = _mm_loadu_si128(integers.as_ptr().cast());
        _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(integers))
    }
}

macro_rules! with_minima {
    () => {
        const HAS_MINS: bool = true;

        #[inline(always)]
        unsafe fn scales(&self, block: usize, _: usize) -> __m512 {
            debug_assert!(block < Self::BLOCKS);
            // SAFETY: block is below the array's length; the caller has AVX-512 F.
            unsafe {
                let scales = floats(self.scales.get_unchecked(block));
                _mm512_mul_ps(scales, halves(&self.steps))
            }
        }

        #[inline(always)]
        unsafe fn mins(&self, block: usize) -> Option<__m512> {
            debug_assert!(block < Self::BLOCKS);
            // SAFETY: block is below the array's length; the caller has AVX-512 F.
            unsafe {
                let mins = floats(self.mins.get_unchecked(block));
                Some(_mm512_mul_ps(mins, halves(&self.min_steps)))
            }
        }
    };
}

impl Load512 for FourK {
    // Taking it apart is little: a Zen 5 is as fast without at any number of rows, other processors gain a tenth with many.
    const SPREAD_ROWS: usize = 48;

    #[inline(always)]
    unsafe fn pair(&self, block: usize, pair: usize) -> [__m512i; 2] {
        debug_assert!(block < Self::BLOCKS);
        // SAFETY: block is below the array's length, the rest as the caller promises.
        unsafe { nibbles(self.codes.get_unchecked(block), pair) }
    }

    #[inline(always)]
    unsafe fn words(&self, block: usize, pair: usize) -> [__m512i; 4] {
        debug_assert!(block < Self::BLOCKS);
        // SAFETY: block is below the array's length, the rest as the caller promises.
        unsafe { nibble_words(self.codes.get_unchecked(block), pair) }
    }
    with_minima!();
}

impl Load512 for FiveK {
    const SPREAD_ROWS: usize = 16;

    #[inline(always)]
    unsafe fn pair(&self, block: usize, pair: usize) -> [__m512i; 2] {
        debug_assert!(block < Self::BLOCKS);
        // SAFETY: block is below the arrays' lengths, the rest as the caller promises.
        unsafe {
            let highs = self.highs.get_unchecked(block);
            fives(self.codes.get_unchecked(block), highs, pair)
        }
    }
    with_minima!();
}

impl Load512 for SixK {
    const HAS_MINS: bool = false;
    const SPREAD_ROWS: usize = 16;

    #[inline(always)]
    unsafe fn pair(&self, block: usize, pair: usize) -> [__m512i; 2] {
        debug_assert!(block < Self::BLOCKS && pair < 4);
        // SAFETY: block and half are below the arrays' lengths; group is below 3, so the 64 bytes end within 192; the
        // caller has AVX-512 BW.
        unsafe {
            let half = self.codes.get_unchecked(block).get_unchecked(pair / 2);
            let load =
                |group: usize| _mm512_loadu_si512(half.as_ptr().add(group * GROUP_BYTES).cast());
            let bits = |bytes, mask| _mm512_and_si512(bytes, _mm512_set1_epi8(mask));
            if pair.is_multiple_of(2) {
                return [bits(load(0), 63), bits(load(1), 63)];
            }
            let low = bits(_mm512_srli_epi16::<6>(load(0)), 3);
            let middle = bits(_mm512_srli_epi16::<4>(load(1)), 3 << 2);
            let high = bits(_mm512_srli_epi16::<2>(load(2)), 3 << 4);
            let last = _mm512_or_si512(_mm512_or_si512(low, middle), high);
            [bits(load(2), 63), last]
        }
    }

    #[inline(always)]
    unsafe fn scales(&self, block: usize, part: usize) -> __m512 {
        debug_assert!(block < Self::BLOCKS && part < Self::PARTS);
        // SAFETY: block and part are below the arrays' lengths; 16 bytes are read from an array of 16; the caller has
        // AVX-512 F.
        unsafe {
            let scales = self.scales.get_unchecked(block).get_unchecked(part);
            let scales = _mm512_cvtepi8_epi32(_mm_loadu_si128(scales.as_ptr().cast()));
            _mm512_mul_ps(_mm512_cvtepi32_ps(scales), halves(&self.steps))
        }
    }

    #[inline(always)]
    unsafe fn mins(&self, _: usize) -> Option<__m512> {
        None
    }
}
