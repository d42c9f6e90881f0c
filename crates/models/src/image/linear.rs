//! A linear layer on the last axis. On the CPU weights of 16 bits stay as they are in their file.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, CustomOp2, D, DType, Layout, Result, Shape, Tensor};
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

    /// Reads a weight that lies the other way, `[inputs, outputs]`, and has no bias.
    pub(super) fn turned(
        source: &Source<'_>,
        inputs: usize,
        outputs: usize,
    ) -> std::result::Result<Self, LoadError> {
        let weight = source.tensor("weight", &[inputs, outputs])?;
        let weight = weight.t().and_then(|weight| weight.contiguous());
        Ok(Self {
            weight: Weight::Tensor(weight.map_err(|error| unloaded(&error))?),
            outputs,
            bias: None,
        })
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
            Weight::Half(half) => return half.forward(&rows, self.bias.as_ref())?.reshape(shape),
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
        let (dtype, part) = source.bytes("weight", shape)?;
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
        bytes.extend_from_slice(&part);
    }
    if let (false, false, Some(source)) = (tensors.is_empty(), bytes.is_empty(), sources.first()) {
        let detail = format!(
            "{} and its neighbours differ in their type",
            source.name("weight")
        );
        return Err(LoadError::unsupported(source.checkpoint.file(), detail));
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

impl Half {
    /// `[rows, inputs]` to `[rows, outputs]`.
    fn forward(&self, rows: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let rows = rows.contiguous()?;
        match bias {
            Some(bias) => rows.apply_op2_no_bwd(bias, self),
            None => rows.apply_op1_no_bwd(self),
        }
    }

    /// Rows in order, and a bias or none.
    fn multiply(
        &self,
        storage: &CpuStorage,
        layout: &Layout,
        bias: Option<&[f32]>,
    ) -> Result<(CpuStorage, Shape)> {
        let (rows, inputs) = layout.shape().dims2()?;
        let values = storage.as_slice::<f32>()?;
        let Some((start, end)) = layout.contiguous_offsets() else {
            candle_core::bail!("the rows of a product do not lie in order");
        };
        let outputs = self.0.outputs();
        if inputs != self.0.inputs() || bias.is_some_and(|bias| bias.len() != outputs) {
            candle_core::bail!("{inputs} inputs for {} weights", self.0.inputs());
        }
        let (values, mut out) = (&values[start..end], vec![0.0; rows * outputs]);
        match bias {
            Some(bias) => self.0.multiply_add(values, bias, &mut out, Backend::best()),
            None => self.0.multiply(values, &mut out, Backend::best()),
        }
        Ok((CpuStorage::F32(out), (rows, outputs).into()))
    }
}

impl CustomOp2 for Half {
    fn name(&self) -> &'static str {
        "linear of half precision, with a bias"
    }

    fn cpu_fwd(
        &self,
        storage: &CpuStorage,
        layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let Some((start, end)) = bias_layout.contiguous_offsets() else {
            candle_core::bail!("a bias does not lie in order");
        };
        let bias = &bias.as_slice::<f32>()?[start..end];
        self.multiply(storage, layout, Some(bias))
    }
}

impl CustomOp1 for Half {
    fn name(&self) -> &'static str {
        "linear of half precision"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        self.multiply(storage, layout, None)
    }
}
