//! What lies between an encoder's products, and its attention, against double precision.

use kernels::{Backend, Balance, Gate, LayerNorm, TextAttention, bias_gate};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

fn floats(count: usize, spread: f32, seed: u64) -> Vec<f32> {
    let mut random = StdRng::seed_from_u64(seed);
    (0..count)
        .map(|_| random.random_range(-spread..spread))
        .collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn sums_are_normalised_and_balanced_on_every_back_end() {
    for width in [1, 7, 16, 17, 384, 1000] {
        let (sums, input) = (floats(3 * width, 4.0, 1), floats(3 * width, 3.0, 2));
        let (weight, bias) = (floats(width, 2.0, 3), floats(width, 1.0, 4));
        let added = floats(width, 1.0, 5);
        let (centres, factors) = (floats(width, 1.0, 6), floats(width, 3.0, 7));
        let norm = LayerNorm {
            weight: &weight,
            bias: &bias,
            epsilon: 1e-5,
        };
        let balance = Balance {
            centres: &centres,
            factors: &factors,
        };
        let mut first = None;
        for backend in Backend::available() {
            let (mut rows, mut balanced) = (input.clone(), vec![0.0; input.len()]);
            let out = Some((balance, balanced.as_mut_slice()));
            norm.add((&sums, &added), &mut rows, out, backend);
            for row in 0..3 {
                let part = row * width..(row + 1) * width;
                let whole: Vec<f64> = (part.clone())
                    .map(|at| {
                        f64::from(input[at]) + f64::from(sums[at]) + f64::from(added[at % width])
                    })
                    .collect();
                let mean = whole.iter().sum::<f64>() / width as f64;
                let variance = whole.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / width as f64;
                for (column, at) in part.enumerate() {
                    let wanted = (whole[column] - mean) / (variance + 1e-5).sqrt()
                        * f64::from(weight[column])
                        + f64::from(bias[column]);
                    // One number alone has no spread: what remains is rounding over a small root.
                    let most = if width == 1 { 1e-3 } else { 2e-5 };
                    let off = (f64::from(rows[at]) - wanted).abs();
                    assert!(off < most * (1.0 + wanted.abs()), "{width}: off by {off}");
                    let wanted = (rows[at] - centres[column]) * factors[column];
                    assert_eq!(balanced[at].to_bits(), wanted.to_bits());
                }
            }
            let found = (bits(&rows), bits(&balanced));
            assert_eq!(*first.get_or_insert(found.clone()), found, "{backend:?}");
            let mut plain = input.clone();
            norm.add((&sums, &added), &mut plain, None, backend);
            assert_eq!(bits(&plain), found.0, "the same without a balance");
        }
    }
}

/// `x / 2 (1 + erf(x / sqrt 2))` by the series of the error function (Abramowitz and Stegun 7.1.5).
fn gelu(x: f64) -> f64 {
    let z = (x / std::f64::consts::SQRT_2).clamp(-5.0, 5.0);
    let (mut term, mut sum) = (z, z);
    for n in 1..200 {
        term *= -z * z / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    x / 2.0 * (1.0 + sum * 2.0 / std::f64::consts::PI.sqrt())
}

#[test]
fn gates_after_a_bias_are_near_and_the_same_on_every_back_end() {
    for width in [5, 16, 100] {
        let input = floats(20 * width, 7.0, 8);
        let bias = floats(width, 1.0, 9);
        let (centres, factors) = (vec![0.25; width], vec![2.0; width]);
        let balance = Balance {
            centres: &centres,
            factors: &factors,
        };
        for (balance, most) in [(None, 2e-6), (Some(balance), 5e-4)] {
            let mut first = None;
            for backend in Backend::available() {
                let mut values = input.clone();
                bias_gate(Gate::GeluErf, &mut values, &bias, balance, backend);
                for (at, value) in values.iter().enumerate() {
                    let mut wanted = gelu(f64::from(input[at] + bias[at % width]));
                    if balance.is_some() {
                        wanted = (wanted - 0.25) * 2.0;
                    }
                    let off = (f64::from(*value) - wanted).abs();
                    assert!(off < most * (1.0 + 0.1 * wanted.abs()), "off by {off}");
                }
                let found = bits(&values);
                assert_eq!(*first.get_or_insert(found.clone()), found, "{backend:?}");
            }
        }
        let mut relu = input.clone();
        bias_gate(Gate::Relu, &mut relu, &bias, None, Backend::best());
        for (at, value) in relu.iter().enumerate() {
            let wanted = (input[at] + bias[at % width]).max(0.0);
            assert_eq!(value.abs().to_bits(), wanted.to_bits());
        }
    }
    let mut broken = [f32::NAN, 1.0];
    let (centres, factors) = ([0.0; 2], [1.0; 2]);
    let balance = Some(Balance {
        centres: &centres,
        factors: &factors,
    });
    bias_gate(
        Gate::GeluErf,
        &mut broken,
        &[0.0; 2],
        balance,
        Backend::best(),
    );
    assert!(broken[0].is_nan() && broken[1] > 0.8, "{broken:?}");
}

/// What rows attend to, in double precision.
fn attended(attention: &TextAttention, rows: &[f32], row: usize, column: usize) -> f64 {
    let (size, width) = (attention.size, attention.heads * attention.size);
    let number = |row: usize, column: usize| {
        f64::from(rows[row * 3 * width + column]) + f64::from(attention.bias[column])
    };
    let first = column / size * size;
    let weights: Vec<f64> = (0..rows.len() / (3 * width))
        .map(|key| {
            let products =
                (first..first + size).map(|at| number(row, at) * number(key, width + at));
            (products.sum::<f64>() * f64::from(attention.scale)).exp()
        })
        .collect();
    let values = weights.iter().enumerate();
    let sum: f64 = values
        .map(|(key, weight)| weight * number(key, 2 * width + column))
        .sum();
    sum / weights.iter().sum::<f64>()
}

#[test]
fn a_text_attends_to_itself_as_in_double_precision_on_every_back_end() {
    for (count, heads, size) in [
        (1, 1, 1),
        (7, 2, 12),
        (8, 3, 32),
        (16, 1, 32),
        (17, 1, 64),
        (33, 2, 64),
        (70, 1, 40),
    ] {
        let width = heads * size;
        let rows = floats(count * 3 * width, 2.0, count as u64);
        let bias = floats(3 * width, 0.5, 10);
        let attention = TextAttention {
            heads,
            size,
            scale: (size as f32).powf(-0.5),
            bias: &bias,
        };
        let (mut first, mut first_rounded) = (None, None);
        for backend in Backend::available() {
            let mut out = vec![0.0; count * width];
            attention.run(&rows, &mut out, backend);
            let mut rounded = vec![0.0; count * width];
            attention.run_rounded(&rows, &mut rounded, backend);
            for (at, (out, rounded)) in out.iter().zip(&rounded).enumerate() {
                let wanted = attended(&attention, &rows, at / width, at % width);
                let off = (f64::from(*out) - wanted).abs();
                assert!(off < 1e-5, "{count} x {heads} x {size}: off by {off}");
                let off = (f64::from(*rounded) - wanted).abs();
                assert!(
                    off < 3e-3,
                    "rounded, {count} x {heads} x {size}: off by {off}"
                );
            }
            let found = bits(&out);
            assert_eq!(*first.get_or_insert(found.clone()), found, "{backend:?}");
            let found = bits(&rounded);
            assert_eq!(
                *first_rounded.get_or_insert(found.clone()),
                found,
                "{backend:?}"
            );
        }
    }
}

#[test]
fn a_text_attends_alike_whatever_was_attended_to_before() {
    let (heads, size) = (2, 32);
    let width = heads * size;
    let attention = TextAttention {
        heads,
        size,
        scale: 0.2,
        bias: &[],
    };
    let run = |count: usize| {
        let rows = floats(count * 3 * width, 2.0, count as u64);
        let mut out = vec![0.0; count * width];
        attention.run_rounded(&rows, &mut out, Backend::best());
        bits(&out)
    };
    let counts = [5, 16, 40];
    let alone = counts.map(|count| std::thread::scope(|s| s.spawn(|| run(count)).join()));
    for count in [100, 40, 5, 16, 40, 5] {
        let found = run(count);
        if let Some(index) = counts.iter().position(|other| *other == count) {
            assert_eq!(alone[index].as_ref().ok(), Some(&found), "{count}");
        }
    }
}

#[test]
fn scores_that_are_huge_or_no_numbers_do_no_harm() {
    let (heads, size, count) = (2, 16, 9);
    let attention = TextAttention {
        heads,
        size,
        scale: 1.0,
        bias: &[],
    };
    let width = heads * size;
    let mut rows = floats(count * 3 * width, 1e4, 3);
    let mut out = vec![0.0; count * width];
    for backend in Backend::available() {
        attention.run(&rows, &mut out, backend);
        assert!(out.iter().all(|value| value.is_finite()), "{backend:?}");
    }
    rows[3] = f32::NAN;
    attention.run(&rows, &mut out, Backend::best());
    assert!(out[width..].iter().all(|value| value.is_finite()));
    rows[4] = f32::INFINITY;
    rows[3 * width + width + 1] = f32::MAX;
    rows[6 * width + 2 * width + 1] = f32::NEG_INFINITY;
    let mut first = None;
    for backend in Backend::available() {
        attention.run_rounded(&rows, &mut out, backend);
        assert!(out.iter().all(|value| value.is_finite()), "{backend:?}");
        assert_eq!(*first.get_or_insert(bits(&out)), bits(&out), "{backend:?}");
    }
    let mut none: [f32; 0] = [];
    attention.run(&[], &mut none, Backend::best());
}
