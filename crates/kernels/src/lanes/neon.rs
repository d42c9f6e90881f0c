//! Sixteen floats in four registers of NEON, which every AArch64 has.
//!
//! `unsafe` has one reason: the instructions, which the target has. Loads and stores are of arrays of the right
//! size.
#![allow(unsafe_code)]
// Small operations have to become part of what uses them.
#![allow(clippy::inline_always)]

use std::array::from_fn;

use super::{LANES, Lanes, Portable};
#[allow(clippy::wildcard_imports)]
use crate::neon::*;

/// Four at a time.
#[derive(Clone, Copy)]
pub(crate) struct Quads([float32x4_t; 4]);

impl Quads {
    #[inline(always)]
    fn each(self, operation: impl Fn(float32x4_t) -> float32x4_t) -> Self {
        Self(from_fn(|quad| operation(self.0[quad])))
    }

    #[inline(always)]
    fn both(
        self,
        other: Self,
        operation: impl Fn(float32x4_t, float32x4_t) -> float32x4_t,
    ) -> Self {
        Self(from_fn(|quad| operation(self.0[quad], other.0[quad])))
    }

    /// The lower half with the upper one, until four are left.
    #[inline(always)]
    fn fold(self, operation: impl Fn(float32x4_t, float32x4_t) -> float32x4_t) -> [f32; 4] {
        let [first, second, third, fourth] = self.0;
        let mut values = [0.0; 4];
        let four = operation(operation(first, third), operation(second, fourth));
        // SAFETY: as the module says.
        unsafe { vst1q_f32(values.as_mut_ptr(), four) };
        values
    }
}

/// The left where it is larger. The instruction for maxima answers otherwise where there is no number.
#[inline(always)]
unsafe fn larger(left: float32x4_t, right: float32x4_t) -> float32x4_t {
    // SAFETY: as the module says.
    unsafe { vbslq_f32(vcgtq_f32(left, right), left, right) }
}

// SAFETY of each block below: as the module says.
impl Lanes for Quads {
    // What is whole is plain Rust, of which the compiler makes NEON's multiplications of halves.
    type Whole = <Portable as Lanes>::Whole;

    const HELD: usize = 7; // 28 of 32 registers

    #[inline(always)]
    fn splat(value: f32) -> Self {
        Self([unsafe { vdupq_n_f32(value) }; 4])
    }

    #[inline(always)]
    fn load(values: &[f32; LANES]) -> Self {
        let (quads, _) = values.as_chunks::<4>();
        Self(from_fn(|quad| unsafe { vld1q_f32(quads[quad].as_ptr()) }))
    }

    #[inline(always)]
    fn load_half(bits: &[u16; LANES]) -> Self {
        let (quads, _) = bits.as_chunks::<4>();
        Self(from_fn(|quad| unsafe {
            vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(quads[quad].as_ptr())))
        }))
    }

    #[inline(always)]
    fn load_bfloat(bits: &[u16; LANES]) -> Self {
        let (quads, _) = bits.as_chunks::<4>();
        Self(from_fn(|quad| unsafe {
            let wide = vmovl_u16(vld1_u16(quads[quad].as_ptr()));
            vreinterpretq_f32_u32(vshlq_n_u32::<16>(wide))
        }))
    }

    #[inline(always)]
    fn store(self, values: &mut [f32; LANES]) {
        let (quads, _) = values.as_chunks_mut::<4>();
        for (values, quad) in quads.iter_mut().zip(self.0) {
            unsafe { vst1q_f32(values.as_mut_ptr(), quad) };
        }
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.both(other, |a, b| unsafe { vaddq_f32(a, b) })
    }

    #[inline(always)]
    fn subtract(self, other: Self) -> Self {
        self.both(other, |a, b| unsafe { vsubq_f32(a, b) })
    }

    #[inline(always)]
    fn multiply(self, other: Self) -> Self {
        self.both(other, |a, b| unsafe { vmulq_f32(a, b) })
    }

    #[inline(always)]
    fn divide(self, other: Self) -> Self {
        self.both(other, |a, b| unsafe { vdivq_f32(a, b) })
    }

    #[inline(always)]
    fn multiply_add(self, factor: Self, summand: Self) -> Self {
        Self(from_fn(|quad| unsafe {
            vfmaq_f32(summand.0[quad], self.0[quad], factor.0[quad])
        }))
    }

    #[inline(always)]
    fn maximum(self, other: Self) -> Self {
        self.both(other, |a, b| unsafe { larger(a, b) })
    }

    #[inline(always)]
    fn minimum(self, other: Self) -> Self {
        self.both(other, |a, b| unsafe { vbslq_f32(vcltq_f32(a, b), a, b) })
    }

    #[inline(always)]
    fn round(self) -> Self {
        self.each(|values| unsafe { vrndnq_f32(values) })
    }

    #[inline(always)]
    fn power_of_two(self) -> Self {
        self.each(|values| unsafe {
            let exponents = vaddq_s32(vcvtq_s32_f32(values), vdupq_n_s32(127));
            vreinterpretq_f32_s32(vshlq_n_s32::<23>(exponents))
        })
    }

    #[inline(always)]
    fn numbers(self) -> Self {
        self.each(|values| unsafe {
            let is_number = vceqq_f32(values, values);
            vreinterpretq_f32_u32(vandq_u32(is_number, vreinterpretq_u32_f32(values)))
        })
    }

    #[inline(always)]
    fn below(self, least: f32) -> (Self, u16) {
        let mut values = [0.0; LANES];
        self.store(&mut values);
        let (below, others) = Portable::load(&values).below(least);
        below.store(&mut values);
        (Self::load(&values), others)
    }

    #[inline(always)]
    fn store_bytes(self, bytes: &mut [i8; LANES]) {
        let words = self
            .0
            .map(|values| unsafe { vqmovn_s32(vcvtq_s32_f32(values)) });
        let [first, second, third, fourth] = words;
        unsafe {
            let low = vqmovn_s16(vcombine_s16(first, second));
            let high = vqmovn_s16(vcombine_s16(third, fourth));
            vst1q_s8(bytes.as_mut_ptr(), vcombine_s8(low, high));
        }
    }

    #[inline(always)]
    fn store_shorts(self, shorts: &mut [i16; LANES]) {
        let mut values = [0.0; LANES];
        self.round().store(&mut values);
        *shorts = values.map(|value| value as i16);
    }

    #[inline(always)]
    fn nothing() -> Self::Whole {
        Portable::nothing()
    }

    #[inline(always)]
    fn add_pairs(sums: Self::Whole, pairs: &[[i16; 2]; LANES], factors: [i16; 2]) -> Self::Whole {
        Portable::add_pairs(sums, pairs, factors)
    }

    #[inline(always)]
    fn from_whole(whole: Self::Whole) -> Self {
        Self::load(&whole.map(|number| number as f32))
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        let [a, b, c, d] = self.fold(|low, high| unsafe { vaddq_f32(low, high) });
        (a + c) + (b + d)
    }

    #[inline(always)]
    fn largest(self) -> f32 {
        let larger_of = |a, b| if a > b { a } else { b };
        let [a, b, c, d] = self.fold(|low, high| unsafe { larger(low, high) });
        larger_of(larger_of(a, c), larger_of(b, d))
    }
}
