//! A linear layer on the last axis. On the CPU weights of 16 bits stay as they are in their file.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, D, DType, Layout, Result, Shape, Tensor};
use kernels::{Backend, FloatLinear, Format, PackedLinear, Precision};

use super::source::{Source, unloaded};
use crate::linear::Packed;
use crate::load::LoadError;
use crate::quality::Quality;

/// `x W^T + b`.
#[derive(Debug, Clone)]
pub(super) struct Linear {
    weight: Weight,
    outputs: usize,
    /// `[outputs]`.
    bias: Option<Tensor>,
}

#[derive(Debug, Clone)]
enum Weight {
    /// `[outputs, inputs]`.
    Tensor(Tensor),
    Half(Half),
    Packed(Packed),
}

/// Floats of 16 bits, multiplied in 32 on the CPU.
#[derive(Debug, Clone)]
struct Half(Arc<FloatLinear>);

impl Linear {
    /// Reads `weight`, `[outputs, inputs]` or that of a 1x1 convolution, and `bias` where there is one.
    pub(super) fn read(
        source: &Source<'_>,
        inputs: usize,
        outputs: usize,
    ) -> std::result::Result<Self, LoadError> {
        Self::joined(std::slice::from_ref(source), inputs, &[outputs])
    }

    /// Several layers of the same inputs as one, whose outputs follow each other.
    pub(super) fn joined(
        sources: &[Source<'_>],
        inputs: usize,
        outputs: &[usize],
    ) -> std::result::Result<Self, LoadError> {
        let Some(first) = sources.first() else {
            return Err(LoadError::Device {
                detail: "a layer of no layers".into(),
            });
        };
        let mut biases = Vec::new();
        for (source, &outputs) in sources.iter().zip(outputs) {
            if source.has("bias") {
                biases.push(source.tensor("bias", &[outputs])?);
            }
        }
        let bias = match biases.len() {
            0 => None,
            count if count == sources.len() => {
                Some(Tensor::cat(&biases, 0).map_err(|error| unloaded(&error))?)
            }
            _ => {
                let detail = format!("{} and its neighbours differ in their bias", first.name(""));
                return Err(LoadError::corrupt(first.checkpoint.file(), detail));
            }
        };
        Ok(Self {
            weight: weight(sources, inputs, outputs)?,
            outputs: outputs.iter().sum(),
            bias,
        })
    }

    /// `[.., inputs]` to `[.., outputs]`.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let inputs = x.dim(D::Minus1)?;
        let mut shape = x.dims().to_vec();
        shape.pop();
        shape.push(self.outputs);
        let rows = x.reshape(((), inputs))?;
        let product = match &self.weight {
            Weight::Tensor(weight) => rows.matmul(&weight.t()?)?,
            Weight::Half(half) => rows.contiguous()?.apply_op1_no_bwd(half)?,
            Weight::Packed(packed) => rows.contiguous()?.apply_op1_no_bwd(packed)?,
        };
        let product = match &self.bias {
            Some(bias) => product.broadcast_add(bias)?,
            None => product,
        };
        product.reshape(shape)
    }
}

fn weight(
    sources: &[Source<'_>],
    inputs: usize,
    outputs: &[usize],
) -> std::result::Result<Weight, LoadError> {
    let total: usize = outputs.iter().sum();
    let (mut tensors, mut bytes, mut format) = (Vec::new(), Vec::new(), None);
    for (source, &outputs) in sources.iter().zip(outputs) {
        let file = source.checkpoint.file();
        let name = source.name("weight");
        let shape: &[usize] = match source.shape("weight") {
            Some([_, _, 1, 1]) => &[outputs, inputs, 1, 1],
            _ => &[outputs, inputs],
        };
        let (dtype, part) = source.checkpoint.bytes(&name, shape)?;
        let home = source.home;
        let wanted = match (dtype, home.quality) {
            _ if !home.device.is_cpu() => None,
            (DType::F16, _) => Some(Format::F16),
            (DType::BF16, _) => Some(Format::BF16),
            (DType::F32, Quality::Fast) => Some(Format::F32),
            _ => None,
        };
        let Some(wanted) = wanted else {
            let tensor = source.tensor("weight", shape)?;
            let tensor = tensor.reshape((outputs, inputs));
            tensors.push(tensor.map_err(|error| unloaded(&error))?);
            continue;
        };
        if *format.get_or_insert(wanted) != wanted {
            let detail = format!("{name} and its neighbours differ in their type");
            return Err(LoadError::unsupported(file, detail));
        }
        bytes.extend_from_slice(part);
    }
    let (Some(first), true) = (sources.first(), tensors.is_empty()) else {
        let joined = Tensor::cat(&tensors, 0).map_err(|error| unloaded(&error))?;
        return Ok(Weight::Tensor(joined));
    };
    let format = format.unwrap_or(Format::F32);
    let packed = match first.home.quality {
        Quality::Exact => FloatLinear::pack(format, &bytes, total, inputs)
            .map(|weights| Weight::Half(Half(Arc::new(weights)))),
        Quality::Fast => PackedLinear::pack(format, &bytes, total, inputs).map(|weights| {
            Weight::Packed(Packed {
                weights: Arc::new(weights),
                precision: Precision::Fine,
            })
        }),
    };
    packed.map_err(|error| LoadError::corrupt(first.checkpoint.file(), error.to_string()))
}

impl CustomOp1 for Half {
    fn name(&self) -> &'static str {
        "linear of half precision"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (rows, inputs) = layout.shape().dims2()?;
        let values = storage.as_slice::<f32>()?;
        let Some((start, end)) = layout.contiguous_offsets() else {
            candle_core::bail!("the rows of a product do not lie in order");
        };
        if inputs != self.0.inputs() {
            candle_core::bail!("{inputs} inputs for {} weights", self.0.inputs());
        }
        let mut out = vec![0.0; rows * self.0.outputs()];
        self.0
            .multiply(&values[start..end], &mut out, Backend::best());
        Ok((CpuStorage::F32(out), (rows, self.0.outputs()).into()))
    }
}
