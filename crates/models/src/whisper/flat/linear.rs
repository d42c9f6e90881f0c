//! Linear layers and norms on flat rows.

use candle_core::DType;
use kernels::{Activations, Backend, FloatLinear, Format, PackedLinear, Precision, layer_norm};

use crate::checkpoint::Checkpoint;
use crate::load::LoadError;
use crate::quality::Quality;

/// PyTorch's default, which Whisper keeps.
const NORM_EPSILON: f32 = 1e-5;
/// Rows that go through a layer together: as many as stay in a core's cache with their products.
const ROWS_TOGETHER: usize = 300;

/// `x W^T + b`.
#[derive(Debug)]
pub(super) struct Linear {
    weights: Weights,
    /// `[outputs]`; empty for a layer without.
    bias: Vec<f32>,
}

#[derive(Debug)]
enum Weights {
    Float(FloatLinear),
    Packed(PackedLinear),
}

/// The parts of a layer whose outputs follow each other: their names, and whether they have a bias.
pub(super) type Parts<'a> = &'a [(&'a str, bool)];

impl Linear {
    /// Reads `<name>.weight`, `[outputs, inputs]`, of each part, and its bias.
    pub(super) fn read(
        checkpoint: &Checkpoint,
        prefix: &str,
        parts: Parts<'_>,
        (outputs, inputs): (usize, usize),
        quality: Quality,
    ) -> Result<Self, LoadError> {
        let (mut bytes, mut bias, mut dtype) = (Vec::new(), Vec::new(), None);
        for (name, has_bias) in parts {
            let weight = format!("{prefix}{name}.weight");
            let (found, part) = checkpoint.bytes(&weight, &[outputs, inputs])?;
            if *dtype.get_or_insert(found) != found {
                let detail = format!("{weight} and its neighbours differ in their type");
                return Err(LoadError::unsupported(checkpoint.file(), detail));
            }
            bytes.extend_from_slice(&part);
            if *has_bias {
                bias.extend(checkpoint.floats(&format!("{prefix}{name}.bias"), &[outputs])?);
            } else if parts.len() > 1 {
                bias.resize(bias.len() + outputs, 0.0);
            }
        }
        let format = match dtype {
            Some(DType::F16) => Format::F16,
            Some(DType::BF16) => Format::BF16,
            Some(DType::F32) => Format::F32,
            other => {
                let detail = format!("weights of the type {other:?}; floats are known");
                return Err(LoadError::unsupported(checkpoint.file(), detail));
            }
        };
        let outputs = outputs * parts.len();
        let packed = match quality {
            Quality::Exact => {
                FloatLinear::pack(format, &bytes, outputs, inputs).map(Weights::Float)
            }
            Quality::Fast => {
                PackedLinear::pack(format, &bytes, outputs, inputs).map(Weights::Packed)
            }
        };
        let weights =
            packed.map_err(|error| LoadError::corrupt(checkpoint.file(), error.to_string()))?;
        Ok(Self { weights, bias })
    }

    /// Takes floats `[outputs, inputs]`, kept as they are.
    pub(super) fn of_floats(weights: &[f32], bias: Vec<f32>, inputs: usize) -> Self {
        let outputs = weights.len() / inputs;
        Self {
            weights: Weights::Float(FloatLinear::from_floats(weights, outputs, inputs)),
            bias,
        }
    }

    fn sizes(&self) -> (usize, usize) {
        match &self.weights {
            Weights::Float(weights) => (weights.outputs(), weights.inputs()),
            Weights::Packed(weights) => (weights.outputs(), weights.inputs()),
        }
    }

    /// Writes the weights of one output into `row`.
    pub(super) fn row(&self, output: usize, row: &mut [f32]) {
        match &self.weights {
            Weights::Float(weights) => weights.row(output, row),
            Weights::Packed(weights) => weights.row(output, row),
        }
    }

    /// `[rows, inputs]` to `[rows, outputs]`, in place of what `out` held.
    pub(super) fn forward(&self, rows: &[f32], out: &mut Vec<f32>, scratch: &mut Activations) {
        let backend = Backend::best();
        let (outputs, inputs) = self.sizes();
        out.resize(rows.len() / inputs * outputs, 0.0);
        let some = rows.chunks(ROWS_TOGETHER * inputs);
        for (rows, out) in some.zip(out.chunks_mut(ROWS_TOGETHER * outputs)) {
            match &self.weights {
                Weights::Float(weights) => weights.multiply(rows, out, backend),
                Weights::Packed(weights) => {
                    scratch.quantise(rows, inputs, Precision::Fast, backend);
                    weights.multiply(scratch, out, backend);
                }
            }
            if !self.bias.is_empty() {
                for row in out.chunks_exact_mut(outputs) {
                    add(row, &self.bias);
                }
            }
        }
    }
}

/// Layer normalisation.
#[derive(Debug)]
pub(super) struct Norm {
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl Norm {
    pub(super) fn read(
        checkpoint: &Checkpoint,
        name: &str,
        width: usize,
    ) -> Result<Self, LoadError> {
        Ok(Self {
            weight: checkpoint.floats(&format!("{name}.weight"), &[width])?,
            bias: checkpoint.floats(&format!("{name}.bias"), &[width])?,
        })
    }

    /// In place of what `out` held.
    pub(super) fn forward(&self, rows: &[f32], out: &mut Vec<f32>) {
        out.resize(rows.len(), 0.0);
        let weights = (self.weight.as_slice(), Some(self.bias.as_slice()));
        layer_norm(rows, weights, NORM_EPSILON, out, Backend::best());
    }
}

/// `sums += others`.
pub(super) fn add(sums: &mut [f32], others: &[f32]) {
    for (sum, other) in sums.iter_mut().zip(others) {
        *sum += other;
    }
}

/// Parts rows of `[3, width]` into three.
pub(super) fn part(rows: &[f32], width: usize, parts: [&mut Vec<f32>; 3]) {
    let [first, second, third] = parts;
    for part in [&mut *first, &mut *second, &mut *third] {
        part.clear();
        part.reserve(rows.len() / 3);
    }
    for row in rows.chunks_exact(3 * width) {
        first.extend_from_slice(&row[..width]);
        second.extend_from_slice(&row[width..2 * width]);
        third.extend_from_slice(&row[2 * width..]);
    }
}
