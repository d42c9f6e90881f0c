//! AVX-VNNI: the dot products of AVX-512 VNNI in 256-bit registers, for processors that have no AVX-512
//! (Intel's from the 12th generation of Core on).

use std::arch::x86_64::{__m256i, _mm256_dpbusd_avx_epi32};

use super::avx2::{LANES, Load256, Multiply, half_sums};
use crate::backend::Rows;
use crate::tile::Tile;

pub(crate) struct AvxVnni;

impl Multiply for AvxVnni {
    #[inline(always)]
    unsafe fn prepared<T: Tile>(codes: __m256i) -> __m256i {
        codes
    }

    #[inline(always)]
    fn taken<T: Tile>() -> i32 {
        0
    }

    #[inline(always)]
    unsafe fn add<T: Tile>(sums: __m256i, codes: __m256i, inputs: __m256i) -> __m256i {
        // SAFETY: the caller has AVX-VNNI.
        unsafe { _mm256_dpbusd_avx_epi32(sums, codes, inputs) }
    }

    #[target_feature(enable = "avx2,fma,f16c,avxvnni")]
    unsafe fn half_sums<T: Load256, const R: usize>(
        tiles: &[T],
        rows: &Rows<'_>,
        half: usize,
    ) -> [[f32; LANES]; R] {
        // SAFETY: as the caller promises.
        unsafe { half_sums::<Self, T, R>(tiles, rows, half) }
    }
}
