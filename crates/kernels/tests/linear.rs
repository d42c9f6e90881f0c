//! Promises of the packed linear layers.
#![allow(clippy::unwrap_used)] // helpers of tests panic as tests do

use kernels::{Activations, Backend, Format, PackedLinear, Precision};
use proptest::prelude::*;
use rand::{Rng, SeedableRng, rngs::StdRng};

const QUANTISED: [Format; 10] = [
    Format::Q4_0,
    Format::Q4_1,
    Format::Q5_0,
    Format::Q5_1,
    Format::Q8_0,
    Format::MXFP4,
    Format::Q3_K,
    Format::Q4_K,
    Format::Q5_K,
    Format::Q6_K,
];

/// Where the half-precision numbers of a block lie.
fn halves(format: Format) -> &'static [usize] {
    match format {
        Format::MXFP4 => &[],
        Format::Q4_1 | Format::Q5_1 | Format::Q4_K | Format::Q5_K => &[0, 2],
        Format::Q3_K => &[108],
        Format::Q6_K => &[208],
        _ => &[0],
    }
}

/// A tensor of random codes with small finite scales.
fn random_tensor(format: Format, outputs: usize, inputs: usize, rng: &mut StdRng) -> Vec<u8> {
    let (_, bytes) = format.block();
    let mut tensor = vec![0; format.row_bytes(inputs).unwrap() * outputs];
    rng.fill(tensor.as_mut_slice());
    for block in tensor.chunks_exact_mut(bytes) {
        if format == Format::MXFP4 {
            block[0] = rng.random_range(115..125); // an exponent
            continue;
        }
        for &at in halves(format) {
            let value = half::f16::from_f32(rng.random_range(-0.1..0.1));
            block[at..at + 2].copy_from_slice(&value.to_le_bytes());
        }
    }
    tensor
}

fn product(layer: &PackedLinear, x: &[f32], precision: Precision, backend: Backend) -> Vec<f32> {
    let mut activations = Activations::default();
    activations.quantise(x, layer.inputs(), precision, backend);
    let mut out = vec![f32::NAN; activations.rows() * layer.outputs()];
    layer.multiply(&activations, &mut out, backend);
    out
}

/// In double precision, from the weights as they read back.
fn exact(layer: &PackedLinear, x: &[f32]) -> Vec<f64> {
    let mut row = vec![0.0; layer.inputs()];
    let mut out = vec![0.0; x.len() / layer.inputs() * layer.outputs()];
    for output in 0..layer.outputs() {
        layer.row(output, &mut row);
        for (index, x) in x.chunks_exact(layer.inputs()).enumerate() {
            out[index * layer.outputs() + output] = x
                .iter()
                .zip(&row)
                .map(|(&x, &w)| f64::from(x) * f64::from(w))
                .sum();
        }
    }
    out
}

fn random_layer(format: Format, outputs: usize, inputs: usize, rng: &mut StdRng) -> PackedLinear {
    let tensor = random_tensor(format, outputs, inputs, rng);
    PackedLinear::pack(format, &tensor, outputs, inputs).unwrap()
}

fn relative_error(got: &[f32], exact: &[f64]) -> f64 {
    let error: f64 = got
        .iter()
        .zip(exact)
        .map(|(&g, e)| (f64::from(g) - e).powi(2))
        .sum();
    let whole: f64 = exact.iter().map(|e| e * e).sum();
    (error / whole.max(f64::MIN_POSITIVE)).sqrt()
}

/// Those that multiply whole numbers of a byte: with AMX one byte is a bfloat16, and rows with outliers are whole numbers
/// of 16 bits (see tests/amx.rs).
fn whole_numbers(precision: Precision) -> Vec<Backend> {
    let mut all = Backend::available();
    all.retain(|backend| *backend != Backend::Amx || precision == Precision::Fine);
    all
}

const PRECISIONS: [Precision; 3] = [Precision::Fast, Precision::Outliers, Precision::Fine];

#[test]
fn what_is_no_outlier_is_rounded_with_one_step_a_row() {
    let mut rng = StdRng::seed_from_u64(4);
    for format in QUANTISED {
        let inputs = 3 * format.block().0;
        let layer = random_layer(format, 32, inputs, &mut rng);
        // Blocks of other sizes; an outlier in the second row, which keeps the step as it is, and none in the first.
        let plain: Vec<f32> = (0..inputs)
            .map(|input| rng.random_range(-1.0..1.0) / (1 + input / 32 % 3) as f32)
            .collect();
        let mut spiked = plain.clone();
        spiked[inputs / 2] = 10.0;
        let others = |row: &[f32]| {
            let mut others = row.to_vec();
            others.retain(|value| *value < 9.0);
            others
                .iter()
                .fold(0.0_f32, |most, value| most.max(value.abs()))
        };
        for row in [plain, spiked] {
            let step = others(&row) / 127.0;
            let rounded: Vec<f32> = row
                .iter()
                .map(|&value| match value {
                    9.0.. => value,
                    _ => (value / step).round_ties_even() * step,
                })
                .collect();
            let exact = exact(&layer, &rounded);
            for backend in whole_numbers(Precision::Outliers) {
                let got = product(&layer, &row, Precision::Outliers, backend);
                let error = relative_error(&got, &exact);
                assert!(error < 1e-5, "{format:?} {backend:?}: {error}");
            }
        }
    }
}

#[test]
fn wide_outputs_are_the_same_on_every_back_end() {
    let mut rng = StdRng::seed_from_u64(11);
    let (outputs, inputs, rows) = (5001, 64, 9);
    let layer = random_layer(Format::Q4_1, outputs, inputs, &mut rng);
    let x: Vec<f32> = (0..rows * inputs)
        .map(|_| rng.random_range(-1.0..1.0))
        .collect();
    let exact = exact(&layer, &x);
    for precision in PRECISIONS {
        let portable = product(&layer, &x, precision, Backend::Portable);
        assert!(relative_error(&portable, &exact) < 0.02, "{precision:?}");
        for backend in whole_numbers(precision) {
            let got = product(&layer, &x, precision, backend);
            assert!(bits(&got) == bits(&portable), "{backend:?} {precision:?}");
        }
    }
}

#[test]
fn what_is_large_beside_one_that_is_much_larger_is_an_outlier() {
    let mut rng = StdRng::seed_from_u64(10);
    for format in QUANTISED {
        let inputs = 2 * format.block().0.max(256);
        let layer = random_layer(format, 17, inputs, &mut rng);
        let mut x: Vec<f32> = (0..inputs).map(|_| rng.random_range(-1.0..1.0)).collect();
        let others = length(&exact(&layer, &x));
        x[3] = 2000.0;
        x[inputs - 5] = -60.0;
        let exact = exact(&layer, &x);
        for backend in whole_numbers(Precision::Outliers) {
            let got = product(&layer, &x, Precision::Outliers, backend);
            let error = relative_error(&got, &exact) * length(&exact);
            let bound = 0.02 * others + 1e-6 * length(&exact);
            assert!(error < bound, "{format:?} {backend:?}: {error} of {bound}");
        }
    }
}

#[test]
fn an_outlier_alone_is_multiplied_as_it_is() {
    let mut rng = StdRng::seed_from_u64(9);
    for format in QUANTISED {
        let inputs = 2 * format.block().0;
        let layer = random_layer(format, 32, inputs, &mut rng);
        for (others, outlier) in [
            (0.0, 1.5),
            (1e-30, 1.5),
            (1e-22, 1e15),
            (1e-38, 1e-18),
            (1e-18, 1e18),
        ] {
            let mut row = vec![others; inputs];
            row[inputs / 2] *= 1000.0;
            row[inputs / 3] = outlier;
            let exact = exact(&layer, &row);
            for backend in whole_numbers(Precision::Outliers) {
                let got = product(&layer, &row, Precision::Outliers, backend);
                let error = relative_error(&got, &exact);
                assert!(error < 1e-6, "{format:?} {backend:?} {outlier}: {error}");
            }
        }
    }
}

#[test]
fn a_row_next_to_nothing_has_no_outliers() {
    let mut rng = StdRng::seed_from_u64(6);
    let layer = random_layer(Format::Q4_1, 16, 64, &mut rng);
    // Their squares are zeros.
    let mut x: Vec<f32> = (0..64).map(|_| rng.random_range(0.5e-23..1e-23)).collect();
    x[40] *= 20.0;
    let exact = exact(&layer, &x);
    for backend in whole_numbers(Precision::Outliers) {
        let error = relative_error(&product(&layer, &x, Precision::Outliers, backend), &exact);
        assert!((1e-4..0.1).contains(&error), "{backend:?}: {error}");
    }
}

#[test]
fn outliers_are_multiplied_with_the_weights_themselves_and_leave_the_others_fine() {
    let mut rng = StdRng::seed_from_u64(5);
    for format in QUANTISED {
        let (outputs, inputs) = (17, 2 * format.block().0);
        let layer = random_layer(format, outputs, inputs, &mut rng);
        let mut x: Vec<f32> = (0..inputs * inputs)
            .map(|_| rng.random_range(-1.0..1.0))
            .collect();
        let others = exact(&layer, &x);
        // Every input is an outlier in a row of its own, so that every code of a tile is read for one.
        for row in 0..inputs {
            x[row * inputs + row] += 1000.0;
        }
        let exact = exact(&layer, &x);
        let portable = product(&layer, &x, Precision::Outliers, Backend::Portable);
        for backend in whole_numbers(Precision::Outliers) {
            let got = product(&layer, &x, Precision::Outliers, backend);
            assert_eq!(bits(&got), bits(&portable), "{format:?} {backend:?}");
            let rows = got.chunks_exact(outputs).zip(exact.chunks_exact(outputs));
            for (row, (got, exact)) in rows.enumerate() {
                let others = length(&others[row * outputs..][..outputs]);
                let errors: Vec<f64> = got
                    .iter()
                    .zip(exact)
                    .map(|(&got, exact)| f64::from(got) - exact)
                    .collect();
                // The rest is the rounding of floats as large as the outlier's products.
                let bound = 0.02 * others + 1e-6 * length(exact);
                let error = length(&errors);
                assert!(
                    error < bound,
                    "{format:?} {backend:?} {row}: {error} of {bound}"
                );
            }
        }
    }
}

fn length(vector: &[f64]) -> f64 {
    vector.iter().map(|value| value * value).sum::<f64>().sqrt()
}

#[test]
fn products_are_near_the_exact_ones_in_both_precisions() {
    let mut rng = StdRng::seed_from_u64(1);
    for format in QUANTISED {
        let (outputs, inputs, rows) = (50, 3 * format.block().0, 7);
        let layer = random_layer(format, outputs, inputs, &mut rng);
        let x: Vec<f32> = (0..rows * inputs)
            .map(|_| rng.random_range(-2.0..2.0))
            .collect();
        let exact = exact(&layer, &x);
        for backend in Backend::available() {
            let fast = relative_error(&product(&layer, &x, Precision::Fast, backend), &exact);
            let fine = relative_error(&product(&layer, &x, Precision::Fine, backend), &exact);
            assert!(fast < 1e-2, "{format:?} {backend:?}: {fast}");
            assert!(fine < 5e-5, "{format:?} {backend:?}: {fine}");
        }
    }
}

#[test]
fn floats_become_eight_bits_within_half_a_step() {
    let mut rng = StdRng::seed_from_u64(2);
    let weights: Vec<f32> = (0..40 * 70).map(|_| rng.random_range(-1.0..1.0)).collect();
    let layer = PackedLinear::from_floats(&weights, 40, 70);
    let bytes: Vec<u8> = weights.iter().flat_map(|w| w.to_le_bytes()).collect();
    let packed = PackedLinear::pack(Format::F32, &bytes, 40, 70).unwrap();
    let (mut row, mut other) = (vec![0.0; 70], vec![0.0; 70]);
    for (output, expected) in weights.chunks_exact(70).enumerate() {
        layer.row(output, &mut row);
        packed.row(output, &mut other);
        assert_eq!(row, other);
        for (got, expected) in row.iter().zip(expected) {
            assert!(
                (got - expected).abs() <= 0.51 / 127.0,
                "{got} for {expected}"
            );
        }
    }
}

#[test]
fn a_row_does_not_depend_on_the_rows_beside_it() {
    let mut rng = StdRng::seed_from_u64(3);
    // More inputs than stay in a cache.
    let (rows, inputs) = (131, 2048);
    let mut x: Vec<f32> = (0..rows * inputs)
        .map(|_| rng.random_range(-2.0..2.0))
        .collect();
    // Outliers in two rows of three.
    for (row, x) in x.chunks_exact_mut(inputs).enumerate() {
        for _ in 0..row % 3 * 12 {
            x[rng.random_range(0..inputs)] *= 30.0;
        }
    }
    for format in [Format::Q4_1, Format::Q6_K] {
        let layer = random_layer(format, 33, inputs, &mut rng);
        for backend in Backend::available() {
            for precision in PRECISIONS {
                let together = product(&layer, &x, precision, backend);
                let alone: Vec<f32> = x
                    .chunks_exact(inputs)
                    .flat_map(|x| product(&layer, x, precision, backend))
                    .collect();
                assert_eq!(together, alone, "{format:?} {backend:?} {precision:?}");
            }
        }
    }
}

/// Numbers of rows around those at which they are grouped, or weights are read, in another way.
fn row_counts() -> impl Iterator<Item = usize> {
    (1..=16).chain([47, 48, 92, 95, 96, 97, 98, 191, 192, 193])
}

#[test]
fn rows_are_the_same_in_groups_of_every_size() {
    let mut rng = StdRng::seed_from_u64(7);
    // So many that their rows are walked over in parts of 96.
    let (outputs, inputs) = (33, 2048);
    let mut x: Vec<f32> = (0..193 * inputs)
        .map(|_| rng.random_range(-1.0..1.0))
        .collect();
    // Outliers in few channels, as models have them; numbers that are none, and infinite ones, in the same.
    for (row, x) in x.chunks_exact_mut(inputs).enumerate() {
        for channel in [0, 77, 300, 2047] {
            x[channel] = match row % 11 {
                3 => f32::NAN,
                7 => f32::NEG_INFINITY,
                _ if rng.random_bool(0.5) => rng.random_range(5.0..50.0),
                _ => x[channel],
            };
        }
    }
    for format in [
        Format::Q4_0,
        Format::Q4_1,
        Format::Q4_K,
        Format::Q5_K,
        Format::Q6_K,
    ] {
        let layer = random_layer(format, outputs, inputs, &mut rng);
        for backend in whole_numbers(Precision::Outliers) {
            let alone: Vec<f32> = x
                .chunks_exact(inputs)
                .flat_map(|x| product(&layer, x, Precision::Outliers, backend))
                .collect();
            for rows in row_counts() {
                let together = product(&layer, &x[..rows * inputs], Precision::Outliers, backend);
                let alone = &alone[..rows * outputs];
                assert!(
                    bits(&together) == bits(alone),
                    "{format:?} {backend:?} {rows}"
                );
            }
        }
    }
}

#[test]
fn inputs_of_any_number_are_rounded_to_the_last() {
    let mut rng = StdRng::seed_from_u64(8);
    for inputs in [1, 31, 33, 100, 159, 160, 192, 224, 225, 255] {
        let weights: Vec<f32> = (0..20 * inputs)
            .map(|_| rng.random_range(-1.0..1.0))
            .collect();
        let layer = PackedLinear::from_floats(&weights, 20, inputs);
        // Blocks of other sizes, and an outlier in the last place of every second row.
        let mut x: Vec<f32> = (0..7 * inputs)
            .map(|place| rng.random_range(-1.0..1.0) / (1 + place % inputs / 32) as f32)
            .collect();
        for x in x.chunks_exact_mut(2 * inputs) {
            x[inputs - 1] = 9.0;
        }
        let exact = exact(&layer, &x);
        for backend in Backend::available() {
            for precision in PRECISIONS {
                let error = relative_error(&product(&layer, &x, precision, backend), &exact);
                assert!(error < 0.02, "{inputs} {backend:?} {precision:?}: {error}");
            }
        }
    }
}

#[test]
#[allow(clippy::float_cmp)] // small whole numbers times a power of two
fn floats_of_four_bits_read_back_exactly() {
    // OCP Microscaling Formats, 2023, table 5.
    let floats = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];
    let value = |code: u8| floats[usize::from(code & 7)] * if code < 8 { 1.0 } else { -1.0 };
    for exponent in [110, 127, 130] {
        let mut block = vec![exponent];
        block.extend((0..16).map(|code| code | (15 - code) << 4));
        let layer = PackedLinear::pack(Format::MXFP4, &block, 1, 32).unwrap();
        let mut row = [0.0; 32];
        layer.row(0, &mut row);
        let scale = (f32::from(exponent) - 127.0).exp2();
        for code in 0..16 {
            assert_eq!(row[usize::from(code)], value(code) * scale);
            assert_eq!(row[usize::from(code) + 16], value(15 - code) * scale);
        }
    }
}

#[test]
fn a_format_knows_what_its_matrices_take_when_packed() {
    let mut rng = StdRng::seed_from_u64(3);
    for format in QUANTISED {
        for (outputs, blocks) in [(1, 1), (16, 2), (33, 3)] {
            let inputs = blocks * format.block().0;
            let tensor = random_tensor(format, outputs, inputs, &mut rng);
            let packed = PackedLinear::pack(format, &tensor, outputs, inputs).unwrap();
            let told = format.packing().bytes(outputs, inputs);
            assert_eq!(told, Some(packed.bytes()), "{format:?} {outputs}x{inputs}");
        }
    }
}

#[test]
fn wrong_sizes_are_refused() {
    for format in QUANTISED {
        assert!(PackedLinear::pack(format, &[0; 100], 2, 33).is_err());
        assert!(PackedLinear::pack(format, &[0; 7], 1, 32).is_err());
        assert!(PackedLinear::pack(format, &[], 0, 32).is_err());
        assert!(PackedLinear::pack(format, &[0; 64], usize::MAX, 1 << 40).is_err());
    }
}

/// Numbers that break careless code, beside ordinary ones.
fn number() -> impl Strategy<Value = f32> {
    prop_oneof![
        6 => -4.0_f32..4.0,
        1 => Just(0.0),
        1 => Just(50.0),
        1 => Just(-300.0),
        1 => Just(f32::MIN_POSITIVE / 8.0),
        1 => Just(3.0e38),
        1 => Just(-1.0e-30),
        1 => Just(f32::NAN),
        1 => Just(f32::INFINITY),
    ]
}

fn bits(values: &[f32]) -> Vec<u32> {
    // Any NaN is as good as another.
    values
        .iter()
        .map(|v| if v.is_nan() { 1 } else { v.to_bits() })
        .collect()
}

#[test]
fn the_largest_sums_are_not_cut_short() {
    let outputs = 17;
    for format in QUANTISED {
        let (inputs, block_bytes) = format.block();
        for code in [0x00, 0x7F, 0x80, 0xFF] {
            let mut block = vec![code; block_bytes];
            for &at in halves(format) {
                block[at..at + 2].copy_from_slice(&half::f16::ONE.to_le_bytes());
            }
            if format == Format::MXFP4 {
                block[0] = 127; // an exponent
            }
            let layer =
                PackedLinear::pack(format, &block.repeat(outputs), outputs, inputs).unwrap();
            // The codes of rows are 127, -127, or both in turn; second bytes are as large.
            for (rows, signs) in [(1, [1.0, 1.0]), (8, [-1.0, -1.0]), (513, [1.0, -1.0])] {
                let x: Vec<f32> = (0..rows * inputs)
                    .map(|at| signs[at % 2] * (1.0 - (at % 4 / 2) as f32 / 257.0))
                    .collect();
                for precision in PRECISIONS {
                    let expected = product(&layer, &x, precision, Backend::Portable);
                    for backend in whole_numbers(precision) {
                        let got = product(&layer, &x, precision, backend);
                        assert_eq!(bits(&got), bits(&expected), "{format:?} {code} {backend:?}");
                    }
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn every_back_end_gives_the_portable_one_s_bits(
        format in proptest::sample::select(QUANTISED.as_slice()),
        outputs in 1..70_usize,
        blocks in 1..5_usize,
        rows in prop_oneof![1..14_usize, Just(65)],
        precision in proptest::sample::select(PRECISIONS.to_vec()),
        seed in any::<u64>(),
        odd in proptest::collection::vec(number(), 40),
        are_finite in any::<bool>(),
    ) {
        let mut rng = StdRng::seed_from_u64(seed);
        let inputs = blocks * format.block().0;
        let layer = random_layer(format, outputs, inputs, &mut rng);
        let mut odd = odd;
        if are_finite {
            // Else most rows have a mean square that is no number, and so no outliers.
            odd.retain(|value| value.abs() < 1e30);
            odd.push(-40.0);
        }
        let x: Vec<f32> = (0..rows * inputs)
            .map(|_| if rng.random_bool(0.02) { odd[rng.random_range(0..odd.len())] } else { rng.random_range(-3.0..3.0) })
            .collect();
        let expected = product(&layer, &x, precision, Backend::Portable);
        for backend in whole_numbers(precision) {
            let got = product(&layer, &x, precision, backend);
            prop_assert_eq!(bits(&got), bits(&expected), "{:?}", backend);
        }
    }
}
