//! Speed of the packed linear layers alone, in 10^9 operations a second (a multiply and an add are
//! two), and in 10^9 bytes of weights a second.
#![allow(clippy::print_stdout)]

use std::time::Instant;

use kernels::{Activations, Backend, Format, PackedLinear, Precision};

const ROUNDS: usize = 7;

fn main() {
    let shapes = [
        (576, 576),
        (576, 1536),
        (1536, 576),
        (2048, 8192),
        (576, 49152),
    ];
    println!("inputs outputs rows format precision backend: Gop/s GB/s");
    for (inputs, outputs) in shapes {
        for format in [Format::Q4_0, Format::Q4_1, Format::Q8_0] {
            let bytes = format.row_bytes(inputs).expect("whole blocks") * outputs;
            let tensor: Vec<u8> = (0..bytes).map(|i| ((i * 7919) >> 3) as u8 & 0x3F).collect();
            let layer = PackedLinear::pack(format, &tensor, outputs, inputs).expect("its size");
            for rows in [1, 8, 64, 256] {
                if outputs > 40_000 && rows > 8 {
                    continue;
                }
                // As many outliers as language models have.
                let input = |i: usize| {
                    if i.is_multiple_of(71) {
                        100.0
                    } else {
                        (i % 17) as f32 - 8.0
                    }
                };
                let x: Vec<f32> = (0..rows * inputs).map(input).collect();
                for precision in [Precision::Fast, Precision::Outliers, Precision::Fine] {
                    time(&layer, &x, precision, format);
                }
            }
        }
    }
}

fn time(layer: &PackedLinear, x: &[f32], precision: Precision, format: Format) {
    let backend = Backend::best();
    let rows = x.len() / layer.inputs();
    let mut out = vec![0.0; rows * layer.outputs()];
    let mut activations = Activations::default();
    let operations = 2.0 * (rows * layer.inputs() * layer.outputs()) as f64;
    let repeats = (1e8 / operations).ceil() as usize;
    let mut seconds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..repeats {
                activations.quantise(x, layer.inputs(), precision, backend);
                layer.multiply(&activations, &mut out, backend);
            }
            start.elapsed().as_secs_f64() / repeats as f64
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    let median = seconds[ROUNDS / 2];
    println!(
        "{} {} {rows} {format:?} {precision:?} {backend:?}: {:.0} {:.1}",
        layer.inputs(),
        layer.outputs(),
        operations / median / 1e9,
        layer.bytes() as f64 / median / 1e9
    );
}
