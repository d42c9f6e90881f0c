//! Sixteen floats in two registers of AVX2.
//!
//! `unsafe` has one reason: the instructions, which the processor has, as [`run`] asserts before it
//! calls what uses them. Loads and stores are of arrays of the right size.
#![allow(unsafe_code)]
// Small operations have to become part of the function that enables their instructions.
#![allow(clippy::inline_always)]

#[allow(clippy::wildcard_imports)]
use std::arch::x86_64::*;

use super::{Computation, LANES, LINE_HALVES, Lanes};
use crate::backend::has_avx2;

/// The lower and the upper eight.
#[derive(Clone, Copy)]
pub(crate) struct Ymm(__m256, __m256);

/// Runs a computation with AVX2.
pub(super) fn run<C: Computation>(computation: C) -> C::Output {
    #[target_feature(enable = "avx2,fma,f16c")]
    fn compiled<C: Computation>(computation: C) -> C::Output {
        computation.run::<Ymm>()
    }
    assert!(has_avx2());
    // SAFETY: the processor has them, as asserted.
    unsafe { compiled(computation) }
}

macro_rules! on_both {
    ($operation:ident, $($operand:ident),+) => {
        // SAFETY: as the module says.
        unsafe { Ymm($operation($($operand.0),+), $operation($($operand.1),+)) }
    };
}

/// Each of four to one number, by an operation on 256 bits and on 128.
macro_rules! fold_four {
    ($four:expr, $wide:ident, $narrow:ident) => {
        // SAFETY: as the module says.
        unsafe {
            let [a, b, c, d] = $four;
            let (a, b) = ($wide(a.0, a.1), $wide(b.0, b.1));
            let (c, d) = ($wide(c.0, c.1), $wide(d.0, d.1));
            // In each half of 128 bits: two of a and of b in turn, two of c and of d; then one of each.
            let ab = $wide(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
            let cd = $wide(_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
            let abcd = $wide(
                _mm256_shuffle_ps::<0b01_00_01_00>(ab, cd),
                _mm256_shuffle_ps::<0b11_10_11_10>(ab, cd),
            );
            let one = $narrow(_mm256_castps256_ps128(abcd), _mm256_extractf128_ps::<1>(abcd));
            let mut values = [0.0; 4];
            _mm_storeu_ps(values.as_mut_ptr(), one);
            values
        }
    };
}

// SAFETY of each block below: as the module says.
impl Lanes for Ymm {
    type Whole = (__m256i, __m256i);

    const HELD: usize = 7; // 14 of 16 registers

    #[inline(always)]
    fn splat(value: f32) -> Self {
        let half = unsafe { _mm256_set1_ps(value) };
        Self(half, half)
    }

    #[inline(always)]
    fn load(values: &[f32; LANES]) -> Self {
        unsafe {
            Self(
                _mm256_loadu_ps(values.as_ptr()),
                _mm256_loadu_ps(values.as_ptr().add(8)),
            )
        }
    }

    #[inline(always)]
    fn load_half(bits: &[u16; LANES]) -> Self {
        unsafe {
            Self(
                _mm256_cvtph_ps(_mm_loadu_si128(bits.as_ptr().cast())),
                _mm256_cvtph_ps(_mm_loadu_si128(bits.as_ptr().add(8).cast())),
            )
        }
    }

    #[inline(always)]
    fn store_half(self, bits: &mut [u16; LANES]) {
        unsafe {
            let first = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(self.0);
            let second = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(self.1);
            _mm_storeu_si128(bits.as_mut_ptr().cast(), first);
            _mm_storeu_si128(bits.as_mut_ptr().add(8).cast(), second);
        }
    }

    #[inline(always)]
    fn load_bfloat(bits: &[u16; LANES]) -> Self {
        #[inline(always)]
        unsafe fn half(bits: *const u16) -> __m256 {
            unsafe {
                let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(bits.cast()));
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide))
            }
        }
        unsafe { Self(half(bits.as_ptr()), half(bits.as_ptr().add(8))) }
    }

    #[inline(always)]
    fn store(self, values: &mut [f32; LANES]) {
        unsafe {
            _mm256_storeu_ps(values.as_mut_ptr(), self.0);
            _mm256_storeu_ps(values.as_mut_ptr().add(8), self.1);
        }
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        on_both!(_mm256_add_ps, self, other)
    }

    #[inline(always)]
    fn subtract(self, other: Self) -> Self {
        on_both!(_mm256_sub_ps, self, other)
    }

    #[inline(always)]
    fn multiply(self, other: Self) -> Self {
        on_both!(_mm256_mul_ps, self, other)
    }

    #[inline(always)]
    fn divide(self, other: Self) -> Self {
        on_both!(_mm256_div_ps, self, other)
    }

    #[inline(always)]
    fn multiply_add(self, factor: Self, summand: Self) -> Self {
        on_both!(_mm256_fmadd_ps, self, factor, summand)
    }

    #[inline(always)]
    fn maximum(self, other: Self) -> Self {
        on_both!(_mm256_max_ps, self, other)
    }

    #[inline(always)]
    fn minimum(self, other: Self) -> Self {
        on_both!(_mm256_min_ps, self, other)
    }

    #[inline(always)]
    fn magnitude(self) -> Self {
        let sign = Self::splat(-0.0);
        on_both!(_mm256_andnot_ps, sign, self)
    }

    #[inline(always)]
    fn round(self) -> Self {
        const NEAREST_EVEN: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
        unsafe {
            Self(
                _mm256_round_ps::<NEAREST_EVEN>(self.0),
                _mm256_round_ps::<NEAREST_EVEN>(self.1),
            )
        }
    }

    #[inline(always)]
    fn power_of_two(self) -> Self {
        #[inline(always)]
        unsafe fn half(values: __m256) -> __m256 {
            unsafe {
                let exponents =
                    _mm256_add_epi32(_mm256_cvtps_epi32(values), _mm256_set1_epi32(127));
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponents))
            }
        }
        unsafe { Self(half(self.0), half(self.1)) }
    }

    #[inline(always)]
    fn numbers(self) -> Self {
        #[inline(always)]
        unsafe fn half(values: __m256) -> __m256 {
            unsafe { _mm256_and_ps(values, _mm256_cmp_ps::<_CMP_ORD_Q>(values, values)) }
        }
        unsafe { Self(half(self.0), half(self.1)) }
    }

    #[inline(always)]
    fn below(self, least: f32) -> (Self, u16) {
        #[inline(always)]
        unsafe fn half(values: __m256, least: f32) -> (__m256, u16) {
            unsafe {
                let magnitudes = _mm256_andnot_ps(_mm256_set1_ps(-0.0), values);
                let beyond = _mm256_cmp_ps::<_CMP_GE_OQ>(magnitudes, _mm256_set1_ps(least));
                let lanes = _mm256_movemask_ps(beyond) as u16;
                (_mm256_andnot_ps(beyond, values), lanes)
            }
        }
        unsafe {
            let (low, low_lanes) = half(self.0, least);
            let (high, high_lanes) = half(self.1, least);
            (Self(low, high), low_lanes | high_lanes << 8)
        }
    }

    #[inline(always)]
    fn store_bytes(self, bytes: &mut [i8; LANES]) {
        unsafe {
            let (low, high) = (_mm256_cvtps_epi32(self.0), _mm256_cvtps_epi32(self.1));
            // Packing goes by halves of registers: low 0..4, high 0..4, low 4..8, high 4..8.
            let words = _mm256_packs_epi32(low, high);
            let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(words);
            let packed = _mm_packs_epi16(
                _mm256_castsi256_si128(words),
                _mm256_extracti128_si256::<1>(words),
            );
            _mm_storeu_si128(bytes.as_mut_ptr().cast(), packed);
        }
    }

    #[inline(always)]
    fn store_shorts(self, shorts: &mut [i16; LANES]) {
        unsafe {
            let (low, high) = (_mm256_cvtps_epi32(self.0), _mm256_cvtps_epi32(self.1));
            // As in `store_bytes`.
            let packed = _mm256_packs_epi32(low, high);
            let packed = _mm256_permute4x64_epi64::<0b11_01_10_00>(packed);
            _mm256_storeu_si256(shorts.as_mut_ptr().cast(), packed);
        }
    }

    #[inline(always)]
    fn nothing() -> Self::Whole {
        unsafe { (_mm256_setzero_si256(), _mm256_setzero_si256()) }
    }

    #[inline(always)]
    fn add_pairs(sums: Self::Whole, pairs: &[[i16; 2]; LANES], factors: [i16; 2]) -> Self::Whole {
        unsafe {
            let factors = _mm256_set1_epi32(both(factors));
            let half = |at: usize| _mm256_loadu_si256(pairs.as_ptr().add(at).cast());
            let products = |at| _mm256_madd_epi16(half(at), factors);
            (
                _mm256_add_epi32(sums.0, products(0)),
                _mm256_add_epi32(sums.1, products(LANES / 2)),
            )
        }
    }

    #[inline(always)]
    fn from_whole(whole: Self::Whole) -> Self {
        unsafe { Self(_mm256_cvtepi32_ps(whole.0), _mm256_cvtepi32_ps(whole.1)) }
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        unsafe { sum(_mm256_add_ps(self.0, self.1)) }
    }

    #[inline(always)]
    fn largest(self) -> f32 {
        unsafe { largest(_mm256_max_ps(self.0, self.1)) }
    }

    #[inline(always)]
    fn whole_sums(four: [Self; 4]) -> [f32; 4] {
        fold_four!(four, _mm256_add_ps, _mm_add_ps)
    }

    #[inline(always)]
    fn largest_of(four: [Self; 4]) -> [f32; 4] {
        fold_four!(four, _mm256_max_ps, _mm_max_ps)
    }
}

/// As [`super::fetch`].
#[inline(always)]
pub(super) fn fetch(line: &[u16; LINE_HALVES]) {
    // SAFETY: SSE, which every x86-64 has; no bytes are read.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
}

/// As [`super::ask_to_write`].
#[inline(always)]
pub(super) fn ask_to_write(at: *const f32) {
    // SAFETY: SSE, which every x86-64 has; no bytes are read: any address will do.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) };
}

/// Two numbers as one, the first in its lower half.
#[inline(always)]
pub(super) fn both([first, second]: [i16; 2]) -> i32 {
    i32::from(second) << 16 | i32::from(first as u16)
}

macro_rules! fold {
    ($values:expr, $operation:ident, $last:ident) => {
        unsafe {
            let (low, high) = (
                _mm256_castps256_ps128($values),
                _mm256_extractf128_ps::<1>($values),
            );
            let four = $operation(low, high);
            let two = $operation(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32($last(two, _mm_shuffle_ps::<1>(two, two)))
        }
    };
}

/// The sum of eight, as [`Lanes::sum`] goes on.
#[inline(always)]
pub(super) unsafe fn sum(values: __m256) -> f32 {
    fold!(values, _mm_add_ps, _mm_add_ss)
}

/// The largest of eight, as [`Lanes::largest`] goes on.
#[inline(always)]
pub(super) unsafe fn largest(values: __m256) -> f32 {
    fold!(values, _mm_max_ps, _mm_max_ss)
}
