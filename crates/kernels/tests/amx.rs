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
    let mut activations = Activations::default();
    activations.quantise(x, layer.inputs(), Precision::Fast, Backend::Amx);
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

#[test]
fn what_is_no_number_stays_visible() {
    if !is_here() {
        return;
    }
    let mut rng = StdRng::seed_from_u64(6);
    let mut tensor = random_tensor(Format::Q8_0, 20, 64, &mut rng);
    let layer = PackedLinear::pack(Format::Q8_0, &tensor, 20, 64).unwrap();
    let mut x = vec![1.0; 128];
    x[3] = f32::INFINITY;
    let found = product(&layer, &x);
    assert!(found[..20].iter().all(|sum| !sum.is_finite()));
    assert!(found[20..].iter().all(|sum| sum.is_finite()));
    // As on the other back ends.
    x[3] = f32::NAN;
    let (without, mut zero) = (product(&layer, &x), x);
    zero[3] = 0.0;
    assert_eq!(without, product(&layer, &zero));
    // A scale that is no number.
    tensor[..2].copy_from_slice(&f16::NAN.to_le_bytes());
    let layer = PackedLinear::pack(Format::Q8_0, &tensor, 20, 64).unwrap();
    for (output, sum) in product(&layer, &zero).iter().enumerate() {
        assert_eq!(sum.is_nan(), output % 20 == 0, "{output}: {sum}");
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
        let found = product(&layer, &x);
        let mut row = vec![0.0; 96];
        let mut parts = [0.0_f64; 2];
        for output in 0..32 {
            layer.row(output, &mut row);
            for (index, x) in x.chunks_exact(96).enumerate() {
                let products = row.iter().zip(x).map(|(w, x)| f64::from(w * x));
                let exact: f64 = products.sum();
                parts[0] += (f64::from(found[index * 32 + output]) - exact).powi(2);
                parts[1] += exact.powi(2);
            }
        }
        let error = (parts[0] / parts[1]).sqrt();
        assert!(error < 4e-3, "{magnitude}: {error}");
    }
}
