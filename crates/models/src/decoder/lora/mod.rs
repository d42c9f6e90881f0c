//! LoRA adapters (Hu et al. 2021): products of two thin matrices, added to the projections of some sequences' rows.
//!
//! The arithmetic is plain functions on slices, float32 throughout. A row's sum depends on the row and its adapter only,
//! to the bit, whatever rows are beside it.

mod read;
mod shelf;
mod step;

use std::ops::Range;

use super::config::DecoderConfig;

pub(crate) use shelf::{Shelf, reserved_bytes};
pub(crate) use step::{Deltas, Lora};

/// The highest rank of an adapter, as the service takes them.
const RANK_MAX: usize = 32;

/// A projection that an adapter may add to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Module {
    Query,
    Key,
    Value,
    Output,
    Gate,
    Up,
    Down,
}

impl Module {
    const ALL: [Self; 7] = [
        Self::Query,
        Self::Key,
        Self::Value,
        Self::Output,
        Self::Gate,
        Self::Up,
        Self::Down,
    ];

    /// Its name within a layer, as transformers has it for the Llama family.
    fn name(self) -> &'static str {
        match self {
            Self::Query => "self_attn.q_proj",
            Self::Key => "self_attn.k_proj",
            Self::Value => "self_attn.v_proj",
            Self::Output => "self_attn.o_proj",
            Self::Gate => "mlp.gate_proj",
            Self::Up => "mlp.up_proj",
            Self::Down => "mlp.down_proj",
        }
    }

    /// Numbers that go in, and that come out.
    fn widths(self, config: &DecoderConfig) -> (usize, usize) {
        match self {
            Self::Query => (config.hidden, config.query_width()),
            Self::Key | Self::Value => (config.hidden, config.key_width()),
            Self::Output => (config.query_width(), config.hidden),
            Self::Gate | Self::Up => (config.hidden, config.intermediate),
            Self::Down => (config.intermediate, config.hidden),
        }
    }
}

/// An adapter in memory.
#[derive(Debug)]
pub(crate) struct Adapter {
    /// One of its kind in the life of a loaded model: what the cache of its rows is known by.
    pub(crate) id: u64,
    layers: Vec<[Option<Delta>; Module::ALL.len()]>,
    bytes: u64,
}

impl Adapter {
    /// Adds what it has for a projection: `rows` of `input`, `[all rows, in]`, to those of `output`, `[all rows, out]`.
    pub(crate) fn add(
        &self,
        (layer, module): (usize, Module),
        rows: Range<usize>,
        input: &[f32],
        output: &mut [f32],
    ) {
        let modules = self.layers.get(layer);
        if let Some(Some(delta)) = modules.map(|modules| &modules[module as usize]) {
            delta.add(
                &input[rows.start * delta.inner..rows.end * delta.inner],
                &mut output[rows.start * delta.outer..rows.end * delta.outer],
            );
        }
    }
}

/// What is added to one projection.
#[derive(Debug)]
struct Delta {
    inner: usize,
    outer: usize,
    /// A, `[rank, in]`.
    down: Vec<f32>,
    /// B with the adapter's scale in it, the other way round: `[rank, out]`.
    up: Vec<f32>,
}

/// Sums that run side by side, so that the compiler can keep them in one register.
const LANES: usize = 16;

impl Delta {
    /// From A `[rank, in]` and B `[out, rank]`.
    fn new((inner, outer): (usize, usize), down: Vec<f32>, up: &[f32], scale: f32) -> Self {
        let rank = down.len() / inner;
        let mut turned = vec![0.0; up.len()];
        for (output, numbers) in up.chunks_exact(rank).enumerate() {
            for (place, number) in numbers.iter().enumerate() {
                turned[place * outer + output] = scale * number;
            }
        }
        Self {
            inner,
            outer,
            down,
            up: turned,
        }
    }

    fn bytes((inner, outer): (usize, usize), rank: usize) -> u64 {
        (rank * (inner + outer) * size_of::<f32>()) as u64
    }

    /// Rows `[rows, in]` to rows `[rows, out]`.
    fn add(&self, input: &[f32], output: &mut [f32]) {
        let mut sum = vec![0.0; self.outer];
        let outputs = output.chunks_exact_mut(self.outer);
        for (input, output) in input.chunks_exact(self.inner).zip(outputs) {
            sum.fill(0.0);
            let down = self.down.chunks_exact(self.inner);
            for (down, up) in down.zip(self.up.chunks_exact(self.outer)) {
                let factor = dot(down, input);
                for (sum, up) in sum.iter_mut().zip(up) {
                    *sum += factor * up;
                }
            }
            for (output, sum) in output.iter_mut().zip(&sum) {
                *output += sum;
            }
        }
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f32; LANES];
    let (a, b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest = a.remainder().iter().zip(b.remainder());
    let rest: f32 = rest.map(|(a, b)| a * b).sum();
    for (a, b) in a.zip(b) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize, seed: usize) -> Vec<f32> {
        let number = |place| ((place * 37 + seed * 11) % 64) as f32 / 32.0 - 1.0;
        (0..count).map(number).collect()
    }

    /// In the order of the formula, in double precision.
    #[test]
    fn a_delta_is_the_scaled_product_of_both_matrices() {
        let (rank, inner, outer, rows) = (3, 21, 18, 4);
        let (down, up) = (numbers(rank * inner, 1), numbers(outer * rank, 2));
        let (input, base) = (numbers(rows * inner, 3), numbers(rows * outer, 4));
        let delta = Delta::new((inner, outer), down.clone(), &up, 0.5);
        let mut output = base.clone();
        delta.add(&input, &mut output);
        for row in 0..rows {
            for column in 0..outer {
                let mut wanted = f64::from(base[row * outer + column]);
                for place in 0..rank {
                    let thin: f64 = (0..inner)
                        .map(|at| f64::from(down[place * inner + at] * input[row * inner + at]))
                        .sum();
                    wanted += 0.5 * f64::from(up[column * rank + place]) * thin;
                }
                let told = f64::from(output[row * outer + column]);
                assert!((told - wanted).abs() < 1e-4, "{told} is not {wanted}");
            }
        }
        // A row alone has the same bits.
        let mut alone = base[outer..2 * outer].to_vec();
        delta.add(&input[inner..2 * inner], &mut alone);
        let bits = |row: &[f32]| row.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&alone), bits(&output[outer..2 * outer]));
    }
}
