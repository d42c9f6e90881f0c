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
#[cfg(any(target_arch = "aarch64", test))]
mod neon;
mod parts;
mod portable;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Zmm;
pub(crate) use exponential::{exponential, logistic, power_of_two, tangent};
pub(crate) use parts::{Product, in_parts};
pub(crate) use portable::Portable;

use half::f16;

use crate::backend::Backend;

/// Floats that are worked on together.
pub(crate) const LANES: usize = 16;

/// Sixteen floats.
pub(crate) trait Lanes: Copy {
    /// Sixteen whole numbers of 32 bits.
    type Whole: Copy;

    /// Vectors that fit into registers beside a factor: sums, and what is multiplied.
    const HELD: usize;

    fn splat(value: f32) -> Self;
    fn load(values: &[f32; LANES]) -> Self;
    /// From half precision, as bits.
    fn load_half(bits: &[u16; LANES]) -> Self;
    /// From bfloat16, as bits: the upper half of a float.
    fn load_bfloat(bits: &[u16; LANES]) -> Self;
    fn store(self, values: &mut [f32; LANES]);
    /// To the nearest in half precision, halves to even, as bits.
    #[allow(clippy::inline_always)] // as `Computation` asks
    #[inline(always)]
    fn store_half(self, bits: &mut [u16; LANES]) {
        let mut values = [0.0; LANES];
        self.store(&mut values);
        *bits = values.map(|value| f16::from_f32(value).to_bits());
    }
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
    /// The magnitude of each number.
    #[allow(clippy::inline_always)] // as `Computation` asks
    #[inline(always)]
    fn magnitude(self) -> Self {
        self.maximum(Self::splat(0.0).subtract(self))
    }
    /// To the nearest integer, halves to even.
    fn round(self) -> Self;
    /// `2^self` for whole numbers from -126 to 127.
    fn power_of_two(self) -> Self;
    /// Zeros where it is no number.
    fn numbers(self) -> Self;
    /// Zeros where the magnitude is at least `least`, and the lanes where it is, the first one's bit the lowest. Of numbers.
    fn below(self, least: f32) -> (Self, u16);
    /// Whole numbers from -128 to 127 as bytes.
    fn store_bytes(self, bytes: &mut [i8; LANES]);
    /// To the nearest whole numbers of 16 bits, halves to even.
    fn store_shorts(self, shorts: &mut [i16; LANES]);
    /// Zeros.
    fn nothing() -> Self::Whole;
    /// To each sum the products of its pair and the factors. Nothing may be -32768 or go beyond 32 bits.
    fn add_pairs(sums: Self::Whole, pairs: &[[i16; 2]; LANES], factors: [i16; 2]) -> Self::Whole;
    /// Whole numbers as the nearest floats.
    fn from_whole(whole: Self::Whole) -> Self;
    /// The sum of all lanes: halves are added to each other until one is left.
    fn sum(self) -> f32;
    /// The largest lane, of numbers.
    fn largest(self) -> f32;
    /// The sums of four whose lanes are whole numbers, so that none is rounded in whatever order they are added.
    fn whole_sums(four: [Self; 4]) -> [f32; 4] {
        four.map(Self::sum)
    }
    /// The largest lane of each of four, of numbers.
    fn largest_of(four: [Self; 4]) -> [f32; 4] {
        four.map(Self::largest)
    }
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
        Backend::Avx512Vnni | Backend::Amx => avx512::run(computation),
        #[cfg(any(target_arch = "aarch64", test))]
        Backend::NeonDotprod | Backend::NeonI8mm => computation.run::<neon::Quads>(),
        _ => computation.run::<Portable>(),
    }
}

/// Numbers of half precision in a line of a cache.
pub(crate) const LINE_HALVES: usize = 32;

/// Asks for a line that will be loaded soon, to be in the nearest cache, where there is an instruction for it. Processors have
/// few places for what they wait for: it has to be asked for little by little, between other work.
#[allow(clippy::inline_always)] // part of the innermost loops
#[inline(always)]
pub(crate) fn fetch(line: &[u16; LINE_HALVES]) {
    #[cfg(target_arch = "x86_64")]
    avx2::fetch(line);
    #[cfg(not(target_arch = "x86_64"))]
    let _ = line;
}

/// Asks for a line that will be written soon, whatever lies there.
#[allow(clippy::inline_always)] // part of the innermost loops
#[inline(always)]
pub(crate) fn ask_to_write(at: *const f32) {
    #[cfg(target_arch = "x86_64")]
    avx2::ask_to_write(at);
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// Whole vectors of a slice, and what is left.
#[allow(clippy::inline_always)] // has to become part of the function that enables its instructions
#[inline(always)]
pub(crate) fn vectors(values: &[f32]) -> (&[[f32; LANES]], &[f32]) {
    values.as_chunks()
}

/// Vector `index` of a slice, filled up with zeros.
#[allow(clippy::inline_always)] // has to become part of the function that enables its instructions
#[inline(always)]
pub(crate) fn load<L: Lanes>(values: &[f32], index: usize) -> L {
    let (whole, rest) = values.as_chunks::<LANES>();
    if let Some(vector) = whole.get(index) {
        return L::load(vector);
    }
    let mut last = [0.0; LANES];
    if index == whole.len() {
        last[..rest.len()].copy_from_slice(rest);
    }
    L::load(&last)
}

/// Writes vector `index` of a slice, without what would lie behind its end.
#[allow(clippy::inline_always)] // has to become part of the function that enables its instructions
#[inline(always)]
pub(crate) fn store<L: Lanes>(vector: L, values: &mut [f32], index: usize) {
    let (whole, rest) = values.as_chunks_mut::<LANES>();
    if let Some(place) = whole.get_mut(index) {
        return vector.store(place);
    }
    let mut last = [0.0; LANES];
    vector.store(&mut last);
    rest.copy_from_slice(&last[..rest.len()]);
}

/// A slice in vectors, the last one filled up with zeros.
pub(crate) struct Padded<'a> {
    whole: &'a [[f32; LANES]],
    last: [f32; LANES],
}

impl<'a> Padded<'a> {
    #[allow(clippy::inline_always)] // as `Computation` asks
    #[inline(always)]
    pub(crate) fn new(values: &'a [f32]) -> Self {
        let (whole, rest) = vectors(values);
        let mut last = [0.0; LANES];
        last[..rest.len()].copy_from_slice(rest);
        Self { whole, last }
    }

    #[allow(clippy::inline_always)] // as `Computation` asks
    #[inline(always)]
    pub(crate) fn load<L: Lanes>(&self, index: usize) -> L {
        L::load(self.whole.get(index).unwrap_or(&self.last))
    }
}

/// The sum of the values.
#[allow(clippy::inline_always)] // as `Computation` asks
#[inline(always)]
pub(crate) fn total<L: Lanes>(values: &[f32]) -> f32 {
    let padded = Padded::new(values);
    let count = values.len().div_ceil(LANES);
    let mut sums = [L::splat(0.0); 2];
    for index in 0..count {
        let place = &mut sums[index % 2];
        *place = place.add(padded.load(index));
    }
    sums[0].add(sums[1]).sum()
}

/// The sum of the squared distances from a centre.
#[allow(clippy::inline_always)] // as `Computation` asks
#[inline(always)]
pub(crate) fn squares<L: Lanes>(values: &[f32], centre: f32) -> f32 {
    // What would pad the last vector is as far from the centre as zero: the rest is summed alone.
    let (vectors, rest) = vectors(values);
    let mut sums = [L::splat(0.0); 4];
    let (fours, others) = vectors.as_chunks::<4>();
    for four in fours {
        for (sum, vector) in sums.iter_mut().zip(four) {
            let distance = L::load(vector).subtract(L::splat(centre));
            *sum = distance.multiply_add(distance, *sum);
        }
    }
    for (sum, vector) in sums.iter_mut().zip(others) {
        let distance = L::load(vector).subtract(L::splat(centre));
        *sum = distance.multiply_add(distance, *sum);
    }
    let mut squares = sums[0].add(sums[1]).add(sums[2].add(sums[3])).sum();
    for value in rest {
        squares = (value - centre).mul_add(value - centre, squares);
    }
    squares
}

/// Writes numbers in half precision, to the nearest, halves to even, as bits; both are as long.
pub(crate) fn to_half(values: &[f32], bits: &mut [u16]) {
    run(Backend::best(), ToHalf { values, bits });
}

struct ToHalf<'a> {
    values: &'a [f32],
    bits: &'a mut [u16],
}

impl Computation for ToHalf<'_> {
    type Output = ();

    #[allow(clippy::inline_always)] // as `Computation` asks
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let (vectors, rest) = self.values.as_chunks();
        let (places, last) = self.bits.as_chunks_mut();
        for (vector, place) in vectors.iter().zip(places) {
            L::load(vector).store_half(place);
        }
        if !rest.is_empty() {
            let mut place = [0; LANES];
            load::<L>(rest, 0).store_half(&mut place);
            last.copy_from_slice(&place[..rest.len()]);
        }
    }
}
