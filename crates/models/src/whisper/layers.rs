//! The parts that encoder and decoder share.

use candle_core::{D, DType, Device, Result, Tensor};
use candle_nn::ops::{layer_norm, softmax_last_dim};

use crate::checkpoint::Checkpoint;
use crate::load::LoadError;

/// PyTorch's default, which Whisper keeps.
const NORM_EPSILON: f32 = 1e-5;

/// Reads the tensors below one name, as F32.
#[derive(Clone)]
pub(super) struct Weights<'a> {
    checkpoint: &'a Checkpoint,
    device: &'a Device,
    prefix: String,
}

impl<'a> Weights<'a> {
    pub(super) fn new(checkpoint: &'a Checkpoint, device: &'a Device, prefix: &str) -> Self {
        Self {
            checkpoint,
            device,
            prefix: prefix.to_owned(),
        }
    }

    /// The tensors one name further down.
    pub(super) fn pp(&self, name: impl std::fmt::Display) -> Self {
        Self {
            prefix: format!("{}.{name}", self.prefix),
            ..self.clone()
        }
    }

    pub(super) fn tensor(
        &self,
        name: &str,
        shape: &[usize],
    ) -> std::result::Result<Tensor, LoadError> {
        self.checkpoint.tensor(
            &format!("{}.{name}", self.prefix),
            shape,
            DType::F32,
            self.device,
        )
    }

    pub(super) fn device(&self) -> &Device {
        self.device
    }
}

/// `x W^T + b` on `[rows, inputs]`.
pub(super) struct Linear {
    /// `[outputs, inputs]`, as in the checkpoint.
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    pub(super) fn load(
        weights: &Weights,
        inputs: usize,
        outputs: usize,
    ) -> std::result::Result<Self, LoadError> {
        let bias = Some(weights.tensor("bias", &[outputs])?);
        Ok(Self {
            bias,
            ..Self::load_plain(weights, inputs, outputs)?
        })
    }

    /// A layer without a bias; Whisper's keys have none.
    pub(super) fn load_plain(
        weights: &Weights,
        inputs: usize,
        outputs: usize,
    ) -> std::result::Result<Self, LoadError> {
        Ok(Self {
            weight: weights.tensor("weight", &[outputs, inputs])?,
            bias: None,
        })
    }

    /// `[rows, inputs]` to `[rows, outputs]`.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = x.matmul(&self.weight.t()?)?;
        match &self.bias {
            Some(bias) => y.broadcast_add(bias),
            None => Ok(y),
        }
    }
}

/// Layer normalisation over the last dimension.
pub(super) struct Norm {
    weight: Tensor,
    bias: Tensor,
}

impl Norm {
    pub(super) fn load(weights: &Weights, width: usize) -> std::result::Result<Self, LoadError> {
        Ok(Self {
            weight: weights.tensor("weight", &[width])?,
            bias: weights.tensor("bias", &[width])?,
        })
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        layer_norm(x, &self.weight, &self.bias, NORM_EPSILON)
    }
}

/// Two linear layers with the exact GELU (by the error function) between them.
pub(super) struct FeedForward {
    fc1: Linear,
    fc2: Linear,
}

impl FeedForward {
    pub(super) fn load(
        weights: &Weights,
        width: usize,
        inner: usize,
    ) -> std::result::Result<Self, LoadError> {
        Ok(Self {
            fc1: Linear::load(&weights.pp("fc1"), width, inner)?,
            fc2: Linear::load(&weights.pp("fc2"), inner, width)?,
        })
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.fc2.forward(&self.fc1.forward(x)?.gelu_erf()?)
    }
}

/// The four projections of an attention.
pub(super) struct Attention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    out_proj: Linear,
    heads: usize,
    /// What queries are multiplied by: the inverse root of a head's width.
    scale: f64,
}

impl Attention {
    pub(super) fn load(
        weights: &Weights,
        width: usize,
        heads: usize,
    ) -> std::result::Result<Self, LoadError> {
        Ok(Self {
            q_proj: Linear::load(&weights.pp("q_proj"), width, width)?,
            k_proj: Linear::load_plain(&weights.pp("k_proj"), width, width)?,
            v_proj: Linear::load(&weights.pp("v_proj"), width, width)?,
            out_proj: Linear::load(&weights.pp("out_proj"), width, width)?,
            heads,
            scale: ((width / heads) as f64).powf(-0.5),
        })
    }

    /// Scaled queries of `[rows, width]`, in the same shape.
    pub(super) fn queries(&self, x: &Tensor) -> Result<Tensor> {
        self.q_proj.forward(x)? * self.scale
    }

    /// Keys and values of `[rows, width]`, each in the same shape.
    pub(super) fn keys_values(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        Ok((self.k_proj.forward(x)?, self.v_proj.forward(x)?))
    }

    /// The projection of what was attended to.
    pub(super) fn output(&self, x: &Tensor) -> Result<Tensor> {
        self.out_proj.forward(x)
    }

    /// `[rows, width]` to `[heads, rows, width / heads]`.
    pub(super) fn split(&self, x: &Tensor) -> Result<Tensor> {
        let (rows, width) = x.dims2()?;
        x.reshape((rows, self.heads, width / self.heads))?
            .transpose(0, 1)?
            .contiguous()
    }
}

/// Queries whose scores over 1500 keys stay in the caches of a CPU; all at once take 70 % longer.
const CPU_QUERIES: usize = 100;

/// Softmax attention of split queries over split keys and values; `mask`, where given, is added to
/// the scores. Returns `[rows, width]`.
pub(super) fn attend(q: &Tensor, k: &Tensor, v: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
    let scores = q.matmul(&k.t()?)?;
    let scores = match mask {
        Some(mask) => scores.broadcast_add(mask)?,
        None => scores,
    };
    join(&softmax_last_dim(&scores)?.matmul(v)?)
}

/// [`attend`] without a mask, for many queries.
pub(super) fn attend_to_all(q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Tensor> {
    let rows = q.dim(1)?;
    if !q.device().is_cpu() || rows <= CPU_QUERIES {
        return attend(q, k, v, None);
    }
    let parts: Vec<_> = (0..rows)
        .step_by(CPU_QUERIES)
        .map(|start| {
            let part = q.narrow(1, start, CPU_QUERIES.min(rows - start))?;
            attend(&part, k, v, None)
        })
        .collect::<Result<_>>()?;
    joined(parts)
}

/// Parts `[rows, width]`, at least one, as one.
pub(super) fn joined(mut parts: Vec<Tensor>) -> Result<Tensor> {
    match parts.len() {
        1 => Ok(parts.swap_remove(0)),
        _ => Tensor::cat(&parts, 0),
    }
}

/// `[heads, rows, width / heads]` to `[rows, width]`.
fn join(x: &Tensor) -> Result<Tensor> {
    x.transpose(0, 1)?.contiguous()?.flatten_from(D::Minus2)
}
