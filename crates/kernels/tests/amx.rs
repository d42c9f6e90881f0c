//! Products by AMX, where the processor has it, against the same arithmetic in plain code.
#![allow(clippy::unwrap_used)] // helpers of tests panic as tests do

use half::{bf16, f16};
use kernels::{Activations, Backend, Format, PackedLinear, Precision};
use rand::{Rng, SeedableRng, rngs::StdRng};

/// The order in which a block's inputs are multiplied.
const ORDER: [usize; 8] = [0, 2, 4, 6, 1, 3, 5, 7];
const FORMATS: [Format; 7] = [
    Format::Q4_0,
    Format::Q4_1,
    Format::Q5_1,
    Format::Q8_0,
    Format::Q4_K,
    Format::Q5_K,
    Format::Q6_K,
];

fn is_here() -> bool {
    Backend::available().contains(&Backend::Amx)
}

/// Blocks whose scales and minima are a few bits, so that weights are exact in half precision but for their last bit.
fn random_tensor(format: Format, outputs: usize, inputs: usize, rng: &mut StdRng) -> Vec<u8> {
    let (_, bytes) = format.block();
    let mut tensor = vec![0; format.row_bytes(inputs).unwrap() * outputs];
    rng.fill(tensor.as_mut_slice());
    let halves: &[usize] = match format {
        Format::Q4_1 | Format::Q5_1 | Format::Q4_K | Format::Q5_K => &[0, 2],
        Format::Q6_K => &[208],
        _ => &[0],
    };
    for block in tensor.chunks_exact_mut(bytes) {
        for &at in halves {
            let value = f16::from_f32(f32::from(rng.random_range(-15_i8..16)) / 1024.0);
            block[at..at + 2].copy_from_slice(&value.to_le_bytes());
        }
    }
    tensor
}

fn product(layer: &PackedLinear, x: &[f32]) -> Vec<f32> {
    product_of(layer, x, Precision::Fast)
}

fn product_of(layer: &PackedLinear, x: &[f32], precision: Precision) -> Vec<f32> {
    let mut activations = Activations::default();
    activations.quantise(x, layer.inputs(), precision, Backend::Amx);
    let mut out = vec![f32::NAN; activations.rows() * layer.outputs()];
    layer.multiply(&activations, &mut out, Backend::Amx);
    out
}

/// A weight as bfloat16: rounded to half precision, and then to eight bits, halves away from zero.
fn weight(weight: f32, power: f32) -> f32 {
    let half = f16::from_f32(weight * power).to_bits();
    let sign = half & 0x8000;
    let rounded = ((half & 0x7FFF) + 4) & !7;
    f16::from_bits(sign | rounded).to_f32()
}

/// As TDPBF16PS is defined: the even and the odd inputs of 32 are summed up from zero, each product rounded with the
/// sum once, and both are added to what was there.
fn emulated(layer: &PackedLinear, x: &[f32], power: f32) -> Vec<f32> {
    let inputs = layer.inputs();
    let mut row = vec![0.0; inputs];
    let mut out = vec![0.0; x.len() / inputs * layer.outputs()];
    for output in 0..layer.outputs() {
        layer.row(output, &mut row);
        for (index, x) in x.chunks_exact(inputs).enumerate() {
            let mut sum = 0.0_f32;
            for (weights, x) in row.chunks(32).zip(x.chunks(32)) {
                let mut parts = [0.0_f32; 2];
                for at in 0..32 {
                    let input = at / 8 * 8 + ORDER[at % 8];
                    let x = bf16::from_f32(x[input]).to_f32();
                    parts[at % 2] = weight(weights[input], power).mul_add(x, parts[at % 2]);
                }
                sum += parts[0] + parts[1];
            }
            out[index * layer.outputs() + output] = sum / power;
        }
    }
    out
}

#[test]
fn products_have_the_bits_of_the_same_arithmetic_in_plain_code() {
    if !is_here() {
        return;
    }
    let mut rng = StdRng::seed_from_u64(5);
    for format in FORMATS {
        for (outputs, inputs, rows) in [(1, 256, 1), (16, 256, 15), (33, 512, 17), (40, 768, 67)] {
            let tensor = random_tensor(format, outputs, inputs, &mut rng);
            let layer = PackedLinear::pack(format, &tensor, outputs, inputs).unwrap();
            let x: Vec<f32> = (0..rows * inputs)
                .map(|_| rng.random_range(-3.0..3.0))
                .collect();
            let found = product(&layer, &x);
            // A power of two moves nothing but exponents, as long as no weight leaves the normal numbers.
            let expected = emulated(&layer, &x, 256.0);
            for (found, expected) in found.iter().zip(&expected) {
                assert_eq!(
                    found.to_bits(),
                    expected.to_bits(),
                    "{format:?} {outputs}x{inputs}: {found}, {expected}"
                );
            }
        }
    }
}

/// Inputs and scales that are no numbers, in products of so many rows.
fn what_is_none_stays_visible(precision: Precision, rows: usize) {
    let mut rng = StdRng::seed_from_u64(6);
    let mut tensor = random_tensor(Format::Q8_0, 20, 64, &mut rng);
    let layer = PackedLinear::pack(Format::Q8_0, &tensor, 20, 64).unwrap();
    let mut x = vec![1.0; rows * 64];
    x[3] = f32::INFINITY;
    let found = product_of(&layer, &x, precision);
    assert!(found[..20].iter().all(|sum| !sum.is_finite()));
    assert!(found[20..].iter().all(|sum| sum.is_finite()));
    // As on the other back ends.
    x[3] = f32::NAN;
    let (without, mut zero) = (product_of(&layer, &x, precision), x);
    zero[3] = 0.0;
    assert_eq!(without, product_of(&layer, &zero, precision));
    let nothing = product_of(&layer, &vec![0.0; rows * 64], precision);
    assert!(nothing.iter().all(|sum| *sum == 0.0));
    // A scale that is no number.
    tensor[..2].copy_from_slice(&f16::NAN.to_le_bytes());
    let layer = PackedLinear::pack(Format::Q8_0, &tensor, 20, 64).unwrap();
    for (output, sum) in product_of(&layer, &zero, precision).iter().enumerate() {
        assert_eq!(sum.is_nan(), output % 20 == 0, "{output}: {sum}");
    }
}

#[test]
fn what_is_no_number_stays_visible() {
    if !is_here() {
        return;
    }
    for precision in [Precision::Fast, Precision::Outliers] {
        for rows in [1, 2, 6] {
            what_is_none_stays_visible(precision, rows);
        }
    }
}

#[test]
fn weights_of_any_magnitude_are_near() {
    if !is_here() {
        return;
    }
    let mut rng = StdRng::seed_from_u64(7);
    for magnitude in [1e-4, 1e-2, 1.0, 3000.0] {
        let weights: Vec<f32> = (0..32 * 96)
            .map(|_| magnitude * rng.random_range(-1.0_f32..1.0))
            .collect();
        let layer = PackedLinear::from_floats(&weights, 32, 96);
        let x: Vec<f32> = (0..2 * 96).map(|_| rng.random_range(-2.0..2.0)).collect();
        let error = error(&layer, &x, Precision::Fast);
        assert!(error < 4e-3, "{magnitude}: {error}");
    }
}

/// The weights of an output in units, of a format whose blocks are known here: the largest has 16000 to 32000 of them.
fn whole_weights(format: Format, tensor: &[u8], inputs: usize) -> (Vec<i64>, f32) {
    let (count, bytes) = format.block();
    let blocks: Vec<(f32, f32, Vec<u8>)> = tensor
        .chunks_exact(bytes)
        .take(inputs / count)
        .map(|block| {
            let half = |at: usize| f16::from_le_bytes([block[at], block[at + 1]]).to_f32();
            let nibbles = |from: usize| {
                let bytes = &block[from..from + 16];
                let low = bytes.iter().map(|byte| byte & 15);
                low.chain(bytes.iter().map(|byte| byte >> 4)).collect()
            };
            match format {
                Format::Q4_0 => (half(0), 8.0, nibbles(2)),
                Format::Q4_1 => (half(0), half(2), nibbles(4)),
                // Signed, as unsigned with an offset.
                _ => (
                    half(0),
                    128.0,
                    block[2..].iter().map(|code| code ^ 128).collect(),
                ),
            }
        })
        .collect();
    let largest = |(scale, min, _): &(f32, f32, Vec<u8>)| match format {
        Format::Q4_1 => scale.abs() * 15.0 + min.abs(),
        _ => scale.abs() * min,
    };
    let most = blocks.iter().map(largest).fold(0.0, f32::max);
    let exponent = if most > 0.0 {
        (32000.0 / most).log2().floor() as i32
    } else {
        0
    };
    let power = 2.0_f32.powi(exponent);
    let weights = blocks.iter().flat_map(|(scale, min, codes)| {
        let scale = scale * power;
        let units = scale.round_ties_even() as i64;
        codes.iter().map(move |&code| {
            let code = i64::from(code);
            match format {
                Format::Q4_1 => code * units + (min * power).round_ties_even() as i64,
                Format::Q4_0 => (code - 8) * units,
                // The weight itself is rounded, of 128 times the scale.
                _ => {
                    ((code - 128) * 256 * (scale * 128.0).round_ties_even() as i64 + (1 << 14))
                        >> 15
                }
            }
        })
    });
    (weights.collect(), 1.0 / power)
}

#[test]
fn whole_numbers_are_added_up_without_rounding() {
    if !is_here() {
        return;
    }
    let mut rng = StdRng::seed_from_u64(8);
    for format in [Format::Q4_0, Format::Q4_1, Format::Q8_0] {
        for (outputs, inputs, rows) in [
            (1, 32, 1),
            (17, 96, 2),
            (33, 512, 5),
            (200, 832, 67),
            (16, 8192, 16),
        ] {
            let tensor = random_tensor(format, outputs, inputs, &mut rng);
            let layer = PackedLinear::pack(format, &tensor, outputs, inputs).unwrap();
            let x: Vec<f32> = (0..rows * inputs)
                .map(|_| rng.random_range(-3.0..3.0))
                .collect();
            let found = product_of(&layer, &x, Precision::Outliers);
            let row_bytes = tensor.len() / outputs;
            for output in 0..outputs {
                let (weights, unit) = whole_weights(format, &tensor[output * row_bytes..], inputs);
                for (row, x) in x.chunks_exact(inputs).enumerate() {
                    let most = x.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
                    let inverse = 32512.0 / most;
                    let codes = x.iter().map(|x| (x * inverse).round_ties_even() as i64);
                    let sum: i64 = codes.zip(&weights).map(|(x, weight)| x * weight).sum();
                    let expected = (sum as f64 * f64::from(most / 32512.0)) as f32 * unit;
                    let found = found[row * outputs + output];
                    assert_eq!(
                        found.to_bits(),
                        expected.to_bits(),
                        "{format:?} {outputs}x{inputs}: {found}, {expected}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_row_of_whole_numbers_is_the_same_in_any_company() {
    if !is_here() {
        return;
    }
    let mut rng = StdRng::seed_from_u64(9);
    for format in FORMATS {
        for (outputs, inputs) in [(1, 256), (16, 512), (200, 768)] {
            let tensor = random_tensor(format, outputs, inputs, &mut rng);
            let layer = PackedLinear::pack(format, &tensor, outputs, inputs).unwrap();
            let x: Vec<f32> = (0..37 * inputs)
                .map(|_| rng.random_range(-3.0..3.0))
                .collect();
            let together = product_of(&layer, &x, Precision::Outliers);
            for rows in [1, 2, 3, 16, 20] {
                let found = x
                    .chunks(rows * inputs)
                    .flat_map(|x| product_of(&layer, x, Precision::Outliers));
                assert!(
                    found
                        .zip(&together)
                        .all(|(found, expected)| found.to_bits() == expected.to_bits()),
                    "{format:?} {outputs}x{inputs}, {rows} rows"
                );
            }
            // Nearly what floats give.
            let error = error(&layer, &x, Precision::Outliers);
            assert!(error < 1e-3, "{format:?}: {error}");
        }
    }
}

#[test]
fn rows_that_do_not_stay_near_together_are_as_those_that_do() {
    if !is_here() {
        return;
    }
    let (inputs, rows) = (8192, 250);
    let mut rng = StdRng::seed_from_u64(11);
    let tensor = random_tensor(Format::Q4_K, 33, inputs, &mut rng);
    let layer = PackedLinear::pack(Format::Q4_K, &tensor, 33, inputs).unwrap();
    let x: Vec<f32> = (0..rows * inputs)
        .map(|_| rng.random_range(-3.0..3.0))
        .collect();
    for precision in [Precision::Fast, Precision::Outliers] {
        let together = product_of(&layer, &x, precision);
        for row in [0, 95, 96, 97, 200, 249] {
            let alone = product_of(&layer, &x[row * inputs..][..inputs], precision);
            assert_eq!(alone, together[row * 33..][..33], "{precision:?} {row}");
        }
    }
}

/// How far products are from exact ones, in proportion.
fn error(layer: &PackedLinear, x: &[f32], precision: Precision) -> f64 {
    let found = product_of(layer, x, precision);
    let (inputs, outputs) = (layer.inputs(), layer.outputs());
    let mut row = vec![0.0; inputs];
    let mut parts = [0.0_f64; 2];
    for output in 0..outputs {
        layer.row(output, &mut row);
        for (index, x) in x.chunks_exact(inputs).enumerate() {
            let exact: f64 = row
                .iter()
                .zip(x)
                .map(|(w, x)| f64::from(*w) * f64::from(*x))
                .sum();
            parts[0] += (f64::from(found[index * outputs + output]) - exact).powi(2);
            parts[1] += exact.powi(2);
        }
    }
    (parts[0] / parts[1]).sqrt()
}

#[test]
fn ordinary_weights_and_those_with_outliers_are_near() {
    if !is_here() {
        return;
    }
    let mut rng = StdRng::seed_from_u64(12);
    let mut weights: Vec<f32> = (0..64 * 1024)
        .map(|_| (0..12).map(|_| rng.random_range(-0.5_f32..0.5)).sum())
        .collect();
    let mut check = |weights: &[f32]| {
        let layer = PackedLinear::from_floats(weights, 64, 1024);
        for rows in [2, 9] {
            // Of both signs, and of one.
            for least in [-1.0, 0.0] {
                let x: Vec<f32> = (0..rows * 1024)
                    .map(|_| rng.random_range(least..1.0))
                    .collect();
                let fast = error(&layer, &x, Precision::Fast);
                let whole = error(&layer, &x, Precision::Outliers);
                assert!(
                    fast < 3.5e-3 && whole < 1.5e-3,
                    "{rows} rows from {least}: {fast}, {whole}"
                );
            }
        }
    };
    check(&weights);
    for row in weights.chunks_exact_mut(1024) {
        row[100] *= 30.0;
    }
    check(&weights);
}
