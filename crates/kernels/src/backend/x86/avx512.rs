//! AVX-512 VNNI: one instruction multiplies a group's 64 codes and adds them up for 16 outputs.

use std::arch::x86_64::{
    __m512, __m512i, _MM_HINT_T0, _mm_prefetch, _mm256_loadu_si256, _mm512_add_epi32,
    _mm512_and_si512, _mm512_cvtepi32_ps, _mm512_cvtph_ps, _mm512_dpbusd_epi32, _mm512_fmadd_ps,
    _mm512_loadu_si512, _mm512_mask_add_epi8, _mm512_mul_ps, _mm512_set1_epi8, _mm512_set1_epi32,
    _mm512_set1_ps, _mm512_setzero_ps, _mm512_setzero_si512, _mm512_srli_epi16, _mm512_storeu_ps,
    _mm512_test_epi8_mask,
};

use half::f16;

use super::{Rows, assert_bounds};
use crate::backend::Arithmetic;
use crate::tile::{Eight, FiveMin, Four, FourMin, GROUP_BYTES, GROUPS, Tile};
use crate::{BLOCK_INPUTS, TILE_OUTPUTS};

/// Bytes ahead of the tile in use that are asked for early when few rows share a weight: the weights
/// then stream from memory, and the processor's own prefetcher stops at each page.
const PREFETCH_AHEAD_BYTES: usize = 4096;

/// Loads of a tile. Two groups at once, because four-bit codes hold two in a byte.
pub(crate) trait Load512: Tile {
    /// The codes of groups `2 * pair` and `2 * pair + 1`; `pair` is below 4.
    unsafe fn pair(&self, pair: usize) -> [__m512i; 2];
    unsafe fn scales(&self) -> __m512;
    /// `None` for layouts without minima.
    unsafe fn mins(&self) -> Option<__m512>;
}

#[inline(always)]
unsafe fn halves(values: &[f16; TILE_OUTPUTS]) -> __m512 {
    // SAFETY: 32 bytes are read from an array of 32 bytes.
    unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(values.as_ptr().cast())) }
}

#[inline(always)]
unsafe fn nibbles(codes: &[u8; GROUP_BYTES * GROUPS / 2], pair: usize) -> [__m512i; 2] {
    debug_assert!(pair < GROUPS / 2);
    // SAFETY: pair is below 4, so the 64 bytes end within the array's 256.
    let bytes = unsafe { _mm512_loadu_si512(codes.as_ptr().add(pair * GROUP_BYTES).cast()) };
    // SAFETY: the caller has AVX-512 BW.
    unsafe {
        let low = _mm512_set1_epi8(15);
        [
            _mm512_and_si512(bytes, low),
            _mm512_and_si512(_mm512_srli_epi16::<4>(bytes), low),
        ]
    }
}

macro_rules! halves_of {
    () => {
        #[inline(always)]
        unsafe fn scales(&self) -> __m512 {
            // SAFETY: the caller has AVX-512 F.
            unsafe { halves(&self.scales) }
        }
    };
}

macro_rules! mins_of {
    () => {
        #[inline(always)]
        unsafe fn mins(&self) -> Option<__m512> {
            // SAFETY: the caller has AVX-512 F.
            Some(unsafe { halves(&self.mins) })
        }
    };
}

macro_rules! no_mins {
    () => {
        #[inline(always)]
        unsafe fn mins(&self) -> Option<__m512> {
            None
        }
    };
}

macro_rules! four_bits {
    () => {
        #[inline(always)]
        unsafe fn pair(&self, pair: usize) -> [__m512i; 2] {
            // SAFETY: as the caller promises.
            unsafe { nibbles(&self.codes, pair) }
        }
    };
}

impl Load512 for Four {
    four_bits!();
    halves_of!();
    no_mins!();
}

impl Load512 for FourMin {
    four_bits!();
    halves_of!();
    mins_of!();
}

impl Load512 for FiveMin {
    #[inline(always)]
    unsafe fn pair(&self, pair: usize) -> [__m512i; 2] {
        // SAFETY: 64 bytes are read from an array of 64; pair is below 4; the caller has AVX-512 BW.
        unsafe {
            let highs = _mm512_loadu_si512(self.highs.as_ptr().cast());
            let [even, odd] = nibbles(&self.codes, pair);
            let bit = |group: usize| {
                _mm512_test_epi8_mask(highs, _mm512_set1_epi8((1_u8 << group) as i8))
            };
            let sixteen = _mm512_set1_epi8(16);
            [
                _mm512_mask_add_epi8(even, bit(2 * pair), even, sixteen),
                _mm512_mask_add_epi8(odd, bit(2 * pair + 1), odd, sixteen),
            ]
        }
    }
    halves_of!();
    mins_of!();
}

impl Load512 for Eight {
    #[inline(always)]
    unsafe fn pair(&self, pair: usize) -> [__m512i; 2] {
        debug_assert!(pair < GROUPS / 2);
        // SAFETY: pair is below 4, so both loads end within the array's 512 bytes.
        unsafe {
            let first = self.codes.as_ptr().add(2 * pair * GROUP_BYTES);
            [
                _mm512_loadu_si512(first.cast()),
                _mm512_loadu_si512(first.add(GROUP_BYTES).cast()),
            ]
        }
    }
    halves_of!();
    no_mins!();
}

pub(crate) struct Avx512Vnni;

impl<T: Load512> Arithmetic<T> for Avx512Vnni {
    #[inline]
    fn sums<const R: usize, const P: usize>(
        tiles: &[T],
        rows: &Rows<'_>,
    ) -> [[[f32; TILE_OUTPUTS]; P]; R] {
        assert_bounds(tiles, rows, R, P);
        // SAFETY: the bounds were asserted; Backend chose this because the processor has it.
        unsafe { sums::<T, R, P>(tiles, rows) }
    }
}

/// Four codes of a row in every lane.
#[inline(always)]
unsafe fn broadcast(codes: &[i8], at: usize) -> __m512i {
    debug_assert!(at + 4 <= codes.len());
    // SAFETY: `at + 4` is within the codes of a row, as asserted at the start of `sums`.
    unsafe { _mm512_set1_epi32(codes.as_ptr().add(at).cast::<i32>().read_unaligned()) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,f16c")]
unsafe fn sums<T: Load512, const R: usize, const P: usize>(
    tiles: &[T],
    rows: &Rows<'_>,
) -> [[[f32; TILE_OUTPUTS]; P]; R] {
    let mut acc = [[_mm512_setzero_ps(); P]; R];
    for block in 0..rows.blocks {
        // Two chains of additions a row and panel hide the latency of one.
        let mut even = [[_mm512_setzero_si512(); P]; R];
        let mut odd = even;
        // SAFETY (the whole block): tile and row indices are below the bounds asserted by `sums`'s
        // caller: block < blocks, panel < P, row < R.
        unsafe {
            for pair in 0..GROUPS / 2 {
                let mut codes = [[_mm512_setzero_si512(); 2]; P];
                for (panel, codes) in codes.iter_mut().enumerate() {
                    let tile = tiles.get_unchecked(panel * rows.stride + block);
                    if R <= 2 {
                        let at = (&raw const *tile).cast::<i8>();
                        let ahead = PREFETCH_AHEAD_BYTES + pair * GROUP_BYTES;
                        _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(ahead));
                    }
                    *codes = tile.pair(pair);
                }
                for row in 0..R {
                    let at = (row * rows.blocks + block) * BLOCK_INPUTS + pair * 8;
                    let first = broadcast(rows.codes, at);
                    let second = broadcast(rows.codes, at + 4);
                    for panel in 0..P {
                        even[row][panel] =
                            _mm512_dpbusd_epi32(even[row][panel], codes[panel][0], first);
                        if R * P > 8 {
                            even[row][panel] =
                                _mm512_dpbusd_epi32(even[row][panel], codes[panel][1], second);
                        } else {
                            odd[row][panel] =
                                _mm512_dpbusd_epi32(odd[row][panel], codes[panel][1], second);
                        }
                    }
                }
            }
            for panel in 0..P {
                let tile = tiles.get_unchecked(panel * rows.stride + block);
                let scales = tile.scales();
                let mins = tile.mins();
                for row in 0..R {
                    let index = row * rows.blocks + block;
                    let scale = *rows.scales.get_unchecked(index);
                    let sum = *rows.sums.get_unchecked(index);
                    if let Some(mins) = mins {
                        let whole = _mm512_set1_ps(sum as f32 * scale);
                        acc[row][panel] = _mm512_fmadd_ps(mins, whole, acc[row][panel]);
                    }
                    let offset = _mm512_set1_epi32(-T::OFFSET * sum);
                    let dot = _mm512_add_epi32(even[row][panel], odd[row][panel]);
                    let dot = _mm512_cvtepi32_ps(_mm512_add_epi32(dot, offset));
                    let scale = _mm512_mul_ps(scales, _mm512_set1_ps(scale));
                    acc[row][panel] = _mm512_fmadd_ps(dot, scale, acc[row][panel]);
                }
            }
        }
    }
    let mut out = [[[0.0; TILE_OUTPUTS]; P]; R];
    for row in 0..R {
        for panel in 0..P {
            // SAFETY: 16 floats are written to an array of 16.
            unsafe { _mm512_storeu_ps(out[row][panel].as_mut_ptr(), acc[row][panel]) };
        }
    }
    out
}
