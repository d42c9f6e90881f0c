//! What a decoder looks like, as data: read from `config.json` or from the metadata of a GGUF file.
//!
//! Families differ by values here, not by code: Llama 2, 3, 3.1 and 3.2 today (Touvron et al. 2023;
//! transformers' `modeling_llama.py`; llama.cpp's `llama.*` keys).

use std::path::Path;

use serde::Deserialize;

use crate::gguf::Gguf;
use crate::load::{Files, LoadError};

/// The most layers.
const LAYERS_MAX: usize = 1024;
/// The most attention heads.
const HEADS_MAX: usize = 4096;
/// The widest vector of a layer, in numbers.
const WIDTH_MAX: usize = 1 << 20;
/// The largest vocabulary, in tokens.
const VOCABULARY_MAX: usize = 1 << 24;
/// The longest window, in tokens.
const WINDOW_MAX: usize = 1 << 24;

/// The shape of a decoder.
#[derive(Debug, Clone, PartialEq)]
pub struct DecoderConfig {
    /// Tokens of the vocabulary.
    pub vocabulary: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width inside the feed-forward layers.
    pub intermediate: usize,
    /// Layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of a head; even.
    pub head_size: usize,
    /// Positions that the weights were trained for.
    pub window: usize,
    /// Epsilon of the RMS norms.
    pub norm_epsilon: f64,
    /// Rotary positions.
    pub rope: Rope,
    /// Whether the projections of attention have biases.
    pub attention_bias: bool,
    /// Whether the feed-forward layers have biases.
    pub feed_forward_bias: bool,
    /// Whether the head is the embedding; `None`: if the checkpoint holds no other.
    pub tied_head: Option<bool>,
}

/// Rotary position embedding (Su et al. 2021).
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// The base of the frequencies.
    pub theta: f64,
    /// How the frequencies are stretched to longer windows.
    pub scaling: Scaling,
}

/// How rotary frequencies are stretched.
#[derive(Debug, Clone, PartialEq)]
pub enum Scaling {
    /// Not at all.
    None,
    /// All by one factor.
    Linear {
        /// The factor.
        factor: f64,
    },
    /// Low ones by a factor, high ones not, smoothly between (Llama 3.1).
    Llama3 {
        /// Divides the low frequencies.
        factor: f64,
        /// Wavelengths longer than the original window over this are scaled in full.
        low: f64,
        /// Wavelengths shorter than the original window over this are not scaled.
        high: f64,
        /// The window before stretching.
        original_window: f64,
    },
    /// Each by a divisor that the checkpoint lists, `[head_size / 2]` (llama.cpp's `rope_freqs`).
    Listed(Vec<f32>),
}

impl DecoderConfig {
    /// Reads `config.json`.
    pub(crate) fn from_json(files: &Files) -> Result<Self, LoadError> {
        let raw: RawConfig = files.json("config.json")?;
        let file = files.path("config.json");
        if raw.model_type != "llama" {
            return Err(LoadError::unsupported(
                &file,
                format!("model_type {:?}; llama is known", raw.model_type),
            ));
        }
        if raw.hidden_act != "silu" {
            return Err(LoadError::unsupported(
                &file,
                format!("hidden_act {:?}; silu is known", raw.hidden_act),
            ));
        }
        let parameters = raw.rope_parameters.as_ref();
        let scaling = scaling(&file, raw.rope_scaling.as_ref().or(parameters))?;
        let theta = raw
            .rope_theta
            .or(parameters.and_then(|rope| rope.rope_theta));
        Self {
            vocabulary: raw.vocab_size,
            hidden: raw.hidden_size,
            intermediate: raw.intermediate_size,
            layers: raw.num_hidden_layers,
            heads: raw.num_attention_heads,
            kv_heads: raw.num_key_value_heads.unwrap_or(raw.num_attention_heads),
            head_size: raw.head_dim.unwrap_or_else(|| {
                raw.hidden_size
                    .checked_div(raw.num_attention_heads)
                    .unwrap_or(0)
            }),
            window: raw.max_position_embeddings,
            norm_epsilon: raw.rms_norm_eps,
            rope: Rope {
                theta: theta.unwrap_or(10_000.0),
                scaling,
            },
            attention_bias: raw.attention_bias,
            feed_forward_bias: raw.mlp_bias,
            tied_head: Some(raw.tie_word_embeddings),
        }
        .checked(&file)
    }

    /// Reads the `llama.*` entries.
    pub(crate) fn from_gguf(gguf: &Gguf) -> Result<Self, LoadError> {
        let file = gguf.file();
        let family = gguf.text("general.architecture")?.unwrap_or_default();
        if family != "llama" {
            return Err(LoadError::unsupported(
                file,
                format!("architecture {family:?}; llama is known"),
            ));
        }
        let optional = |key: &str| {
            Ok(gguf
                .integer(&format!("llama.{key}"))?
                .map(|value| value as usize))
        };
        let needed = |key: &str| {
            optional(key)?.ok_or_else(|| {
                LoadError::corrupt(file, format!("there is no entry \"llama.{key}\""))
            })
        };
        if optional("expert_count")?.unwrap_or(0) > 0 {
            return Err(LoadError::unsupported(file, "it is a mixture of experts"));
        }
        let (hidden, heads) = (needed("embedding_length")?, needed("attention.head_count")?);
        let head_size = match optional("attention.key_length")? {
            Some(size) => size,
            None => hidden.checked_div(heads).unwrap_or(0),
        };
        let rotated = optional("rope.dimension_count")?.unwrap_or(head_size);
        if rotated != head_size {
            return Err(LoadError::unsupported(
                file,
                format!("it rotates {rotated} of {head_size} dimensions a head"),
            ));
        }
        let vocabulary = match optional("vocab_size")? {
            Some(size) => size,
            None => gguf
                .texts("tokenizer.ggml.tokens")?
                .map_or(0, |tokens| tokens.len()),
        };
        let epsilon = gguf.float("llama.attention.layer_norm_rms_epsilon")?;
        Self {
            vocabulary,
            hidden,
            intermediate: needed("feed_forward_length")?,
            layers: needed("block_count")?,
            heads,
            kv_heads: optional("attention.head_count_kv")?.unwrap_or(heads),
            head_size,
            window: needed("context_length")?,
            norm_epsilon: epsilon.unwrap_or(1e-5),
            rope: Rope {
                theta: gguf.float("llama.rope.freq_base")?.unwrap_or(10_000.0),
                scaling: gguf_scaling(gguf, head_size)?,
            },
            attention_bias: gguf.has("blk.0.attn_q.bias"),
            feed_forward_bias: gguf.has("blk.0.ffn_gate.bias"),
            tied_head: None,
        }
        .checked(file)
    }

    /// Width of all query heads together.
    pub(crate) fn query_width(&self) -> usize {
        self.heads * self.head_size
    }

    /// Width of all key heads together.
    pub(crate) fn key_width(&self) -> usize {
        self.kv_heads * self.head_size
    }

    fn checked(self, file: &Path) -> Result<Self, LoadError> {
        for (name, value, most) in [
            ("the vocabulary", self.vocabulary, VOCABULARY_MAX),
            ("the hidden size", self.hidden, WIDTH_MAX),
            ("the intermediate size", self.intermediate, WIDTH_MAX),
            ("the number of layers", self.layers, LAYERS_MAX),
            ("the number of heads", self.heads, HEADS_MAX),
            (
                "the number of key and value heads",
                self.kv_heads,
                HEADS_MAX,
            ),
            ("the size of a head", self.head_size, WIDTH_MAX),
            ("the window", self.window, WINDOW_MAX),
        ] {
            if value == 0 || value > most {
                return Err(LoadError::corrupt(
                    file,
                    format!("{name} is {value}; 1 to {most} is possible"),
                ));
            }
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            let detail = format!(
                "{} heads cannot share {} key and value heads",
                self.heads, self.kv_heads
            );
            return Err(LoadError::corrupt(file, detail));
        }
        if !self.head_size.is_multiple_of(2) || self.query_width() > WIDTH_MAX {
            return Err(LoadError::corrupt(
                file,
                format!("{} heads of size {}", self.heads, self.head_size),
            ));
        }
        if !(self.norm_epsilon >= 0.0 && self.norm_epsilon < 1.0) {
            return Err(LoadError::corrupt(
                file,
                format!("the epsilon of its norms is {}", self.norm_epsilon),
            ));
        }
        if !(self.rope.theta > 1.0 && self.rope.theta.is_finite()) {
            return Err(LoadError::corrupt(
                file,
                format!("the base of its rotary positions is {}", self.rope.theta),
            ));
        }
        Ok(self)
    }
}

#[derive(Deserialize)]
struct RawConfig {
    model_type: String,
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    max_position_embeddings: usize,
    rms_norm_eps: f64,
    #[serde(default = "silu")]
    hidden_act: String,
    rope_theta: Option<f64>,
    rope_scaling: Option<RawRope>,
    rope_parameters: Option<RawRope>,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
    #[serde(default)]
    tie_word_embeddings: bool,
}

fn silu() -> String {
    "silu".to_owned()
}

/// `rope_scaling`, or `rope_parameters` as transformers 5 writes it.
#[derive(Deserialize)]
struct RawRope {
    #[serde(alias = "type")]
    rope_type: Option<String>,
    rope_theta: Option<f64>,
    factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    original_max_position_embeddings: Option<f64>,
}

fn scaling(file: &Path, raw: Option<&RawRope>) -> Result<Scaling, LoadError> {
    let Some(raw) = raw else {
        return Ok(Scaling::None);
    };
    let positive = |name: &str, value: Option<f64>| {
        value
            .filter(|value| *value > 0.0 && value.is_finite())
            .ok_or_else(|| LoadError::corrupt(file, format!("rope_scaling has no usable {name}")))
    };
    match raw.rope_type.as_deref() {
        None | Some("default") => Ok(Scaling::None),
        Some("linear") => Ok(Scaling::Linear {
            factor: positive("factor", raw.factor)?,
        }),
        Some("llama3") => {
            let low = positive("low_freq_factor", raw.low_freq_factor)?;
            let high = positive("high_freq_factor", raw.high_freq_factor)?;
            if high <= low {
                return Err(LoadError::corrupt(
                    file,
                    "rope_scaling has a high_freq_factor below the low one",
                ));
            }
            Ok(Scaling::Llama3 {
                factor: positive("factor", raw.factor)?,
                low,
                high,
                original_window: positive(
                    "original_max_position_embeddings",
                    raw.original_max_position_embeddings,
                )?,
            })
        }
        Some(other) => Err(LoadError::unsupported(
            file,
            format!("rope_scaling {other:?}; linear and llama3 are known"),
        )),
    }
}

/// llama.cpp's converter stores Llama 3.1's scaling as a tensor of divisors.
fn gguf_scaling(gguf: &Gguf, head_size: usize) -> Result<Scaling, LoadError> {
    let file = gguf.file();
    if gguf.has("rope_freqs.weight") {
        let divisors = gguf.tensor("rope_freqs.weight", &[head_size / 2])?;
        let divisors: Vec<f32> = divisors
            .to_vec1()
            .map_err(|error| LoadError::device(&error))?;
        if divisors
            .iter()
            .any(|divisor| !(*divisor > 0.0 && divisor.is_finite()))
        {
            return Err(LoadError::corrupt(
                file,
                "tensor \"rope_freqs.weight\" holds numbers that are not above zero",
            ));
        }
        return Ok(Scaling::Listed(divisors));
    }
    let kind = gguf.text("llama.rope.scaling.type")?;
    match kind.as_deref() {
        None | Some("none") => Ok(Scaling::None),
        Some("linear") => {
            let factor = gguf.float("llama.rope.scaling.factor")?.unwrap_or(1.0);
            if factor > 0.0 && factor.is_finite() {
                Ok(Scaling::Linear { factor })
            } else {
                Err(LoadError::corrupt(
                    file,
                    format!("llama.rope.scaling.factor is {factor}"),
                ))
            }
        }
        Some(other) => Err(LoadError::unsupported(
            file,
            format!("rope scaling {other:?}"),
        )),
    }
}
