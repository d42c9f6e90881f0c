//! What pictures are computed with, against the definitions in double precision, and with the same bits on every
//! back end.

use kernels::{
    Backend, Convolution, Crossed, FloatLinear, Format, GroupNorm, Picture, Side, Window,
};

fn wave(count: usize, step: f32) -> Vec<f32> {
    (0..count).map(|at| (at as f32 * step).sin()).collect()
}

/// Runs on every back end; gives the numbers, which have to be the same.
fn everywhere(count: usize, run: impl Fn(&mut [f32], Backend)) -> Vec<f32> {
    let mut all = Backend::available().into_iter().map(|backend| {
        let mut out = vec![f32::NAN; count];
        run(&mut out, backend);
        out
    });
    let first = all.next().expect("a back end");
    for other in all {
        let differs = first
            .iter()
            .zip(&other)
            .any(|(a, b)| a.to_bits() != b.to_bits());
        assert!(!differs, "back ends differ");
    }
    first
}

fn near(found: &[f32], wanted: impl Iterator<Item = f64>, most: f64) {
    let mut count = 0;
    for (found, wanted) in found.iter().zip(wanted) {
        assert!(
            (f64::from(*found) - wanted).abs() < most,
            "{found} is not {wanted}"
        );
        count += 1;
    }
    assert_eq!(count, found.len());
}

/// A convolution by its definition.
fn convolved(
    picture: Picture<'_>,
    weights: &[f32],
    (outputs, inputs): (usize, usize),
    window: Window,
    at: [usize; 4],
) -> f64 {
    let [batch, output, y, x] = at;
    assert!(output < outputs);
    let mut sum = 0.0;
    for input in 0..inputs {
        for row in 0..window.side {
            for column in 0..window.side {
                let from = |place: usize, offset: usize, size: usize| {
                    let at = (place * window.stride + offset).checked_sub(window.padding);
                    at.filter(|&at| at < size)
                };
                let (Some(line), Some(place)) =
                    (from(y, row, picture.height), from(x, column, picture.width))
                else {
                    continue;
                };
                let pixel = ((batch * inputs + input) * picture.height + line) * picture.width;
                let weight = ((output * inputs + input) * window.side + row) * window.side;
                sum +=
                    f64::from(picture.values[pixel + place]) * f64::from(weights[weight + column]);
            }
        }
    }
    sum
}

#[test]
fn convolutions_are_those_of_their_definition() {
    let window = |side, stride, padding| Window {
        side,
        stride,
        padding,
    };
    for (batch, inputs, outputs, height, width, window) in [
        (2, 5, 37, 9, 7, window(3, 1, 1)),
        (1, 16, 8, 10, 11, window(3, 2, 1)),
        (2, 7, 3, 6, 5, window(1, 1, 0)),
        (1, 3, 4, 9, 9, window(3, 2, 0)),
        (1, 130, 16, 4, 50, window(3, 1, 1)), // more inputs than one part has
        (3, 2, 1, 1, 1, window(3, 1, 1)),
    ] {
        let values = wave(batch * inputs * height * width, 0.37);
        let weights = wave(outputs * inputs * window.side * window.side, 0.91);
        let bytes: Vec<u8> = weights
            .iter()
            .flat_map(|weight| weight.to_le_bytes())
            .collect();
        let packed = Convolution::pack(Format::F32, &bytes, (outputs, inputs), window);
        let packed = packed.expect("a convolution");
        let picture = Picture {
            values: &values,
            batch,
            height,
            width,
        };
        let (tall, wide) = (packed.size(height), packed.size(width));
        // A bias of each picture.
        let bias = wave(batch * outputs, 0.2);
        let count = batch * outputs * tall * wide;
        let found = everywhere(count, |out, backend| {
            packed.run(picture, &bias, out, backend);
        });
        let wanted = (0..count).map(|at| {
            let (rest, x) = (at / wide, at % wide);
            let (rest, y) = (rest / tall, rest % tall);
            let at = [rest / outputs, rest % outputs, y, x];
            convolved(picture, &weights, (outputs, inputs), window, at) + f64::from(bias[rest])
        });
        near(&found, wanted, 1e-4);
    }
    let bytes = [0; 4 * 9 + 1];
    let refused = Convolution::pack(Format::F32, &bytes, (1, 1), window(3, 1, 1));
    assert!(refused.is_err());
}

/// Many rows, which are multiplied block by block, have the bits of rows by themselves.
#[test]
fn rows_do_not_depend_on_their_block() {
    for format in [Format::F32, Format::F16, Format::BF16] {
        let (inputs, outputs, rows) = (1300, 50, 203);
        let number = if format == Format::F32 { 4 } else { 2 };
        let mut bytes: Vec<u8> = (0..inputs * outputs * number)
            .map(|at| (at * 37 % 251) as u8)
            .collect();
        for bytes in bytes.chunks_exact_mut(number) {
            bytes[number - 1] = 0x30 | (bytes[number - 1] & 0x83); // small numbers of either sign
        }
        let matrix = FloatLinear::pack(format, &bytes, outputs, inputs).expect("a matrix");
        let (values, bias) = (wave(rows * inputs, 0.37), wave(outputs, 0.9));
        let many = everywhere(rows * outputs, |out, backend| {
            matrix.multiply_add(&values, &bias, out, backend);
        });
        for row in [0, 5, 100, rows - 1] {
            let mut one = vec![0.0; outputs];
            let values = &values[row * inputs..][..inputs];
            matrix.multiply_add(values, &bias, &mut one, Backend::Portable);
            assert_eq!(
                one,
                many[row * outputs..][..outputs],
                "{format:?} row {row}"
            );
        }
    }
}

#[test]
fn group_norms_are_those_of_their_definition() {
    let (batch, channels, groups, pixels, epsilon) = (2, 12, 4, 37, 1e-5_f32);
    let values: Vec<f32> = wave(batch * channels * pixels, 0.77)
        .iter()
        .map(|x| x * 3.0 + 5.0)
        .collect();
    let (weight, bias) = (wave(channels, 0.3), wave(channels, 0.9));
    for silu in [false, true] {
        let norm = GroupNorm {
            groups,
            weight: &weight,
            bias: &bias,
            epsilon,
            silu,
        };
        let found = everywhere(values.len(), |out, backend| {
            norm.run(&values, pixels, out, backend);
        });
        let each = channels / groups * pixels;
        let wanted = (0..values.len()).map(|at| {
            let group = &values[at / each * each..][..each];
            let mean = group.iter().map(|&x| f64::from(x)).sum::<f64>() / each as f64;
            let squares = group
                .iter()
                .map(|&x| (f64::from(x) - mean).powi(2))
                .sum::<f64>();
            let deviation = (squares / each as f64 + f64::from(epsilon)).sqrt();
            let channel = at / pixels % channels;
            let normal = (f64::from(values[at]) - mean) / deviation * f64::from(weight[channel])
                + f64::from(bias[channel]);
            if silu {
                normal / (1.0 + (-normal).exp())
            } else {
                normal
            }
        });
        near(&found, wanted, 1e-5);
    }
}

#[test]
fn attention_to_other_rows_is_that_of_its_definition() {
    for (heads, size, rows, keys) in [
        (2, 40, 70, 77),
        (3, 8, 130, 300),
        (1, 16, 64, 64),
        (2, 80, 9, 1),
    ] {
        let width = heads * size;
        let (queries, pairs) = (wave(rows * width, 0.37), wave(keys * 2 * width, 0.77));
        let crossed = Crossed {
            heads,
            size,
            scale: 0.3,
        };
        let side = |values, rows, row| Side {
            values,
            rows,
            row,
            head: size,
        };
        let both = [
            side(&pairs, keys, 2 * width),
            side(&pairs[width..], keys, 2 * width),
        ];
        let found = everywhere(rows * width, |out, backend| {
            crossed.run(side(&queries, rows, width), both, out, backend);
        });
        let wanted = (0..rows * width).map(|at| {
            let (row, column) = (at / width, at % width);
            let head = column / size * size;
            let query = &queries[row * width + head..][..size];
            let scores: Vec<f64> = pairs
                .chunks_exact(2 * width)
                .map(|pair| {
                    let key = query.iter().zip(&pair[head..]);
                    key.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>() * 0.3
                })
                .collect();
            let most = scores.iter().copied().fold(f64::MIN, f64::max);
            let weights: Vec<f64> = scores.iter().map(|score| (score - most).exp()).collect();
            let values = pairs
                .chunks_exact(2 * width)
                .map(|pair| f64::from(pair[width + column]));
            let sum = weights
                .iter()
                .zip(values)
                .map(|(weight, value)| weight * value)
                .sum::<f64>();
            sum / weights.iter().sum::<f64>()
        });
        near(&found, wanted, 1e-5);
    }
}
