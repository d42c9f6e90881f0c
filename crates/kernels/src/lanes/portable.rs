//! Plain Rust, for any processor, and the reference of the others.

use half::f16;

use super::{LANES, Lanes};

/// Sixteen floats as they are.
#[derive(Clone, Copy)]
pub(crate) struct Portable([f32; LANES]);

impl Portable {
    fn each(self, other: Self, operation: impl Fn(f32, f32) -> f32) -> Self {
        Self(std::array::from_fn(|lane| {
            operation(self.0[lane], other.0[lane])
        }))
    }

    /// The lower half with the upper one, until one is left.
    fn fold(mut self, operation: impl Fn(f32, f32) -> f32) -> f32 {
        let mut width = LANES / 2;
        while width > 0 {
            for lane in 0..width {
                self.0[lane] = operation(self.0[lane], self.0[lane + width]);
            }
            width /= 2;
        }
        self.0[0]
    }
}

impl Lanes for Portable {
    type Whole = [i32; LANES];

    const HELD: usize = 30; // in memory, mostly

    fn splat(value: f32) -> Self {
        Self([value; LANES])
    }

    fn load(values: &[f32; LANES]) -> Self {
        Self(*values)
    }

    fn load_half(bits: &[u16; LANES]) -> Self {
        Self(bits.map(|bits| f16::from_bits(bits).to_f32()))
    }

    fn load_bfloat(bits: &[u16; LANES]) -> Self {
        Self(bits.map(|bits| f32::from_bits(u32::from(bits) << 16)))
    }

    fn store(self, values: &mut [f32; LANES]) {
        *values = self.0;
    }

    fn add(self, other: Self) -> Self {
        self.each(other, |a, b| a + b)
    }

    fn subtract(self, other: Self) -> Self {
        self.each(other, |a, b| a - b)
    }

    fn multiply(self, other: Self) -> Self {
        self.each(other, |a, b| a * b)
    }

    fn divide(self, other: Self) -> Self {
        self.each(other, |a, b| a / b)
    }

    fn multiply_add(self, factor: Self, summand: Self) -> Self {
        Self(std::array::from_fn(|lane| {
            self.0[lane].mul_add(factor.0[lane], summand.0[lane])
        }))
    }

    fn maximum(self, other: Self) -> Self {
        self.each(other, |a, b| if a > b { a } else { b })
    }

    fn minimum(self, other: Self) -> Self {
        self.each(other, |a, b| if a < b { a } else { b })
    }

    fn round(self) -> Self {
        Self(self.0.map(f32::round_ties_even))
    }

    fn power_of_two(self) -> Self {
        // The exponent's field of a float, without sign and fraction (IEEE 754).
        Self(
            self.0
                .map(|value| f32::from_bits(((value as i32 + 127) as u32) << 23)),
        )
    }

    fn numbers(self) -> Self {
        Self(self.0.map(|value| if value.is_nan() { 0.0 } else { value }))
    }

    fn below(mut self, least: f32) -> (Self, u16) {
        let mut others = 0;
        for (lane, value) in self.0.iter_mut().enumerate() {
            if value.abs() >= least {
                others |= 1 << lane;
                *value = 0.0;
            }
        }
        (self, others)
    }

    fn store_bytes(self, bytes: &mut [i8; LANES]) {
        for (byte, value) in bytes.iter_mut().zip(self.0) {
            *byte = value as i8;
        }
    }

    fn store_shorts(self, shorts: &mut [i16; LANES]) {
        *shorts = self.0.map(|value| value.round_ties_even() as i16);
    }

    fn nothing() -> Self::Whole {
        [0; LANES]
    }

    fn add_pairs(sums: Self::Whole, pairs: &[[i16; 2]; LANES], factors: [i16; 2]) -> Self::Whole {
        let [first, second] = factors.map(i32::from);
        std::array::from_fn(|lane| {
            let [left, right] = pairs[lane].map(i32::from);
            sums[lane] + left * first + right * second
        })
    }

    fn from_whole(whole: Self::Whole) -> Self {
        Self(whole.map(|number| number as f32))
    }

    fn sum(self) -> f32 {
        self.fold(|low, high| low + high)
    }

    fn largest(self) -> f32 {
        self.fold(|low, high| if low > high { low } else { high })
    }
}
