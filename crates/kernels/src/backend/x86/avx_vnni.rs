//! AVX-VNNI: the dot products of AVX-512 VNNI in 256-bit registers, for processors that have no AVX-512
//! (Intel's from the 12th generation of Core on).

use std::arch::x86_64::{__m256i, _mm256_dpbusd_avx_epi32, _mm256_setzero_si256};

use super::avx2::{Load256, Multiply, half_sums, two_groups};
use crate::backend::{Rows, Sums};
use crate::tile::{GROUPS, Tile};

pub(crate) struct AvxVnni;

impl Multiply for AvxVnni {
    #[inline(always)]
    fn taken<T: Tile>() -> i32 {
        0
    }

    #[inline(always)]
    unsafe fn dots<T: Load256, const R: usize>(
        (tile, half): (&T, usize),
        inputs: &[i8],
        (block, blocks, part): (usize, usize, usize),
    ) -> [__m256i; R] {
        let pairs = GROUPS / 2 / T::PARTS;
        // SAFETY: as the caller promises; it has AVX-VNNI.
        unsafe {
            let mut dots = [_mm256_setzero_si256(); R];
            for pair in part * pairs..(part + 1) * pairs {
                let codes = tile.pair(block % T::BLOCKS, pair, half);
                for (row, dot) in dots.iter_mut().enumerate() {
                    let inputs = two_groups(inputs, (row * blocks + block, pair));
                    *dot = _mm256_dpbusd_avx_epi32(*dot, codes[0], inputs[0]);
                    *dot = _mm256_dpbusd_avx_epi32(*dot, codes[1], inputs[1]);
                }
            }
            dots
        }
    }

    #[target_feature(enable = "avx2,fma,f16c,avxvnni")]
    unsafe fn half_sums<T: Load256, const R: usize, const P: usize>(
        tiles: &[T],
        rows: &Rows<'_>,
        at: (usize, usize),
        out: &mut Sums<R, P>,
    ) {
        // SAFETY: as the caller promises.
        unsafe { half_sums::<Self, T, R, P>(tiles, rows, at, out) }
    }
}
