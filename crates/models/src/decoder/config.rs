//! What a decoder looks like, as data: read from `config.json` or from the metadata of a GGUF file.
//!
//! Families differ by values here, not by code. The words follow transformers' configurations.

mod json;
mod metadata;
mod stretch;

use std::path::Path;

use crate::load::LoadError;

pub(crate) use json::from_json;
pub(crate) use metadata::from_gguf;

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
/// The most experts of a layer.
const EXPERTS_MAX: usize = 4096;

/// The shape of a decoder.
#[derive(Debug, Clone, PartialEq)]
pub struct DecoderConfig {
    /// Tokens of the vocabulary.
    pub vocabulary: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width inside the feed-forward of a layer: the widest, where some layers have experts.
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
    /// The norms.
    pub norm: Norm,
    /// How attention and feed-forward are joined.
    pub block: Block,
    /// Attention.
    pub attention: Attention,
    /// Rotary positions of the layers that see the whole sequence.
    pub rope: Rope,
    /// The layers that see the newest positions only; `None`: no layer does.
    pub local: Option<Local>,
    /// The feed-forward of the layers without experts, and of each expert.
    pub feed_forward: FeedForward,
    /// Layers with experts; `None`: no layer has any.
    pub experts: Option<Experts>,
    /// Constant factors.
    pub factors: Factors,
    /// Logits are bounded to this by a hyperbolic tangent.
    pub logit_cap: Option<f64>,
    /// Whether the head has a bias.
    pub head_bias: bool,
    /// Whether the head is the embedding; `None`: if the checkpoint holds no other.
    pub tied_head: Option<bool>,
}

/// The norms of a model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Norm {
    /// Which.
    pub kind: NormKind,
    /// Added to the variance.
    pub epsilon: f64,
}

/// What a norm computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormKind {
    /// Zhang and Sennrich 2019.
    RootMeanSquare,
    /// Ba et al. 2016, with a bias.
    Layer,
}

/// How a layer joins attention and feed-forward to the residual stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Block {
    /// One after the other, each after a norm.
    Sequential,
    /// One after the other, each between two norms (Gemma 2).
    Sandwiched,
    /// Side by side, after one norm (GPT-J).
    Parallel,
}

/// Attention.
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(clippy::struct_excessive_bools)] // families mix them freely
pub struct Attention {
    /// Whether a token sees those before it only. Decoders do; encoders see all (EmbeddingGemma).
    pub causal: bool,
    /// Multiplies the scores; mostly one over the root of `head_size`.
    pub scale: f64,
    /// Whether the projections to queries, keys and values have biases.
    pub input_bias: bool,
    /// Whether the projection of the output has a bias.
    pub output_bias: bool,
    /// Whether each head of queries and keys goes through a norm (Qwen 3).
    pub head_norms: bool,
    /// Whether each head has a score without a value (GPT-OSS).
    pub sinks: bool,
    /// Scores are bounded to this by a hyperbolic tangent (Gemma 2).
    pub soft_cap: Option<f64>,
}

/// Layers that see the newest positions only (Beltagy et al. 2020).
#[derive(Debug, Clone, PartialEq)]
pub struct Local {
    /// Positions that a token of these layers sees, itself counted; on both sides, where it sees later
    /// ones.
    pub window: usize,
    /// Which layers these are, a word for each.
    pub layers: Vec<bool>,
    /// Their rotary positions.
    pub rope: Rope,
}

/// Rotary position embedding (Su et al. 2021).
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// The base of the frequencies.
    pub theta: f64,
    /// Dimensions of a head that rotate, from the first; even.
    pub rotated: usize,
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
    /// Low ones by a factor, high ones not, a ramp over dimensions between (Peng et al. 2023).
    Yarn(Yarn),
    /// Each by a divisor that the checkpoint lists, `[rotated / 2]` (llama.cpp's `rope_freqs`).
    Listed(Vec<f32>),
}

/// The numbers of YaRN.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Yarn {
    /// Divides the low frequencies.
    pub factor: f64,
    /// Rotations within the original window from which a frequency is not scaled.
    pub fast: f64,
    /// Rotations within the original window below which it is scaled in full.
    pub slow: f64,
    /// The window before stretching.
    pub original_window: f64,
    /// Whether the ramp begins and ends at whole dimensions.
    pub whole: bool,
    /// Multiplies sines and cosines.
    pub attention_factor: f64,
}

/// The feed-forward of a layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FeedForward {
    /// Its activation.
    pub activation: Activation,
    /// Whether a second projection is multiplied to the activation (Shazeer 2020).
    pub gated: bool,
    /// Whether its projections have biases.
    pub bias: bool,
}

/// An activation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Activation {
    /// `x / (1 + e^-x)`.
    Silu,
    /// GELU, approximated by a hyperbolic tangent.
    GeluTanh,
    /// GELU by the error function.
    GeluErf,
    /// GPT-OSS: `(up + 1) * gate / (1 + e^(-1.702 gate))`, the gate at most `limit` and `up` within it.
    ClampedSwish {
        /// The bound.
        limit: f64,
    },
}

/// Experts (Shazeer et al. 2017): each token goes through the few that a router chooses.
#[derive(Debug, Clone, PartialEq)]
pub struct Experts {
    /// Experts of a layer.
    pub count: usize,
    /// Experts that a token goes through.
    pub used: usize,
    /// Width inside an expert.
    pub intermediate: usize,
    /// Whether the weights of the chosen experts are made to sum to one.
    pub normalised: bool,
    /// Whether router and experts have biases.
    pub bias: bool,
    /// Width inside an expert that every token goes through, behind a gate of its own (Qwen 2).
    pub shared: Option<usize>,
    /// Which layers have experts, a word for each.
    pub layers: Vec<bool>,
}

/// Constant factors, where a family has them.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Factors {
    /// Of the embedding.
    pub embedding: Option<f64>,
    /// Of what a layer adds to the residual stream.
    pub residual: Option<f64>,
    /// Of the logits.
    pub logits: Option<f64>,
}

/// A number of layers that a list may be made for.
fn layers(file: &Path, layers: usize) -> Result<usize, LoadError> {
    if layers <= LAYERS_MAX {
        return Ok(layers);
    }
    Err(LoadError::corrupt(
        file,
        format!("the number of layers is {layers}; 1 to {LAYERS_MAX} is possible"),
    ))
}

impl DecoderConfig {
    /// Width of all query heads together.
    pub(crate) fn query_width(&self) -> usize {
        self.heads * self.head_size
    }

    /// Width of all key heads together.
    pub(crate) fn key_width(&self) -> usize {
        self.kv_heads * self.head_size
    }

    /// The window and the rotary positions of a layer that sees the newest positions only.
    pub(crate) fn local(&self, layer: usize) -> Option<&Local> {
        self.local
            .as_ref()
            .filter(|local| local.layers.get(layer) == Some(&true))
    }

    /// The experts of a layer that has them.
    pub(crate) fn experts(&self, layer: usize) -> Option<&Experts> {
        self.experts
            .as_ref()
            .filter(|experts| experts.layers.get(layer) == Some(&true))
    }

    /// Checks what arithmetic relies on.
    fn checked(self, file: &Path) -> Result<Self, LoadError> {
        let mut sizes = vec![
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
            (
                "the number of rotated dimensions",
                self.rope.rotated,
                self.head_size,
            ),
        ];
        if let Some(local) = &self.local {
            sizes.push(("the sliding window", local.window, WINDOW_MAX));
        }
        if let Some(experts) = &self.experts {
            sizes.extend([
                ("the number of experts", experts.count, EXPERTS_MAX),
                ("the number of experts used", experts.used, experts.count),
                ("the size of an expert", experts.intermediate, WIDTH_MAX),
                (
                    "the size of the shared expert",
                    experts.shared.unwrap_or(1),
                    WIDTH_MAX,
                ),
            ]);
        }
        for (name, value, most) in sizes {
            if value == 0 || value > most {
                return Err(LoadError::corrupt(
                    file,
                    format!("{name} is {value}; 1 to {most} is possible"),
                ));
            }
        }
        self.check_heads(file)?;
        self.check_numbers(file)?;
        Ok(self)
    }

    fn check_heads(&self, file: &Path) -> Result<(), LoadError> {
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
        if !self.rope.rotated.is_multiple_of(2) {
            return Err(LoadError::corrupt(
                file,
                format!("it rotates {} dimensions of a head", self.rope.rotated),
            ));
        }
        let kinds = [
            self.local.as_ref().map(|local| local.layers.len()),
            self.experts.as_ref().map(|experts| experts.layers.len()),
        ];
        if let Some(told) = kinds.iter().flatten().find(|told| **told != self.layers) {
            return Err(LoadError::corrupt(
                file,
                format!("it describes {told} of {} layers", self.layers),
            ));
        }
        Ok(())
    }

    fn check_numbers(&self, file: &Path) -> Result<(), LoadError> {
        if !(self.norm.epsilon >= 0.0 && self.norm.epsilon < 1.0) {
            return Err(LoadError::corrupt(
                file,
                format!("the epsilon of its norms is {}", self.norm.epsilon),
            ));
        }
        let ropes = [Some(&self.rope), self.local.as_ref().map(|l| &l.rope)];
        for theta in ropes.iter().flatten().map(|rope| rope.theta) {
            if !(theta > 1.0 && theta.is_finite()) {
                return Err(LoadError::corrupt(
                    file,
                    format!("the base of its rotary positions is {theta}"),
                ));
            }
        }
        let limit = match self.feed_forward.activation {
            Activation::ClampedSwish { limit } => Some(limit),
            _ => None,
        };
        let numbers = [
            ("the factor of its scores", Some(self.attention.scale)),
            ("the bound of its scores", self.attention.soft_cap),
            ("the bound of its logits", self.logit_cap),
            ("the bound of its activation", limit),
            ("the factor of its embedding", self.factors.embedding),
            ("the factor of its layers", self.factors.residual),
            ("the factor of its logits", self.factors.logits),
        ];
        for (name, value) in numbers {
            if value.is_some_and(|value| !(value > 0.0 && value.is_finite())) {
                return Err(LoadError::corrupt(
                    file,
                    format!("{name} is {}", value.unwrap_or_default()),
                ));
            }
        }
        Ok(())
    }
}
