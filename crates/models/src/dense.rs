//! Linear layers on flat rows in the CPU's memory, without tensors.

use candle_core::DType;
use kernels::{Activations, Backend, FloatLinear, Format, PackedLinear, Precision};

use crate::checkpoint::Checkpoint;
use crate::load::LoadError;
use crate::quality::Quality;

/// How finely eight-bit layers round their inputs. With [`Precision::Fast`] MiniLM's vectors of short
/// texts have cosines down to 0.9981 to the exact ones, with this 0.99955; what is left is the weights'.
const PRECISION: Precision = Precision::Fine;

/// `x W^T + b`.
#[derive(Debug)]
pub(crate) struct Dense {
    weights: Weights,
    outputs: usize,
    /// `[out]`, or nothing.
    bias: Vec<f32>,
}

#[derive(Debug)]
enum Weights {
    Float(FloatLinear),
    Packed(PackedLinear),
}

impl Dense {
    /// Reads `<name>.weight`, `[outputs, inputs]`, and `<name>.bias`, where there is one, of each name
    /// and its outputs, as one layer whose outputs follow each other.
    pub(crate) fn read(
        checkpoint: &Checkpoint,
        parts: &[(String, usize)],
        inputs: usize,
        quality: Quality,
    ) -> Result<Self, LoadError> {
        let mut bytes = Vec::new();
        let mut bias = Vec::new();
        let mut dtype = None;
        let has_bias = parts
            .iter()
            .any(|(name, _)| checkpoint.has(&format!("{name}.bias")));
        for (name, outputs) in parts {
            let weight = format!("{name}.weight");
            let (found, part) = checkpoint.bytes(&weight, &[*outputs, inputs])?;
            if *dtype.get_or_insert(found) != found {
                let detail = format!("{weight} and its neighbours differ in their type");
                return Err(LoadError::unsupported(checkpoint.file(), detail));
            }
            bytes.extend_from_slice(part);
            if has_bias {
                bias.extend(checkpoint.floats(&format!("{name}.bias"), &[*outputs])?);
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
        let outputs = parts.iter().map(|(_, outputs)| outputs).sum();
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
        Ok(Self {
            weights,
            outputs,
            bias,
        })
    }

    /// Outputs of the layer.
    pub(crate) fn outputs(&self) -> usize {
        self.outputs
    }

    /// `[rows, in]` to `[rows, out]`, in place of what `out` held.
    pub(crate) fn forward(&self, rows: &[f32], out: &mut Vec<f32>, scratch: &mut Activations) {
        let backend = Backend::best();
        let inputs = match &self.weights {
            Weights::Float(weights) => weights.inputs(),
            Weights::Packed(weights) => weights.inputs(),
        };
        out.resize(rows.len() / inputs * self.outputs(), 0.0);
        match &self.weights {
            Weights::Float(weights) => weights.multiply(rows, out, backend),
            Weights::Packed(weights) => {
                scratch.quantise(rows, inputs, PRECISION, backend);
                weights.multiply(scratch, out, backend);
            }
        }
        if self.bias.is_empty() {
            return;
        }
        for row in out.chunks_exact_mut(self.outputs()) {
            for (value, bias) in row.iter_mut().zip(&self.bias) {
                *value += bias;
            }
        }
    }
}
