//! Linear layers on flat rows in the CPU's memory, without tensors.

use candle_core::DType;
use kernels::{Activations, Backend, Balance, FloatLinear, Format, PackedLinear, Precision};

use crate::checkpoint::Checkpoint;
use crate::load::LoadError;
use crate::quality::Quality;

/// How finely eight-bit layers round inputs that are not balanced. With [`Precision::Fast`] MiniLM's vectors
/// of short texts have cosines down to 0.9981 to the exact ones, with this 0.99955; what is left is the
/// weights'.
const PRECISION: Precision = Precision::Fine;
/// The same of those that are.
const BALANCED_PRECISION: Precision = Precision::Fast;

/// `x W^T + b`.
#[derive(Debug)]
pub(crate) struct Dense {
    weights: Weights,
    outputs: usize,
    /// `[out]`, or nothing.
    bias: Vec<f32>,
    /// What is done to the inputs before they are given to [`Dense::product`]: centres and factors.
    balance: Option<(Vec<f32>, Vec<f32>)>,
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
            bytes.extend_from_slice(&part);
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
            balance: None,
        })
    }

    /// The layer in eight bits, for inputs that are balanced before they are given to it; the centres and
    /// factors are `[inputs]`.
    pub(crate) fn balanced(self, centres: Vec<f32>, factors: Vec<f32>) -> Self {
        let Weights::Float(weights) = &self.weights else {
            return self;
        };
        let (outputs, inputs) = (self.outputs, weights.inputs());
        let mut bias = self.bias;
        bias.resize(outputs, 0.0);
        let mut rows = vec![0.0; outputs * inputs];
        for (output, row) in rows.chunks_exact_mut(inputs).enumerate() {
            weights.row(output, row);
            let mut shift = 0.0_f64;
            for ((weight, centre), factor) in row.iter_mut().zip(&centres).zip(&factors) {
                shift += f64::from(*weight) * f64::from(*centre);
                *weight /= factor;
            }
            bias[output] += shift as f32;
        }
        Self {
            weights: Weights::Packed(PackedLinear::from_floats(&rows, outputs, inputs)),
            outputs,
            bias,
            balance: Some((centres, factors)),
        }
    }

    /// How the layer wants its inputs, where it wants them balanced.
    pub(crate) fn balance(&self) -> Option<Balance<'_>> {
        self.balance
            .as_ref()
            .map(|(centres, factors)| Balance { centres, factors })
    }

    /// The root of the mean square of each input's weights, `[inputs]`; nothing of packed ones.
    pub(crate) fn input_sizes(&self) -> Vec<f32> {
        let Weights::Float(weights) = &self.weights else {
            return Vec::new();
        };
        let mut squares = vec![0.0_f32; weights.inputs()];
        let mut row = vec![0.0; weights.inputs()];
        for output in 0..self.outputs {
            weights.row(output, &mut row);
            for (square, weight) in squares.iter_mut().zip(&row) {
                *square += weight * weight;
            }
        }
        squares
            .into_iter()
            .map(|square| (square / self.outputs as f32).sqrt())
            .collect()
    }

    /// `[out]`, or nothing.
    pub(crate) fn bias(&self) -> &[f32] {
        &self.bias
    }

    /// Outputs of the layer.
    pub(crate) fn outputs(&self) -> usize {
        self.outputs
    }

    /// `[rows, in]` to `[rows, out]`, in place of what `out` held.
    pub(crate) fn forward(&self, rows: &[f32], out: &mut Vec<f32>, scratch: &mut Activations) {
        self.product(rows, out, scratch);
        if self.bias.is_empty() {
            return;
        }
        for row in out.chunks_exact_mut(self.outputs()) {
            for (value, bias) in row.iter_mut().zip(&self.bias) {
                *value += bias;
            }
        }
    }

    /// The same without the bias, of inputs as [`Dense::balance`] wants them.
    pub(crate) fn product(&self, rows: &[f32], out: &mut Vec<f32>, scratch: &mut Activations) {
        let backend = Backend::best();
        let inputs = match &self.weights {
            Weights::Float(weights) => weights.inputs(),
            Weights::Packed(weights) => weights.inputs(),
        };
        out.resize(rows.len() / inputs * self.outputs(), 0.0);
        match &self.weights {
            Weights::Float(weights) => weights.multiply(rows, out, backend),
            Weights::Packed(weights) => {
                let precision = match self.balance {
                    Some(_) => BALANCED_PRECISION,
                    None => PRECISION,
                };
                scratch.quantise(rows, inputs, precision, backend);
                weights.multiply(scratch, out, backend);
            }
        }
    }
}
