//! The types of GGUF files against the numbers of gguf 0.17.1 (`gguf.quants.dequantize`), in matrices
//! that no tile divides.
#![allow(clippy::unwrap_used)] // helpers of tests panic as tests do
#![allow(clippy::float_cmp)] // most of it is exact

use kernels::{Activations, Backend, Format, PackedLinear, Precision};

/// A half-precision 0.03125 and 0.0625.
const SCALE: [u8; 2] = [0x00, 0x28];
const MIN: [u8; 2] = [0x00, 0x2c];

/// A type, where its scale and its minimum lie, weights 0, 1, 17 and 31 of the block, and the sum of all, each
/// times its index in 7 and 1.
type Case = (Format, usize, Option<usize>, [f64; 4], f64);

const CASES: [Case; 12] = [
    (
        Format::Q4_0,
        0,
        None,
        [-0.09375, 0.0625, -0.03125, 0.0],
        0.875,
    ),
    (
        Format::Q4_1,
        0,
        Some(2),
        [0.53125, 0.1875, 0.4375, 0.4375],
        35.625,
    ),
    (Format::Q5_0, 0, None, [0.28125, -0.0625, 0.0, 0.03125], 3.5),
    (
        Format::Q5_1,
        0,
        Some(2),
        [0.65625, 0.8125, 0.21875, 0.21875],
        64.21875,
    ),
    (
        Format::Q8_0,
        0,
        None,
        [2.65625, 3.8125, -1.6875, -1.5],
        -19.3125,
    ),
    (
        Format::IQ4_NL,
        0,
        None,
        [-1.09375, 0.78125, -0.3125, 0.03125],
        19.15625,
    ),
    (
        Format::IQ4_XS,
        0,
        None,
        [2.03125, -0.03125, 1.09375, 1.09375],
        -4512.25,
    ),
    (
        Format::Q2_K,
        80,
        Some(82),
        [1.03125, 0.0, -0.1875, -0.1875],
        -69.78125,
    ),
    (Format::Q3_K, 108, None, [2.53125, -3.375, 4.0, 2.0], 92.625),
    (
        Format::Q4_K,
        0,
        Some(2),
        [7.46875, -3.1875, -3.1875, 2.625],
        5008.0,
    ),
    (
        Format::Q5_K,
        0,
        Some(2),
        [22.96875, -3.1875, -3.1875, 2.625],
        12795.75,
    ),
    (
        Format::Q6_K,
        208,
        None,
        [-44.71875, 53.0, 16.0, -3.0],
        308.65625,
    ),
];

const OUTPUTS: usize = 21;
const BLOCKS: usize = 3;

#[test]
fn every_type_reads_as_its_makers_read_it_and_multiplies_on_every_back_end() {
    for (format, scale, min, weights, sum) in CASES {
        let (numbers, bytes) = format.block();
        let mut block: Vec<u8> = (0..bytes).map(|at| (at * 37 + 11) as u8).collect();
        block[scale..scale + 2].copy_from_slice(&SCALE);
        if let Some(min) = min {
            block[min..min + 2].copy_from_slice(&MIN);
        }
        let inputs = BLOCKS * numbers;
        let tensor = block.repeat(OUTPUTS * BLOCKS);
        let layer = PackedLinear::pack(format, &tensor, OUTPUTS, inputs).unwrap();
        // Scales and minima for 16 weights are rounded to eight bits with a scale for 32.
        let is_exact = format != Format::Q2_K;
        let mut row = vec![0.0; inputs];
        for output in 0..OUTPUTS {
            layer.row(output, &mut row);
            for read in row.chunks_exact(numbers) {
                let most = read
                    .iter()
                    .fold(0.0_f32, |most, weight| most.max(weight.abs()));
                let off = if is_exact {
                    0.0
                } else {
                    f64::from(most) / 250.0
                };
                for (at, wanted) in [0, 1, 17, 31].into_iter().zip(weights) {
                    let found = f64::from(read[at]);
                    assert!((found - wanted).abs() <= off, "{format:?} {at}: {found}");
                }
                let found: f64 = (read.iter().enumerate())
                    .map(|(at, weight)| f64::from(*weight) * (at % 7 + 1) as f64)
                    .sum();
                let off = off * 4.0 * (numbers as f64).sqrt() * 2.0;
                assert!((found - sum).abs() <= off, "{format:?}: {found}");
            }
        }
        // Ones are whole numbers at any step, so that products are sums of weights.
        let wanted: f64 = row.iter().map(|weight| f64::from(*weight)).sum();
        for backend in Backend::available() {
            let mut activations = Activations::default();
            activations.quantise(&vec![1.0; 7 * inputs], inputs, Precision::Fine, backend);
            let mut out = vec![0.0; 7 * OUTPUTS];
            layer.multiply(&activations, &mut out, backend);
            for found in out {
                let off = (f64::from(found) - wanted).abs();
                assert!(off < 1e-4 * (100.0 + wanted.abs()), "{format:?}: {found}");
            }
        }
    }
}
