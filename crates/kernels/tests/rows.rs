//! Norms and activations against double precision.
#![allow(clippy::unwrap_used)] // helpers of tests panic as tests do

use kernels::{Backend, Gate, add, gated, layer_norm, rms_norm, rotate};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

fn floats(count: usize, spread: f32, seed: u64) -> Vec<f32> {
    let mut random = StdRng::seed_from_u64(seed);
    (0..count)
        .map(|_| random.random_range(-spread..spread))
        .collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

#[test]
fn norms_are_those_of_double_precision_on_every_back_end() {
    for width in [1, 7, 16, 17, 384, 576, 1000] {
        let rows = floats(3 * width, 4.0, width as u64);
        let (weight, bias) = (floats(width, 2.0, 1), floats(width, 1.0, 2));
        let mut first: Option<(Vec<u32>, Vec<u32>)> = None;
        for backend in Backend::available() {
            let (mut rms, mut layer) = (vec![0.0; rows.len()], vec![0.0; rows.len()]);
            rms_norm(&rows, &weight, 1e-5, &mut rms, backend);
            layer_norm(&rows, (&weight, Some(&bias)), 1e-5, &mut layer, backend);
            for (at, row) in rows.chunks_exact(width).enumerate() {
                let row: Vec<f64> = row.iter().map(|v| f64::from(*v)).collect();
                let count = width as f64;
                let mean = row.iter().sum::<f64>() / count;
                let square = row.iter().map(|v| v * v).sum::<f64>() / count;
                let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / count;
                for (column, value) in row.iter().enumerate() {
                    let weight = f64::from(weight[column]);
                    let wanted = value / (square + 1e-5).sqrt() * weight;
                    assert!(
                        (f64::from(rms[at * width + column]) - wanted).abs()
                            < 2e-6 * (1.0 + wanted.abs())
                    );
                    let wanted = (value - mean) / (variance + 1e-5).sqrt() * weight
                        + f64::from(bias[column]);
                    let off = (f64::from(layer[at * width + column]) - wanted).abs();
                    // One number alone has no spread: what remains is rounding over a small root.
                    assert!(
                        off < 2e-5 * (1.0 + wanted.abs()),
                        "width {width}: off by {off}"
                    );
                }
            }
            let found = (bits(&rms), bits(&layer));
            assert_eq!(
                first.get_or_insert_with(|| found.clone()),
                &found,
                "{backend:?}"
            );
        }
    }
}

/// `x / 2 (1 + erf(x / sqrt 2))` by the series of the error function for small and its continued
/// fraction for large arguments (Abramowitz and Stegun 7.1.5, 7.1.14).
fn gelu(x: f64) -> f64 {
    let z = x.abs() / std::f64::consts::SQRT_2;
    let erf = if z < 3.0 {
        let (mut term, mut sum) = (z, z);
        for n in 1..100 {
            term *= -z * z / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    } else {
        let mut fraction = z;
        for n in (1..60).rev() {
            fraction = z + f64::from(n) / 2.0 / fraction;
        }
        1.0 - (-z * z).exp() / fraction / std::f64::consts::PI.sqrt()
    };
    x / 2.0 * (1.0 + erf * x.signum())
}

#[test]
fn gates_are_those_of_double_precision_on_every_back_end() {
    let mut inputs = floats(5003, 12.0, 5);
    inputs.extend([0.0, -0.0, 1e-30, -1e-30, 90.0, -90.0, 1e4, -1e4]);
    let others = floats(inputs.len(), 3.0, 6);
    for gate in [Gate::Silu, Gate::GeluTanh, Gate::GeluErf, Gate::Relu] {
        let mut first: Option<Vec<u32>> = None;
        for backend in Backend::available() {
            let mut values = inputs.clone();
            gated(gate, &mut values, Some(&others), backend);
            for ((value, x), other) in values.iter().zip(&inputs).zip(&others) {
                let x = f64::from(*x);
                let open = match gate {
                    Gate::Silu => x / (1.0 + (-x).exp()),
                    Gate::GeluTanh => {
                        let inner =
                            (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
                        x / 2.0 * (1.0 + inner.tanh())
                    }
                    Gate::GeluErf => gelu(x),
                    Gate::Relu => x.max(0.0),
                };
                let wanted = open * f64::from(*other);
                let off = (f64::from(*value) - wanted).abs();
                assert!(
                    off < 1e-6 + 2e-6 * wanted.abs(),
                    "{gate:?} of {x}: {value} for {wanted}"
                );
            }
            assert_eq!(
                first.get_or_insert_with(|| bits(&values)),
                &bits(&values),
                "{backend:?}"
            );
            let mut alone = inputs.clone();
            gated(gate, &mut alone, None, backend);
            assert!(alone[0].is_finite());
        }
        let mut broken = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
        gated(gate, &mut broken, None, Backend::best());
        assert!(broken[0].is_nan(), "{gate:?} hides what is no number");
    }
}

#[test]
fn rotations_are_those_of_double_precision_on_every_back_end() {
    for (size, half) in [(64, 32), (12, 6), (80, 20), (8, 0)] {
        let (positions, heads) = (5, 3);
        let rows = floats(positions * heads * size, 4.0, size as u64);
        let angles = floats(positions * half, 9.0, 3);
        let (sines, cosines): (Vec<f32>, Vec<f32>) = angles.iter().map(|a| a.sin_cos()).unzip();
        for backend in Backend::available() {
            let mut turned = rows.clone();
            rotate(&mut turned, (heads, size), (&sines, &cosines), backend);
            for (at, value) in turned.iter().enumerate() {
                let (position, place) = (at / (heads * size), at % size);
                let wanted = if place < 2 * half {
                    let angle = f64::from(angles[position * half + place % half]);
                    let other = f64::from(rows[if place < half { at + half } else { at - half }]);
                    let sign = if place < half { -1.0 } else { 1.0 };
                    f64::from(rows[at]) * angle.cos() + sign * other * angle.sin()
                } else {
                    f64::from(rows[at])
                };
                let off = (f64::from(*value) - wanted).abs();
                assert!(off < 2e-6, "{backend:?}: {value} for {wanted}");
            }
            let mut again = rows.clone();
            rotate(
                &mut again,
                (heads, size),
                (&sines, &cosines),
                Backend::Portable,
            );
            assert_eq!(bits(&turned), bits(&again), "{backend:?}");
        }
    }
}

#[test]
fn sums_are_rounded_once_on_every_back_end() {
    let (sums, others) = (floats(1003, 4.0, 1), floats(1003, 4.0, 2));
    for backend in Backend::available() {
        let mut found = sums.clone();
        add(&mut found, &others, 0.3, backend);
        for (found, (sum, other)) in found.iter().zip(sums.iter().zip(&others)) {
            assert_eq!(found.to_bits(), other.mul_add(0.3, *sum).to_bits());
        }
    }
}
