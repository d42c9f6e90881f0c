//! AVX-VNNI: the dot products of AVX-512 VNNI in 256-bit registers, for processors that have no AVX-512
//! (Intel's from the 12th generation of Core on). Tiles are loaded as for AVX2.

use std::arch::x86_64::{
    __m256i, _mm256_add_epi32, _mm256_cvtepi32_ps, _mm256_dpbusd_avx_epi32, _mm256_fmadd_ps,
    _mm256_mul_ps, _mm256_set1_epi8, _mm256_set1_epi32, _mm256_set1_ps, _mm256_setzero_ps,
    _mm256_setzero_si256, _mm256_slli_epi32, _mm256_storeu_ps, _mm256_xor_si256,
};

use super::avx2::{LANES, Load256};
use super::{Rows, assert_bounds};
use crate::activations::FIRST;
use crate::backend::Arithmetic;
use crate::tile::GROUPS;
use crate::{BLOCK_INPUTS, TILE_OUTPUTS};

pub(crate) struct AvxVnni;

impl<T: Load256> Arithmetic<T> for AvxVnni {
    #[inline]
    fn sums<const R: usize, const P: usize>(
        tiles: &[T],
        rows: &Rows<'_>,
    ) -> [[[f32; TILE_OUTPUTS]; P]; R] {
        assert_bounds(tiles, rows, R, P);
        let mut out = [[[0.0; TILE_OUTPUTS]; P]; R];
        for panel in 0..P {
            let tiles = &tiles[panel * rows.blocks..][..rows.blocks];
            for half in 0..2 {
                // SAFETY: the bounds were asserted; Backend chose this because the processor has it.
                let sums = unsafe { half_sums::<T, R>(tiles, rows, half) };
                for (row, sums) in sums.iter().enumerate() {
                    out[row][panel][half * LANES..][..LANES].copy_from_slice(sums);
                }
            }
        }
        out
    }
}

/// Codes without what [`Load256::TAKEN`] took from them: all are unsigned.
#[inline(always)]
unsafe fn unsigned<T: Load256>(codes: __m256i) -> __m256i {
    if T::TAKEN == 0 {
        return codes;
    }
    // SAFETY: the caller has AVX2.
    unsafe { _mm256_xor_si256(codes, _mm256_set1_epi8(-128)) }
}

/// Adds the dot products of `inputs` with a block.
#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
#[inline]
unsafe fn add_dots<T: Load256, const R: usize>(
    dots: &mut [__m256i; R],
    (tile, half): (&T, usize),
    inputs: &[i8],
    (block, blocks): (usize, usize),
) {
    // SAFETY: row < R and block < blocks, within the bounds that the caller of `half_sums` asserted.
    unsafe {
        for pair in 0..GROUPS / 2 {
            let [even, odd] = tile.pair(pair, half);
            let (even, odd) = (unsigned::<T>(even), unsigned::<T>(odd));
            for (row, sum) in dots.iter_mut().enumerate() {
                let at = (row * blocks + block) * BLOCK_INPUTS + pair * 8;
                let inputs = inputs.as_ptr().add(at).cast::<i32>();
                let first = _mm256_set1_epi32(inputs.read_unaligned());
                let second = _mm256_set1_epi32(inputs.add(1).read_unaligned());
                *sum = _mm256_dpbusd_avx_epi32(*sum, even, first);
                *sum = _mm256_dpbusd_avx_epi32(*sum, odd, second);
            }
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
unsafe fn half_sums<T: Load256, const R: usize>(
    tiles: &[T],
    rows: &Rows<'_>,
    half: usize,
) -> [[f32; LANES]; R] {
    let mut acc = [_mm256_setzero_ps(); R];
    let mut seconds = 0;
    for (block, tile) in tiles.iter().enumerate() {
        let bit = block % u64::BITS as usize;
        if bit == 0 {
            seconds = rows.seconds(0..R, block / u64::BITS as usize);
        }
        let mut dots = [_mm256_setzero_si256(); R];
        // SAFETY (the whole block): row < R and block < blocks, within the bounds that the caller
        // asserted.
        unsafe {
            add_dots(&mut dots, (tile, half), rows.codes, (block, rows.blocks));
            let has_second = seconds >> bit & 1 != 0;
            if has_second {
                for dots in &mut dots {
                    *dots = _mm256_slli_epi32::<{ FIRST.ilog2() as i32 }>(*dots);
                }
                // Rows without second bytes have zeros there.
                add_dots(&mut dots, (tile, half), rows.lows, (block, rows.blocks));
            }
            // Sums of rows without second bytes are multiples of `FIRST`.
            let (unit, shift) = if has_second {
                (1, 0)
            } else {
                (FIRST, FIRST.ilog2())
            };
            let units = _mm256_mul_ps(tile.scales(half), _mm256_set1_ps(unit as f32));
            let mins = tile.mins(half);
            for row in 0..R {
                let index = row * rows.blocks + block;
                let step = *rows.steps.get_unchecked(index);
                let sum = *rows.sums.get_unchecked(index);
                if let Some(mins) = mins {
                    let total = _mm256_set1_ps(*rows.totals.get_unchecked(index));
                    acc[row] = _mm256_fmadd_ps(mins, total, acc[row]);
                }
                let offset = _mm256_set1_epi32(-T::OFFSET * (sum >> shift));
                let dot = _mm256_cvtepi32_ps(_mm256_add_epi32(dots[row], offset));
                let scale = _mm256_mul_ps(units, _mm256_set1_ps(step));
                acc[row] = _mm256_fmadd_ps(dot, scale, acc[row]);
            }
        }
    }
    let mut out = [[0.0; LANES]; R];
    for (values, acc) in out.iter_mut().zip(acc) {
        // SAFETY: 8 floats are written to an array of 8.
        unsafe { _mm256_storeu_ps(values.as_mut_ptr(), acc) };
    }
    out
}
