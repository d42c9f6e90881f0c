//! Normal noise by a counter: the same seed gives the same numbers on every machine and device.

use std::f64::consts::TAU;
use std::hash::{BuildHasher, Hasher, RandomState};

use candle_core::{Device, Result, Tensor};

/// Steele, Lea and Flood 2014.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// A stream of normal numbers.
#[derive(Debug, Clone)]
pub struct Normals {
    seed: u64,
    drawn: u64,
}

impl Normals {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Self {
        Self { seed, drawn: 0 }
    }

    /// A stream that nobody asked for by its seed.
    pub fn any() -> Self {
        Self::new(RandomState::new().build_hasher().finish())
    }

    /// The next numbers in a shape.
    pub fn tensor(&mut self, shape: &[usize], device: &Device) -> Result<Tensor> {
        let count: usize = shape.iter().product();
        let mut numbers = Vec::with_capacity(count + 1);
        while numbers.len() < count {
            // Box and Muller 1958, on numbers of 53 bits; the first is never 0.
            let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
            let (sine, cosine) = (TAU * self.uniform()).sin_cos();
            numbers.push((radius * cosine) as f32);
            numbers.push((radius * sine) as f32);
        }
        numbers.truncate(count);
        Tensor::from_vec(numbers, shape, device)
    }

    /// From 0 to below 1.
    fn uniform(&mut self) -> f64 {
        self.drawn = self.drawn.wrapping_add(1);
        let word = mixed(mixed(self.seed) ^ self.drawn.wrapping_mul(STEP));
        (word >> 11) as f64 / (1_u64 << 53) as f64
    }
}

fn mixed(word: u64) -> u64 {
    let word = word.wrapping_add(STEP);
    let word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_has_its_own_normal_numbers() {
        let numbers = |seed| {
            let tensor = Normals::new(seed).tensor(&[1, 101, 99], &Device::Cpu);
            tensor
                .and_then(|tensor| tensor.flatten_all()?.to_vec1::<f32>())
                .expect("numbers")
        };
        let some = numbers(7);
        assert_eq!(some, numbers(7));
        assert_ne!(some, numbers(8));
        let count = some.len() as f64;
        let mean = some.iter().map(|&number| f64::from(number)).sum::<f64>() / count;
        let variance = some
            .iter()
            .map(|&number| f64::from(number).powi(2))
            .sum::<f64>()
            / count;
        assert!(
            mean.abs() < 0.05 && (variance - 1.0).abs() < 0.05,
            "{mean} {variance}"
        );
        let beyond = some.iter().filter(|number| number.abs() > 1.96).count() as f64;
        assert!((beyond / count - 0.05).abs() < 0.01, "{beyond}");
    }
}
