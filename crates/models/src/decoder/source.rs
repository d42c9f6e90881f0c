//! Where a decoder's tensors come from, and what they are called there.

use candle_core::{DType, Device, Tensor};

use super::config::DecoderConfig;
use crate::checkpoint::Checkpoint;
use crate::gguf::Gguf;
use crate::linear::Linear;
use crate::load::{Files, LoadError};

/// An opened checkpoint of a decoder.
pub(crate) enum Source {
    /// Hugging Face names, `model.layers.0.self_attn.q_proj.weight`.
    HuggingFace(Checkpoint),
    /// llama.cpp's names, `blk.0.attn_q.weight`.
    Gguf(Gguf),
}

/// A tensor by its two names.
#[derive(Clone, Copy)]
pub(crate) struct Name {
    hugging_face: &'static str,
    gguf: &'static str,
}

pub(crate) const EMBEDDING: Name = Name {
    hugging_face: "model.embed_tokens",
    gguf: "token_embd",
};
pub(crate) const FINAL_NORM: Name = Name {
    hugging_face: "model.norm",
    gguf: "output_norm",
};
pub(crate) const HEAD: Name = Name {
    hugging_face: "lm_head",
    gguf: "output",
};
pub(crate) const ATTENTION_NORM: Name = Name {
    hugging_face: "input_layernorm",
    gguf: "attn_norm",
};
pub(crate) const QUERY: Name = Name {
    hugging_face: "self_attn.q_proj",
    gguf: "attn_q",
};
pub(crate) const KEY: Name = Name {
    hugging_face: "self_attn.k_proj",
    gguf: "attn_k",
};
pub(crate) const VALUE: Name = Name {
    hugging_face: "self_attn.v_proj",
    gguf: "attn_v",
};
pub(crate) const OUTPUT: Name = Name {
    hugging_face: "self_attn.o_proj",
    gguf: "attn_output",
};
pub(crate) const FEED_FORWARD_NORM: Name = Name {
    hugging_face: "post_attention_layernorm",
    gguf: "ffn_norm",
};
pub(crate) const GATE: Name = Name {
    hugging_face: "mlp.gate_proj",
    gguf: "ffn_gate",
};
pub(crate) const UP: Name = Name {
    hugging_face: "mlp.up_proj",
    gguf: "ffn_up",
};
pub(crate) const DOWN: Name = Name {
    hugging_face: "mlp.down_proj",
    gguf: "ffn_down",
};

/// The file names under which a GGUF checkpoint is looked for first.
const GGUF_FILE: &str = "model.gguf";

impl Source {
    /// Opens `model.gguf`, or the only `.gguf` of the folder, or else safetensors; and reads the
    /// configuration that goes with it.
    pub(crate) fn open(files: &Files) -> Result<(Self, DecoderConfig), LoadError> {
        let gguf = if files.has(GGUF_FILE) {
            Some(GGUF_FILE.to_owned())
        } else {
            files.only("gguf")
        };
        if let Some(name) = gguf {
            let gguf = Gguf::open(files, &name)?;
            let config = DecoderConfig::from_gguf(&gguf)?;
            return Ok((Self::Gguf(gguf), config));
        }
        let config = DecoderConfig::from_json(files)?;
        Ok((Self::HuggingFace(Checkpoint::open(files)?), config))
    }

    /// Numbers in all tensors together.
    pub(crate) fn elements(&self) -> u64 {
        match self {
            Self::HuggingFace(checkpoint) => checkpoint.elements(),
            Self::Gguf(gguf) => gguf.elements(),
        }
    }

    /// Whether the checkpoint has a tensor outside its layers.
    pub(crate) fn has(&self, name: Name) -> bool {
        let name = self.full(name, None, "weight");
        match self {
            Self::HuggingFace(checkpoint) => checkpoint.has(&name),
            Self::Gguf(gguf) => gguf.has(&name),
        }
    }

    fn full(&self, name: Name, layer: Option<usize>, part: &str) -> String {
        match (self, layer) {
            (Self::HuggingFace(_), None) => format!("{}.{part}", name.hugging_face),
            (Self::HuggingFace(_), Some(layer)) => {
                format!("model.layers.{layer}.{}.{part}", name.hugging_face)
            }
            (Self::Gguf(_), None) => format!("{}.{part}", name.gguf),
            (Self::Gguf(_), Some(layer)) => format!("blk.{layer}.{}.{part}", name.gguf),
        }
    }

    fn read(
        &self,
        name: &str,
        shape: &[usize],
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor, LoadError> {
        match self {
            Self::HuggingFace(checkpoint) => checkpoint.tensor(name, shape, dtype, device),
            Self::Gguf(gguf) => gguf
                .tensor(name, shape)?
                .to_dtype(dtype)
                .and_then(|tensor| tensor.to_device(device))
                .map_err(|error| LoadError::device(&error)),
        }
    }
}

/// Reads the tensors of one layer, or those outside the layers.
pub(crate) struct Scope<'a> {
    pub(crate) source: &'a Source,
    pub(crate) layer: Option<usize>,
    pub(crate) dtype: DType,
    pub(crate) device: &'a Device,
}

impl Scope<'_> {
    /// A weight of an exact shape.
    pub(crate) fn weight(&self, name: Name, shape: &[usize]) -> Result<Tensor, LoadError> {
        self.source.read(
            &self.source.full(name, self.layer, "weight"),
            shape,
            self.dtype,
            self.device,
        )
    }

    /// A projection of `[rows, inner]` to `[rows, outer]`.
    pub(crate) fn linear(
        &self,
        name: Name,
        inner: usize,
        outer: usize,
        bias: bool,
    ) -> Result<Linear, LoadError> {
        let weight = self.weight(name, &[outer, inner])?;
        let bias = if bias {
            Some(self.bias(name, outer)?)
        } else {
            None
        };
        Ok(Linear::new(weight, bias))
    }

    /// A projection to queries or keys. llama.cpp stores its rows so that the pairs that rotate
    /// together lie side by side; here they lie half a head apart, as Hugging Face stores them.
    pub(crate) fn rotated(
        &self,
        name: Name,
        heads: usize,
        config: &DecoderConfig,
    ) -> Result<Linear, LoadError> {
        let outer = heads * config.head_size;
        let mut weight = self.weight(name, &[outer, config.hidden])?;
        let mut bias = if config.attention_bias {
            Some(self.bias(name, outer)?)
        } else {
            None
        };
        if matches!(self.source, Source::Gguf(_)) {
            weight = halves(&weight, heads).map_err(|error| LoadError::device(&error))?;
            bias = bias
                .map(|bias| halves(&bias, heads))
                .transpose()
                .map_err(|error| LoadError::device(&error))?;
        }
        Ok(Linear::new(weight, bias))
    }

    fn bias(&self, name: Name, outer: usize) -> Result<Tensor, LoadError> {
        self.source.read(
            &self.source.full(name, self.layer, "bias"),
            &[outer],
            self.dtype,
            self.device,
        )
    }
}

/// `[heads * head_size, ...]`: rows 0, 1, 2, 3, ... of each head to 0, 2, 4, ..., 1, 3, 5, ...
fn halves(rows: &Tensor, heads: usize) -> candle_core::Result<Tensor> {
    let half = rows.dim(0)? / heads / 2;
    let inner = rows.elem_count() / rows.dim(0)?;
    rows.reshape((heads, half, 2, inner))?
        .transpose(1, 2)?
        .contiguous()?
        .reshape(rows.shape())
}
