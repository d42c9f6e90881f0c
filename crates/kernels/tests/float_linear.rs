//! Products with float weights against double precision.
#![allow(clippy::unwrap_used)] // helpers of tests panic as tests do

use half::{bf16, f16};
use kernels::{Backend, FloatLinear, Format};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

fn floats(count: usize, seed: u64) -> Vec<f32> {
    let mut random = StdRng::seed_from_u64(seed);
    (0..count).map(|_| random.random_range(-1.0..1.0)).collect()
}

/// A tensor's bytes in a format, and the numbers that they stand for.
fn tensor(format: Format, count: usize) -> (Vec<u8>, Vec<f32>) {
    let numbers = floats(count, 9);
    match format {
        Format::F16 => {
            let half: Vec<f16> = numbers.iter().map(|v| f16::from_f32(*v)).collect();
            let bytes = half.iter().flat_map(|v| v.to_le_bytes()).collect();
            (bytes, half.iter().map(|v| v.to_f32()).collect())
        }
        Format::BF16 => {
            let half: Vec<bf16> = numbers.iter().map(|v| bf16::from_f32(*v)).collect();
            let bytes = half.iter().flat_map(|v| v.to_le_bytes()).collect();
            (bytes, half.iter().map(|v| v.to_f32()).collect())
        }
        _ => (
            numbers.iter().flat_map(|v| v.to_le_bytes()).collect(),
            numbers,
        ),
    }
}

#[test]
fn products_are_those_of_double_precision_with_the_same_bits_everywhere() {
    for format in [Format::F32, Format::F16, Format::BF16] {
        // Groups of 1, 2, 4 and 6 rows, and blocks of rows; two panels and one.
        let shapes = [
            (1, 1, 1),
            (13, 33, 17),
            (7, 576, 100),
            (64, 40, 48),
            (11, 40, 48),
            (3, 33, 17),
        ];
        for (rows, inputs, outputs) in shapes {
            let (bytes, weights) = tensor(format, outputs * inputs);
            let layer = FloatLinear::pack(format, &bytes, outputs, inputs).unwrap();
            let x = floats(rows * inputs, 3);
            let mut first: Option<Vec<u32>> = None;
            for backend in Backend::available() {
                let mut out = vec![f32::NAN; rows * outputs];
                layer.multiply(&x, &mut out, backend);
                for (row, out) in out.chunks_exact(outputs).enumerate() {
                    for (output, ours) in out.iter().enumerate() {
                        let x = &x[row * inputs..][..inputs];
                        let weights = &weights[output * inputs..][..inputs];
                        let products = x.iter().zip(weights);
                        let exact: f64 = products.map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
                        assert!((f64::from(*ours) - exact).abs() < 3e-6 * (inputs as f64).sqrt());
                    }
                }
                let mut alone = vec![0.0; outputs];
                layer.multiply(&x[(rows - 1) * inputs..], &mut alone, backend);
                assert_eq!(alone, out[(rows - 1) * outputs..], "a row beside others");
                let bits: Vec<u32> = out.iter().map(|v| v.to_bits()).collect();
                assert_eq!(
                    first.get_or_insert_with(|| bits.clone()),
                    &bits,
                    "{backend:?}"
                );
            }
        }
    }
}

#[test]
fn wrong_sizes_and_formats_are_refused() {
    assert!(FloatLinear::pack(Format::F32, &[0; 12], 2, 2).is_err());
    assert!(FloatLinear::pack(Format::Q8_0, &[0; 34], 1, 32).is_err());
    assert!(FloatLinear::pack(Format::BF16, &[0; 8], 2, 2).is_ok());
}
