//! Wider vectors from narrow weights, with every cosine as it was.
//!
//! A card promises a width, and the weights at hand may be narrower. A matrix with orthonormal
//! columns maps `hidden` numbers to `width` of them and keeps all inner products. It is made in code
//! and is the same on every machine: numbers from SplitMix64 (Steele, Lea and Flood 2014) run on a
//! counter, made orthonormal by Gram and Schmidt's method, twice, in float64.

use std::collections::BTreeMap;

/// The widest answer, in numbers.
pub(super) const WIDTH_MAX: usize = 8192;
/// Matrices that are kept; cards have three widths.
const KEPT_MAX: usize = 8;

/// The matrices made so far.
#[derive(Debug, Default)]
pub(crate) struct Widenings {
    /// By (hidden, width): `[hidden, width]`, row-major; the rows are orthonormal.
    kept: BTreeMap<(usize, usize), Vec<f32>>,
}

impl Widenings {
    /// Maps a vector to `width` numbers, no fewer than it has.
    pub(crate) fn widen(&mut self, vector: &[f32], width: usize) -> Vec<f32> {
        let key = (vector.len(), width);
        if !self.kept.contains_key(&key) && self.kept.len() >= KEPT_MAX {
            self.kept.pop_first();
        }
        let rows = self
            .kept
            .entry(key)
            .or_insert_with(|| orthonormal(vector.len(), width));
        let mut wide = vec![0f64; width];
        for (&number, row) in vector.iter().zip(rows.chunks_exact(width)) {
            for (sum, &weight) in wide.iter_mut().zip(row) {
                *sum += f64::from(number) * f64::from(weight);
            }
        }
        wide.into_iter().map(|number| number as f32).collect()
    }
}

/// `count` orthonormal rows of `width` numbers.
fn orthonormal(count: usize, width: usize) -> Vec<f32> {
    let mut rows: Vec<Vec<f64>> = Vec::with_capacity(count);
    for index in 0..count {
        let mut row: Vec<f64> = (0..width)
            .map(|place| noise((index * width + place) as u64))
            .collect();
        for _ in 0..2 {
            for other in &rows {
                let shared = dot(&row, other);
                row.iter_mut()
                    .zip(other)
                    .for_each(|(number, &part)| *number -= shared * part);
            }
            let length = dot(&row, &row).sqrt();
            for number in &mut row {
                *number /= length;
            }
        }
        rows.push(row);
    }
    rows.into_iter()
        .flatten()
        .map(|number| number as f32)
        .collect()
}

fn dot(left: &[f64], right: &[f64]) -> f64 {
    left.iter().zip(right).map(|(a, b)| a * b).sum()
}

/// The `counter`th number of SplitMix64, within -1 to 1.
fn noise(counter: u64) -> f64 {
    let mut word = counter.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^= word >> 31;
    (word >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widening_keeps_inner_products_and_never_changes() {
        let mut widenings = Widenings::default();
        let vectors: Vec<Vec<f32>> = (0..3)
            .map(|vector| {
                (0..48)
                    .map(|i| noise(1_000_000 + vector * 48 + i) as f32)
                    .collect()
            })
            .collect();
        let inner =
            |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
        for width in [49, 64, 100] {
            let wide: Vec<_> = vectors
                .iter()
                .map(|vector| widenings.widen(vector, width))
                .collect();
            for (a, wide_a) in vectors.iter().zip(&wide) {
                assert_eq!(wide_a.len(), width);
                for (b, wide_b) in vectors.iter().zip(&wide) {
                    assert!((inner(a, b) - inner(wide_a, wide_b)).abs() < 1e-5);
                }
            }
        }
        // SplitMix64 from seed 0 begins with 0xE220A8397B1DCDAF.
        let first = (0xE220_A839_7B1D_CDAF_u64 >> 11) as f64 / (1u64 << 52) as f64 - 1.0;
        assert!((noise(0) - first).abs() < f64::EPSILON);
    }
}
