//! A linear layer on flat rows. The one place where weights meet activations.

use std::cell::RefCell;
use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, DType, Layout, Result, Shape, Tensor};
use kernels::{Activations, Backend, PackedLinear, Precision};

use crate::floats::with_floats;

/// `x W^T + b`.
#[derive(Debug, Clone)]
pub(crate) struct Linear {
    weight: Weight,
    /// `[out]`.
    bias: Option<Tensor>,
}

#[derive(Debug, Clone)]
enum Weight {
    /// `[out, in]`.
    Dense(Tensor),
    /// Integers in the bits of their file, for the CPU.
    Packed(Packed),
}

/// Packed weights and how finely their inputs are rounded.
#[derive(Debug, Clone)]
pub(crate) struct Packed {
    pub(crate) weights: Arc<PackedLinear>,
    pub(crate) precision: Precision,
}

impl Linear {
    /// Takes the weight `[out, in]` and, where there is one, the bias `[out]`.
    pub(crate) fn new(weight: Tensor, bias: Option<Tensor>) -> Self {
        Self {
            weight: Weight::Dense(weight),
            bias,
        }
    }

    /// Takes packed weights; the rows it is given have to be float32 on the CPU.
    pub(crate) fn packed(weight: Packed, bias: Option<Tensor>) -> Self {
        Self {
            weight: Weight::Packed(weight),
            bias,
        }
    }

    /// Packed weights and the bias; `None`: the weights are not packed.
    pub(crate) fn packed_parts(&self) -> Option<(&Packed, Option<&Tensor>)> {
        match &self.weight {
            Weight::Packed(packed) => Some((packed, self.bias.as_ref())),
            Weight::Dense(_) => None,
        }
    }

    /// Whether a row's bits are the same whatever rows are beside it.
    pub(crate) fn keeps_rows_apart(&self) -> bool {
        matches!(self.weight, Weight::Packed(_))
    }

    /// `[rows, in]` to `[rows, out]` of each of these layers, whose inputs are rounded once.
    pub(crate) fn forward_all<const N: usize>(
        layers: [&Self; N],
        rows: &Tensor,
    ) -> Result<[Tensor; N]> {
        let packed = layers.map(|layer| match &layer.weight {
            Weight::Packed(packed) => Some(packed),
            Weight::Dense(_) => None,
        });
        let precision = packed[0].map(|packed| packed.precision);
        let mut outs = Vec::with_capacity(N);
        match precision {
            Some(precision)
                if packed
                    .iter()
                    .all(|packed| packed.is_some_and(|packed| packed.precision == precision)) =>
            {
                let weights = packed.iter().flatten().map(|packed| &*packed.weights);
                let products = with_floats([rows], |[values]| {
                    products(
                        &weights.collect::<Vec<_>>(),
                        values,
                        rows.dim(1)?,
                        precision,
                    )
                })?;
                for (product, layer) in products.into_iter().zip(layers) {
                    let shape = (rows.dim(0)?, product.len() / rows.dim(0)?);
                    let product = Tensor::from_vec(product, shape, rows.device())?;
                    outs.push(layer.biased(product)?);
                }
            }
            _ => {
                for layer in layers {
                    outs.push(layer.forward(rows)?);
                }
            }
        }
        outs.try_into()
            .map_err(|_| candle_core::Error::Msg("a product for each layer".to_owned()))
    }

    fn biased(&self, product: Tensor) -> Result<Tensor> {
        match &self.bias {
            Some(bias) => product.broadcast_add(bias),
            None => Ok(product),
        }
    }

    /// `[rows, in]` to `[rows, out]`.
    pub(crate) fn forward(&self, rows: &Tensor) -> Result<Tensor> {
        let product = match &self.weight {
            Weight::Dense(weight) => rows.matmul(&weight.t()?)?,
            Weight::Packed(packed) => rows.contiguous()?.apply_op1_no_bwd(packed)?,
        };
        self.biased(product)
    }
}

/// The products of `values`, `[rows, inputs]`, with each matrix; `[rows, outputs]`.
fn products(
    matrices: &[&PackedLinear],
    values: &[f32],
    inputs: usize,
    precision: Precision,
) -> Result<Vec<Vec<f32>>> {
    thread_local! {
        // Reused from product to product.
        static ACTIVATIONS: RefCell<Activations> = RefCell::default();
    }
    if let Some(other) = matrices.iter().find(|matrix| matrix.inputs() != inputs) {
        candle_core::bail!("{inputs} inputs for {} weights", other.inputs());
    }
    let backend = Backend::best();
    Ok(ACTIVATIONS.with_borrow_mut(|activations| {
        activations.quantise(values, inputs, precision, backend);
        let multiply = |matrix: &&PackedLinear| {
            let mut out = vec![0.0; values.len() / inputs * matrix.outputs()];
            matrix.multiply(activations, &mut out, backend);
            out
        };
        matrices.iter().map(multiply).collect()
    }))
}

impl CustomOp1 for Packed {
    fn name(&self) -> &'static str {
        "packed linear"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (rows, inputs) = layout.shape().dims2()?;
        let values = storage.as_slice::<f32>()?;
        let Some((start, end)) = layout.contiguous_offsets() else {
            candle_core::bail!("the rows of a packed product do not lie in order");
        };
        let mut outs = products(
            &[&self.weights],
            &values[start..end],
            inputs,
            self.precision,
        )?;
        let out = outs.pop().unwrap_or_default();
        Ok((CpuStorage::F32(out), (rows, self.weights.outputs()).into()))
    }
}

/// The rows of a matrix that token ids choose.
#[derive(Debug, Clone)]
pub(crate) enum Embedding {
    /// `[vocabulary, hidden]`.
    Dense(Tensor),
    /// The same in the bits of its file.
    Packed(Arc<PackedLinear>),
}

impl Embedding {
    /// `[tokens, hidden]`; the caller has checked the ids.
    pub(crate) fn rows(&self, tokens: &[u32], device: &candle_core::Device) -> Result<Tensor> {
        match self {
            Self::Dense(weight) => weight.index_select(&Tensor::new(tokens, device)?, 0),
            Self::Packed(weights) => {
                let hidden = weights.inputs();
                let mut rows = vec![0.0; tokens.len() * hidden];
                for (row, &token) in rows.chunks_exact_mut(hidden).zip(tokens) {
                    weights.row(token as usize, row);
                }
                Tensor::from_vec(rows, (tokens.len(), hidden), device)
            }
        }
    }

    /// A head that shares these weights.
    pub(crate) fn head(&self, precision: Precision, bias: Option<Tensor>) -> Linear {
        match self {
            Self::Dense(weight) => Linear::new(weight.clone(), bias),
            Self::Packed(weights) => Linear::packed(
                Packed {
                    weights: weights.clone(),
                    precision,
                },
                bias,
            ),
        }
    }
}

/// Whether packed weights can serve: they compute in float32 on the CPU.
pub(crate) fn can_pack(device: &candle_core::Device, dtype: DType) -> bool {
    device.is_cpu() && dtype == DType::F32
}
