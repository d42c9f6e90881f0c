//! Sixteen floats in one register of AVX-512.
//!
//! `unsafe` has one reason: the instructions, which the processor has, as [`run`] asserts before it
//! calls what uses them, and the back end that is chosen for it knows. Loads and stores are of arrays of the right size.
#![allow(unsafe_code)]
// Small operations have to become part of the function that enables their instructions.
#![allow(clippy::inline_always)]

#[allow(clippy::wildcard_imports)]
use std::arch::x86_64::*;

use super::{Computation, LANES, Lanes, avx2};
use crate::backend::has_avx512_vnni;

#[derive(Clone, Copy)]
pub(crate) struct Zmm(pub(crate) __m512);

/// Runs a computation with AVX-512.
pub(super) fn run<C: Computation>(computation: C) -> C::Output {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
    fn compiled<C: Computation>(computation: C) -> C::Output {
        computation.run::<Zmm>()
    }
    assert!(has_avx512_vnni());
    // SAFETY: the processor has them, as asserted.
    unsafe { compiled(computation) }
}

/// Each of four to one number, by an operation on 512 bits.
macro_rules! fold_four {
    ($four:expr, $wide:ident) => {
        unsafe {
            let [a, b, c, d] = $four;
            // Two quarters of each: of a and b, of c and d.
            let ab = $wide(
                _mm512_shuffle_f32x4::<0b01_00_01_00>(a.0, b.0),
                _mm512_shuffle_f32x4::<0b11_10_11_10>(a.0, b.0),
            );
            let cd = $wide(
                _mm512_shuffle_f32x4::<0b01_00_01_00>(c.0, d.0),
                _mm512_shuffle_f32x4::<0b11_10_11_10>(c.0, d.0),
            );
            // In each quarter: a and c in turn, or b and d; then one of both, twice.
            let acbd = $wide(_mm512_unpacklo_ps(ab, cd), _mm512_unpackhi_ps(ab, cd));
            let acbd = $wide(acbd, _mm512_permute_ps::<0b01_00_11_10>(acbd));
            let acbd = $wide(acbd, _mm512_shuffle_f32x4::<0b10_11_00_01>(acbd, acbd));
            let (ac, bd) = (
                _mm512_castps512_ps128(acbd),
                _mm512_extractf32x4_ps::<2>(acbd),
            );
            let mut values = [0.0; 4];
            _mm_storeu_ps(values.as_mut_ptr(), _mm_unpacklo_ps(ac, bd));
            values
        }
    };
}

// SAFETY of each block below: as the module says.
impl Lanes for Zmm {
    type Whole = __m512i;

    const HELD: usize = 30; // of 32 registers

    #[inline(always)]
    fn splat(value: f32) -> Self {
        Self(unsafe { _mm512_set1_ps(value) })
    }

    #[inline(always)]
    fn load(values: &[f32; LANES]) -> Self {
        Self(unsafe { _mm512_loadu_ps(values.as_ptr()) })
    }

    #[inline(always)]
    fn load_half(bits: &[u16; LANES]) -> Self {
        Self(unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(bits.as_ptr().cast())) })
    }

    #[inline(always)]
    fn store_half(self, bits: &mut [u16; LANES]) {
        unsafe {
            let halves =
                _mm512_cvtps_ph::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0);
            _mm256_storeu_si256(bits.as_mut_ptr().cast(), halves);
        }
    }

    #[inline(always)]
    fn load_bfloat(bits: &[u16; LANES]) -> Self {
        Self(unsafe {
            let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(bits.as_ptr().cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide))
        })
    }

    #[inline(always)]
    fn store(self, values: &mut [f32; LANES]) {
        unsafe { _mm512_storeu_ps(values.as_mut_ptr(), self.0) }
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(unsafe { _mm512_add_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn subtract(self, other: Self) -> Self {
        Self(unsafe { _mm512_sub_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn multiply(self, other: Self) -> Self {
        Self(unsafe { _mm512_mul_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn divide(self, other: Self) -> Self {
        Self(unsafe { _mm512_div_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn multiply_add(self, factor: Self, summand: Self) -> Self {
        Self(unsafe { _mm512_fmadd_ps(self.0, factor.0, summand.0) })
    }

    #[inline(always)]
    fn maximum(self, other: Self) -> Self {
        Self(unsafe { _mm512_max_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn minimum(self, other: Self) -> Self {
        Self(unsafe { _mm512_min_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn magnitude(self) -> Self {
        Self(unsafe { _mm512_abs_ps(self.0) })
    }

    #[inline(always)]
    fn round(self) -> Self {
        const NEAREST_EVEN: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
        Self(unsafe { _mm512_roundscale_ps::<NEAREST_EVEN>(self.0) })
    }

    #[inline(always)]
    fn power_of_two(self) -> Self {
        Self(unsafe {
            let exponents = _mm512_add_epi32(_mm512_cvtps_epi32(self.0), _mm512_set1_epi32(127));
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(exponents))
        })
    }

    #[inline(always)]
    fn numbers(self) -> Self {
        Self(unsafe {
            let is_number = _mm512_cmp_ps_mask::<_CMP_ORD_Q>(self.0, self.0);
            _mm512_maskz_mov_ps(is_number, self.0)
        })
    }

    #[inline(always)]
    fn below(self, least: f32) -> (Self, u16) {
        unsafe {
            let magnitudes = self.magnitude().0;
            let beyond = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(magnitudes, _mm512_set1_ps(least));
            (Self(_mm512_maskz_mov_ps(!beyond, self.0)), beyond)
        }
    }

    #[inline(always)]
    fn store_bytes(self, bytes: &mut [i8; LANES]) {
        unsafe {
            let packed = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(self.0));
            _mm_storeu_si128(bytes.as_mut_ptr().cast(), packed);
        }
    }

    #[inline(always)]
    fn store_shorts(self, shorts: &mut [i16; LANES]) {
        unsafe {
            let packed = _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(self.0));
            _mm256_storeu_si256(shorts.as_mut_ptr().cast(), packed);
        }
    }

    #[inline(always)]
    fn nothing() -> Self::Whole {
        unsafe { _mm512_setzero_si512() }
    }

    #[inline(always)]
    fn add_pairs(sums: Self::Whole, pairs: &[[i16; 2]; LANES], factors: [i16; 2]) -> Self::Whole {
        unsafe {
            let factors = _mm512_set1_epi32(avx2::both(factors));
            _mm512_dpwssd_epi32(sums, _mm512_loadu_si512(pairs.as_ptr().cast()), factors)
        }
    }

    #[inline(always)]
    fn from_whole(whole: Self::Whole) -> Self {
        Self(unsafe { _mm512_cvtepi32_ps(whole) })
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        unsafe {
            let [low, high] = halves(self.0);
            avx2::sum(_mm256_add_ps(low, high))
        }
    }

    #[inline(always)]
    fn largest(self) -> f32 {
        unsafe {
            let [low, high] = halves(self.0);
            avx2::largest(_mm256_max_ps(low, high))
        }
    }

    #[inline(always)]
    fn whole_sums(four: [Self; 4]) -> [f32; 4] {
        fold_four!(four, _mm512_add_ps)
    }

    #[inline(always)]
    fn largest_of(four: [Self; 4]) -> [f32; 4] {
        fold_four!(four, _mm512_max_ps)
    }
}

#[inline(always)]
unsafe fn halves(values: __m512) -> [__m256; 2] {
    unsafe {
        let high = _mm512_extractf64x4_pd::<1>(_mm512_castps_pd(values));
        [_mm512_castps512_ps256(values), _mm256_castpd_ps(high)]
    }
}
