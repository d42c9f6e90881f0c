//! Sixteen floats at once, on each set of instructions with the same bits.
//!
//! Every operation is one that IEEE 754 rounds in one way (a fused multiply-add, a maximum, a
//! conversion that is exact), so a computation written with them gives the same bits on each back end
//! as long as it does the same operations in the same order.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod exponential;
mod portable;

pub(crate) use exponential::{exponential, logistic, tangent};
pub(crate) use portable::Portable;

use crate::backend::Backend;

/// Floats that are worked on together.
pub(crate) const LANES: usize = 16;

/// Sixteen floats.
pub(crate) trait Lanes: Copy {
    fn splat(value: f32) -> Self;
    fn load(values: &[f32; LANES]) -> Self;
    /// From half precision, as bits.
    fn load_half(bits: &[u16; LANES]) -> Self;
    /// From bfloat16, as bits: the upper half of a float.
    fn load_bfloat(bits: &[u16; LANES]) -> Self;
    fn store(self, values: &mut [f32; LANES]);
    fn add(self, other: Self) -> Self;
    fn subtract(self, other: Self) -> Self;
    fn multiply(self, other: Self) -> Self;
    fn divide(self, other: Self) -> Self;
    /// `self * factor + summand`, rounded once.
    fn multiply_add(self, factor: Self, summand: Self) -> Self;
    /// The larger; `other` where either is no number.
    fn maximum(self, other: Self) -> Self;
    /// The smaller; `other` where either is no number.
    fn minimum(self, other: Self) -> Self;
    /// To the nearest integer, halves to even.
    fn round(self) -> Self;
    /// `2^self` for whole numbers from -126 to 127.
    fn power_of_two(self) -> Self;
}

/// A computation on lanes that [`run`] compiles for each set of instructions. Its `run` has to be
/// inlined, as all it calls.
pub(crate) trait Computation {
    type Output;
    fn run<L: Lanes>(self) -> Self::Output;
}

/// Runs a computation with the instructions of a back end.
pub(crate) fn run<C: Computation>(backend: Backend, computation: C) -> C::Output {
    match backend {
        #[cfg(target_arch = "x86_64")]
        Backend::Avx2 | Backend::AvxVnni => avx2::run(computation),
        #[cfg(target_arch = "x86_64")]
        Backend::Avx512Vnni => avx512::run(computation),
        _ => computation.run::<Portable>(),
    }
}

/// The sum of all lanes, always in the same order.
#[allow(clippy::inline_always)] // has to become part of the function that enables its instructions
#[inline(always)]
pub(crate) fn sum<L: Lanes>(lanes: L) -> f32 {
    let mut values = [0.0; LANES];
    lanes.store(&mut values);
    let mut width = LANES / 2;
    while width > 0 {
        for index in 0..width {
            values[index] += values[index + width];
        }
        width /= 2;
    }
    values[0]
}

/// The largest lane.
#[allow(clippy::inline_always)] // has to become part of the function that enables its instructions
#[inline(always)]
pub(crate) fn largest<L: Lanes>(lanes: L) -> f32 {
    let mut values = [0.0; LANES];
    lanes.store(&mut values);
    let mut width = LANES / 2;
    while width > 0 {
        for index in 0..width {
            values[index] = if values[index] > values[index + width] {
                values[index]
            } else {
                values[index + width]
            };
        }
        width /= 2;
    }
    values[0]
}

/// Whole vectors of a slice, and what is left.
#[allow(clippy::inline_always)] // has to become part of the function that enables its instructions
#[inline(always)]
pub(crate) fn vectors(values: &[f32]) -> (&[[f32; LANES]], &[f32]) {
    values.as_chunks()
}
