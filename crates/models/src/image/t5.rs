//! T5's encoder (Raffel et al. 2020) in the form of version 1.1: gated, without scaled scores.
//!
//! Names are those of transformers' `T5EncoderModel`.

use candle_core::{D, Device, Result, Tensor};
use serde::Deserialize;

use super::activation::Activation;
use super::attention::{attend, join, split};
use super::fields::{COUNT, NUMBER, PRETRAINED, Rule, SAVED, Table, WORD, read};
use super::linear::Linear;
use super::norm::RmsNorm;
use super::source::{COUNT_MAX, Home, SIZE_MAX, Source, bounded, broken, open};
use super::tokens::Tokens;
use crate::load::{Files, LoadError};

/// The fields of transformers' `T5Config`.
const FIELDS: &Table = &[
    ("model_type", Rule::Only(&["null", "\"t5\""])),
    ("d_ff", COUNT),
    ("d_kv", COUNT),
    ("d_model", COUNT),
    ("dense_act_fn", WORD),
    ("eos_token_id", Rule::Idle), // the tokeniser's
    ("feed_forward_proj", WORD),
    ("is_gated_act", Rule::Only(&["null", "true"])),
    ("layer_norm_epsilon", NUMBER),
    ("n_positions", Rule::Idle),        // positions are relative
    ("num_decoder_layers", Rule::Idle), // there is no decoder
    ("num_heads", COUNT),
    ("num_layers", COUNT),
    ("relative_attention_max_distance", COUNT),
    ("relative_attention_num_buckets", COUNT),
    ("task_specific_params", Rule::Idle),
    ("vocab_size", COUNT),
];

#[derive(Debug, Deserialize)]
pub(super) struct T5Config {
    vocab_size: usize,
    pub(super) d_model: usize,
    d_kv: usize,
    d_ff: usize,
    num_layers: usize,
    num_heads: usize,
    relative_attention_num_buckets: usize,
    #[serde(default = "distance_of_old")]
    relative_attention_max_distance: usize,
    #[serde(default = "epsilon_of_t5")]
    layer_norm_epsilon: f64,
    feed_forward_proj: String,
    /// What it is by name, where that is not in `feed_forward_proj`.
    dense_act_fn: Option<String>,
}

fn distance_of_old() -> usize {
    128
}

fn epsilon_of_t5() -> f64 {
    1e-6
}

struct Layer {
    attention_norm: RmsNorm,
    projections: Linear,
    out: Linear,
    inner_norm: RmsNorm,
    /// The gate, then what passes it.
    gate_and_inner: Linear,
    outer: Linear,
}

impl Layer {
    fn read(source: &Source<'_>, config: &T5Config) -> std::result::Result<Self, LoadError> {
        let (model, inner) = (config.d_model, config.d_ff);
        let all_heads = config.num_heads * config.d_kv;
        let (first, second) = (source.at("layer.0"), source.at("layer.1"));
        let norm = |part: &Source<'_>| {
            RmsNorm::read(
                &part.at("layer_norm"),
                "weight",
                model,
                config.layer_norm_epsilon,
            )
        };
        let attention = first.at("SelfAttention");
        let dense = second.at("DenseReluDense");
        let three = ["q", "k", "v"].map(|name| attention.at(name));
        let two = ["wi_0", "wi_1"].map(|name| dense.at(name));
        Ok(Self {
            attention_norm: norm(&first)?,
            projections: Linear::joined(&three, model, &[all_heads; 3])?,
            out: Linear::read(&attention.at("o"), all_heads, model)?,
            inner_norm: norm(&second)?,
            gate_and_inner: Linear::joined(&two, model, &[inner; 2])?,
            outer: Linear::read(&dense.at("wo"), inner, model)?,
        })
    }
}

/// The encoder and its tokens.
pub(super) struct T5 {
    pub(super) tokens: Tokens,
    config: T5Config,
    activation: Activation,
    words: Tensor,
    /// `[buckets, heads]`.
    distances: Tensor,
    layers: Vec<Layer>,
    norm: RmsNorm,
}

impl T5 {
    /// Loads `text_encoder_2` and `tokenizer_2`, for texts of so many tokens.
    pub(super) fn load(
        files: &Files,
        folders: (&str, &str),
        tokens_max: usize,
        home: &Home,
    ) -> std::result::Result<Self, LoadError> {
        let config: T5Config = read(
            files,
            (folders.0, "config.json"),
            &[FIELDS, PRETRAINED, SAVED],
        )?;
        let file = format!("{}/config.json", folders.0);
        bounded(
            files,
            &file,
            &[
                ("vocab_size", config.vocab_size, SIZE_MAX),
                ("d_model", config.d_model, SIZE_MAX),
                ("d_kv", config.d_kv, SIZE_MAX),
                ("d_ff", config.d_ff, SIZE_MAX),
                ("num_layers", config.num_layers, COUNT_MAX),
                ("num_heads", config.num_heads, COUNT_MAX),
                (
                    "relative_attention_max_distance beyond a quarter of the buckets",
                    config
                        .relative_attention_max_distance
                        .saturating_sub(config.relative_attention_num_buckets / 4),
                    SIZE_MAX,
                ),
                (
                    "relative_attention_num_buckets / 4",
                    config.relative_attention_num_buckets / 4,
                    COUNT_MAX,
                ),
            ],
        )?;
        // transformers takes "gated-gelu" for the approximation by tanh, and another word before it.
        let gated = config.feed_forward_proj.strip_prefix("gated-");
        let activation = match (gated, &config.dense_act_fn) {
            (Some(_), Some(word)) => Activation::of_word(word),
            (Some("gelu"), None) => Some(Activation::GeluTanh),
            (Some(word), None) => Activation::of_word(word),
            (None, _) => None,
        };
        let Some(activation) = activation else {
            let detail = format!(
                "feed_forward_proj {:?} and dense_act_fn {:?}",
                config.feed_forward_proj, config.dense_act_fn
            );
            return Err(LoadError::unsupported(&files.path(&file), detail));
        };
        let tokens = Tokens::t5(files, folders.1, tokens_max)?;
        tokens.check(config.vocab_size)?;
        let checkpoint = open(files, folders.0, "model")?;
        let top = Source::new(&checkpoint, home);
        let (model, epsilon) = (config.d_model, config.layer_norm_epsilon);
        let blocks = top.at("encoder.block");
        let layers = (0..config.num_layers)
            .map(|layer| Layer::read(&blocks.at(layer), &config))
            .collect::<std::result::Result<_, _>>()?;
        let shared = top.at("shared");
        let words = if shared.has("weight") {
            shared
        } else {
            top.at("encoder.embed_tokens")
        };
        let heads = config.num_heads;
        let t5 = Self {
            activation,
            words: words.tensor("weight", &[config.vocab_size, model])?,
            distances: blocks.tensor(
                "0.layer.0.SelfAttention.relative_attention_bias.weight",
                &[config.relative_attention_num_buckets, heads],
            )?,
            layers,
            norm: RmsNorm::read(
                &top.at("encoder.final_layer_norm"),
                "weight",
                model,
                epsilon,
            )?,
            tokens,
            config,
        };
        // The same words again, and the half that writes.
        top.finish(&["encoder.embed_tokens.weight", "decoder.", "lm_head."])?;
        Ok(t5)
    }

    /// The width of a token's vector.
    pub(super) fn width(&self) -> usize {
        self.config.d_model
    }

    /// Encodes a text, padded or cut: `[1, tokens, width]`. Padding is attended to, as in FLUX's
    /// pipeline.
    pub(super) fn encode(&self, text: &str) -> std::result::Result<Tensor, tasks::Failure> {
        let tokens = self.tokens.of(text)?;
        self.forward(&tokens).map_err(broken)
    }

    fn forward(&self, tokens: &[u32]) -> Result<Tensor> {
        let heads = self.config.num_heads;
        let device = self.words.device();
        let bias = self.bias(tokens.len(), device)?;
        let ids = Tensor::new(tokens, device)?;
        let mut x = self.words.index_select(&ids, 0)?.unsqueeze(0)?;
        for layer in &self.layers {
            let projected = layer
                .projections
                .forward(&layer.attention_norm.forward(&x)?)?;
            let three = projected.chunk(3, D::Minus1)?;
            let attended = attend(
                &split(&three[0], heads)?,
                &split(&three[1], heads)?,
                &split(&three[2], heads)?,
                1.0,
                Some(&bias),
            )?;
            x = (x + layer.out.forward(&join(&attended)?)?)?;
            let both = layer
                .gate_and_inner
                .forward(&layer.inner_norm.forward(&x)?)?;
            let both = both.chunk(2, D::Minus1)?;
            x = (x + layer
                .outer
                .forward(&self.activation.gated(&both[0], &both[1])?)?)?;
        }
        self.norm.forward(&x)
    }

    /// `[1, heads, length, length]`: what a distance adds to a score.
    fn bias(&self, length: usize, device: &Device) -> Result<Tensor> {
        let buckets: Vec<u32> = (0..length)
            .flat_map(|query| (0..length).map(move |key| (query, key)))
            .map(|(query, key)| self.bucket(query, key))
            .collect();
        let rows = self
            .distances
            .index_select(&Tensor::new(buckets, device)?, 0)?;
        rows.reshape((length, length, self.config.num_heads))?
            .permute((2, 0, 1))?
            .unsqueeze(0)?
            .contiguous()
    }

    /// Half of the buckets for each side; of those, half for each small distance, the rest for
    /// distances that grow by a factor.
    fn bucket(&self, query: usize, key: usize) -> u32 {
        let side = self.config.relative_attention_num_buckets / 2;
        let exact = side / 2;
        let distance = query.abs_diff(key);
        let offset = if key > query { side } else { 0 };
        let within = if distance < exact {
            distance
        } else {
            let furthest = self.config.relative_attention_max_distance as f32;
            let share = (distance as f32 / exact as f32).ln() / (furthest / exact as f32).ln();
            (exact + (share * (side - exact) as f32) as usize).min(side - 1)
        };
        (offset + within) as u32
    }
}
