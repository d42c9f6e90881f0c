//! The shape of a decoder from `config.json`, family by family, with transformers' defaults.

use std::path::PathBuf;

use serde::Deserialize;

use super::stretch::{RawRope, scaling};
use super::{
    Activation, Attention, Block, DecoderConfig, Experts, Factors, FeedForward, Local, Norm,
    NormKind, Rope, Scaling,
};
use crate::decoder::layout::{FALCON, GEMMA, GEMMA2, GPT_OSS, LLAMA, Layout, MIXTRAL, PHI};
use crate::load::{Files, LoadError};

/// The base of rotary positions, where a family has no other.
const THETA: f64 = 10_000.0;

/// Reads `config.json`, and says how the tensors of its family are called.
pub(crate) fn from_json(files: &Files) -> Result<(DecoderConfig, &'static Layout), LoadError> {
    let raw: RawConfig = files.json("config.json")?;
    let reader = Reader {
        raw,
        file: files.path("config.json"),
    };
    reader.refuse()?;
    let (config, layout) = match reader.raw.model_type.as_str() {
        "llama" => (reader.llama()?, &LLAMA),
        "mistral" => (reader.mistral(THETA)?, &LLAMA),
        "mixtral" => (reader.mixtral()?, &MIXTRAL),
        "granite" => (reader.granite()?, &LLAMA),
        "qwen2" => (reader.qwen2()?, &LLAMA),
        "qwen2_moe" => (reader.qwen2_moe()?, &LLAMA),
        "qwen3" => (reader.qwen3(Some(128))?, &LLAMA),
        "qwen3_moe" => (reader.qwen3_moe()?, &LLAMA),
        "gemma" => (reader.gemma(THETA)?, &GEMMA),
        "gemma2" => (reader.gemma2(THETA)?, &GEMMA2),
        "gemma3_text" => (reader.gemma3()?, &GEMMA2),
        "phi" => (reader.phi()?, &PHI),
        "falcon" => (reader.falcon()?, &FALCON),
        "gpt_oss" => (reader.gpt_oss()?, &GPT_OSS),
        other => {
            return Err(reader.unknown(
                "model_type",
                other,
                "llama, mistral, mixtral, granite, qwen2, qwen2_moe, qwen3, qwen3_moe, gemma, gemma2, \
                 gemma3_text, phi, falcon and gpt_oss are known",
            ));
        }
    };
    Ok((config.checked(&reader.file)?, layout))
}

struct Reader {
    raw: RawConfig,
    file: PathBuf,
}

impl Reader {
    /// What no family here can do.
    fn refuse(&self) -> Result<(), LoadError> {
        let raw = &self.raw;
        let asked = [
            (
                !self.readable(),
                "its weights are quantised in a way that is not read here; take the original, or a GGUF file",
            ),
            (
                raw.use_bidirectional_attention == Some(true) && raw.model_type != "gemma3_text",
                "its tokens see later ones",
            ),
            (raw.alibi == Some(true), "it has ALiBi positions"),
            (raw.qk_layernorm == Some(true), "it has qk_layernorm"),
            (
                raw.new_decoder_architecture == Some(true),
                "it has Falcon's new_decoder_architecture",
            ),
        ];
        match asked.iter().find(|(is_asked, _)| *is_asked) {
            Some((_, detail)) => Err(LoadError::unsupported(&self.file, *detail)),
            None => Ok(()),
        }
    }

    /// Whether weights are floats, or GPT-OSS's experts of 4-bit floats.
    fn readable(&self) -> bool {
        self.raw.quantization_config.as_ref().is_none_or(|told| {
            self.raw.model_type == "gpt_oss" && told.quant_method.as_deref() == Some("mxfp4")
        })
    }

    fn unknown(&self, key: &str, value: &str, known: &str) -> LoadError {
        LoadError::unsupported(&self.file, format!("{key} {value:?}; {known}"))
    }

    fn needed<T: Copy>(&self, key: &str, value: Option<T>) -> Result<T, LoadError> {
        value.ok_or_else(|| LoadError::corrupt(&self.file, format!("it has no {key}")))
    }

    /// What most families share: Llama without biases. The size of a head and the base of the rotary
    /// positions count where the file has none.
    fn plain(&self, head_size: Option<usize>, theta: f64) -> Result<DecoderConfig, LoadError> {
        let raw = &self.raw;
        let heads = raw.num_attention_heads;
        let head_size = raw.head_dim.or(head_size);
        let head_size =
            head_size.unwrap_or_else(|| raw.hidden_size.checked_div(heads).unwrap_or(0));
        let window = self.needed("max_position_embeddings", raw.max_position_embeddings)?;
        let rope = self.rope(head_size, window, theta)?;
        Ok(DecoderConfig {
            vocabulary: raw.vocab_size,
            hidden: raw.hidden_size,
            intermediate: self.needed("intermediate_size", raw.intermediate_size)?,
            layers: super::layers(&self.file, raw.num_hidden_layers)?,
            heads,
            kv_heads: raw.num_key_value_heads.unwrap_or(heads),
            head_size,
            window,
            norm: Norm {
                kind: NormKind::RootMeanSquare,
                epsilon: raw.rms_norm_eps.unwrap_or(1e-6),
            },
            block: Block::Sequential,
            attention: Attention {
                causal: true,
                scale: (head_size as f64).powf(-0.5),
                input_bias: false,
                output_bias: false,
                head_norms: false,
                sinks: false,
                soft_cap: None,
            },
            rope,
            local: None,
            feed_forward: FeedForward {
                activation: Activation::Silu,
                gated: true,
                bias: false,
            },
            experts: None,
            factors: Factors::default(),
            logit_cap: None,
            head_bias: false,
            tied_head: Some(raw.tie_word_embeddings.unwrap_or(false)),
        })
    }

    fn rope(&self, head_size: usize, window: usize, theta: f64) -> Result<Rope, LoadError> {
        let raw = &self.raw;
        let parameters = raw.rope_parameters.as_ref().map(RopeParameters::global);
        let told = raw.rope_scaling.as_ref().or(parameters);
        let part = raw
            .partial_rotary_factor
            .or(told.and_then(|told| told.partial_rotary_factor))
            .unwrap_or(1.0);
        if !(part > 0.0 && part <= 1.0) {
            return Err(LoadError::corrupt(
                &self.file,
                format!("partial_rotary_factor is {part}"),
            ));
        }
        Ok(Rope {
            theta: raw
                .rope_theta
                .or(told.and_then(|told| told.rope_theta))
                .unwrap_or(theta),
            rotated: (head_size as f64 * part) as usize,
            scaling: scaling(&self.file, told, window)?,
        })
    }

    fn bias(&self, config: &mut DecoderConfig, default: bool) {
        let bias = self.raw.attention_bias.unwrap_or(default);
        config.attention.input_bias = bias;
        config.attention.output_bias = bias;
    }

    /// The activation, which has to be one of these words.
    fn activation(&self, known: &[(&str, Activation)]) -> Result<Activation, LoadError> {
        let raw = &self.raw;
        let told = [&raw.hidden_activation, &raw.hidden_act, &raw.activation];
        let Some(told) = told.into_iter().flatten().next() else {
            return self.needed("hidden_act", known.first().map(|(_, first)| *first));
        };
        known
            .iter()
            .find(|(word, _)| word == told)
            .map(|(_, activation)| *activation)
            .ok_or_else(|| {
                let words: Vec<&str> = known.iter().map(|(word, _)| *word).collect();
                let known = format!("{} is known here", words.join(" or "));
                self.unknown("hidden_act", told, &known)
            })
    }

    fn silu(&self) -> Result<Activation, LoadError> {
        self.activation(&[("silu", Activation::Silu)])
    }

    /// Which layers see the newest positions only: as listed, or by a rule.
    fn local(
        &self,
        config: &DecoderConfig,
        window: Option<usize>,
        rule: impl Fn(usize) -> bool,
    ) -> Result<Option<Local>, LoadError> {
        let layers = match &self.raw.layer_types {
            None => (0..config.layers).map(rule).collect(),
            Some(words) => words
                .iter()
                .map(|word| match word.as_str() {
                    "sliding_attention" => Ok(true),
                    "full_attention" => Ok(false),
                    other => Err(self.unknown(
                        "layer_types",
                        other,
                        "sliding_attention and full_attention are known",
                    )),
                })
                .collect::<Result<Vec<_>, _>>()?,
        };
        if !layers.contains(&true) {
            return Ok(None);
        }
        Ok(window.map(|window| Local {
            window,
            layers,
            rope: config.rope.clone(),
        }))
    }

    fn llama(&self) -> Result<DecoderConfig, LoadError> {
        let mut config = self.plain(None, THETA)?;
        config.feed_forward.activation = self.silu()?;
        config.feed_forward.bias = self.raw.mlp_bias.unwrap_or(false);
        self.bias(&mut config, false);
        Ok(config)
    }

    fn mistral(&self, theta: f64) -> Result<DecoderConfig, LoadError> {
        let mut config = self.plain(None, theta)?;
        config.feed_forward.activation = self.silu()?;
        config.local = self.local(&config, self.raw.sliding_window, |_| true)?;
        Ok(config)
    }

    fn mixtral(&self) -> Result<DecoderConfig, LoadError> {
        let mut config = self.mistral(1_000_000.0)?;
        let intermediate = config.intermediate;
        config.experts = Some(Experts {
            count: self.raw.num_local_experts.unwrap_or(8),
            used: self.raw.num_experts_per_tok.unwrap_or(2),
            intermediate,
            normalised: true,
            bias: false,
            shared: None,
            layers: vec![true; config.layers],
        });
        Ok(config)
    }

    fn granite(&self) -> Result<DecoderConfig, LoadError> {
        let raw = &self.raw;
        let mut config = self.llama()?;
        config.attention.scale = raw.attention_multiplier.unwrap_or(1.0);
        config.factors = Factors {
            embedding: raw.embedding_multiplier,
            residual: raw.residual_multiplier,
            logits: raw.logits_scaling.map(f64::recip),
        };
        Ok(config)
    }

    fn qwen2(&self) -> Result<DecoderConfig, LoadError> {
        let mut config = self.plain(None, THETA)?;
        config.feed_forward.activation = self.silu()?;
        config.attention.input_bias = true;
        self.upper_layers_local(&mut config)?;
        Ok(config)
    }

    /// Qwen: the layers above `max_window_layers` slide, where any do.
    fn upper_layers_local(&self, config: &mut DecoderConfig) -> Result<(), LoadError> {
        let slides = self.raw.use_sliding_window == Some(true);
        let window = self.raw.sliding_window.filter(|_| slides);
        let full = self.raw.max_window_layers.unwrap_or(28);
        config.local = self.local(config, window, |layer| layer >= full)?;
        Ok(())
    }

    fn qwen2_moe(&self) -> Result<DecoderConfig, LoadError> {
        let raw = &self.raw;
        let mut config = self.qwen2()?;
        config.attention.input_bias = raw.qkv_bias.unwrap_or(true);
        config.experts = self.sparse(&config, raw.norm_topk_prob.unwrap_or(false), 60, 4)?;
        if let Some(experts) = &mut config.experts {
            let size = raw.shared_expert_intermediate_size;
            experts.shared = Some(self.needed("shared_expert_intermediate_size", size)?);
        }
        Ok(config)
    }

    fn qwen3(&self, head_size: Option<usize>) -> Result<DecoderConfig, LoadError> {
        let mut config = self.plain(head_size, THETA)?;
        config.feed_forward.activation = self.silu()?;
        config.attention.head_norms = true;
        self.bias(&mut config, false);
        self.upper_layers_local(&mut config)?;
        Ok(config)
    }

    fn qwen3_moe(&self) -> Result<DecoderConfig, LoadError> {
        let raw = &self.raw;
        // transformers has no default of its own for the size of a head here.
        let mut config = self.qwen3(None)?;
        config.experts = self.sparse(&config, raw.norm_topk_prob.unwrap_or(false), 128, 8)?;
        Ok(config)
    }

    /// Qwen's experts: in every `decoder_sparse_step`-th layer that `mlp_only_layers` does not name.
    fn sparse(
        &self,
        config: &DecoderConfig,
        normalised: bool,
        count: usize,
        used: usize,
    ) -> Result<Option<Experts>, LoadError> {
        let raw = &self.raw;
        let step = raw.decoder_sparse_step.unwrap_or(1);
        if step == 0 {
            return Err(LoadError::corrupt(&self.file, "decoder_sparse_step is 0"));
        }
        let dense = raw.mlp_only_layers.as_deref().unwrap_or_default();
        let sparse = |layer: usize| !dense.contains(&layer) && (layer + 1).is_multiple_of(step);
        Ok(Some(Experts {
            count: raw.num_experts.unwrap_or(count),
            used: raw.num_experts_per_tok.unwrap_or(used),
            intermediate: self.needed("moe_intermediate_size", raw.moe_intermediate_size)?,
            normalised,
            bias: false,
            shared: None,
            layers: (0..config.layers).map(sparse).collect(),
        }))
    }

    fn gemma(&self, theta: f64) -> Result<DecoderConfig, LoadError> {
        let mut config = self.plain(Some(256), theta)?;
        // Early files say "gelu"; the models were trained with its approximation all the same.
        config.feed_forward.activation = self.activation(&[
            ("gelu_pytorch_tanh", Activation::GeluTanh),
            ("gelu", Activation::GeluTanh),
        ])?;
        config.factors.embedding = Some((config.hidden as f64).sqrt());
        config.tied_head = Some(self.raw.tie_word_embeddings.unwrap_or(true));
        self.bias(&mut config, false);
        Ok(config)
    }

    fn gemma2(&self, theta: f64) -> Result<DecoderConfig, LoadError> {
        let raw = &self.raw;
        let mut config = self.gemma(theta)?;
        config.block = Block::Sandwiched;
        config.attention.scale = raw.query_pre_attn_scalar.unwrap_or(256.0).powf(-0.5);
        config.attention.soft_cap = raw.attn_logit_softcapping;
        config.logit_cap = raw.final_logit_softcapping;
        config.local = self.local(&config, raw.sliding_window, |layer| layer % 2 == 0)?;
        Ok(config)
    }

    fn gemma3(&self) -> Result<DecoderConfig, LoadError> {
        let raw = &self.raw;
        let mut config = self.gemma2(1_000_000.0)?;
        config.attention.head_norms = true;
        let pattern = raw.sliding_window_pattern.unwrap_or(6).max(1);
        let slides = |layer: usize| !(layer + 1).is_multiple_of(pattern);
        config.local = self.local(&config, raw.sliding_window, slides)?;
        let parameters = raw.rope_parameters.as_ref();
        let told = parameters.and_then(|told| told.local()?.rope_theta);
        if let Some(local) = &mut config.local {
            local.rope.theta = raw.rope_local_base_freq.or(told).unwrap_or(10_000.0);
            local.rope.scaling = Scaling::None;
            if raw.use_bidirectional_attention == Some(true) {
                // The file counts both sides; transformers' configuration halves it as it is read.
                local.window = local.window / 2 + 1;
            }
        }
        config.attention.causal = raw.use_bidirectional_attention != Some(true);
        Ok(config)
    }

    fn phi(&self) -> Result<DecoderConfig, LoadError> {
        let raw = &self.raw;
        let mut config = self.plain(None, THETA)?;
        config.rope.rotated =
            (config.head_size as f64 * raw.partial_rotary_factor.unwrap_or(0.5)) as usize;
        config.norm = Norm {
            kind: NormKind::Layer,
            epsilon: raw.layer_norm_eps.unwrap_or(1e-5),
        };
        config.block = Block::Parallel;
        config.attention.input_bias = true;
        config.attention.output_bias = true;
        config.head_bias = true;
        config.feed_forward = FeedForward {
            activation: self.activation(&[
                ("gelu_new", Activation::GeluTanh),
                ("gelu_pytorch_tanh", Activation::GeluTanh),
                ("gelu", Activation::GeluErf),
            ])?,
            gated: false,
            bias: true,
        };
        Ok(config)
    }

    /// Falcon 7B: one key head, attention and feed-forward side by side.
    fn falcon(&self) -> Result<DecoderConfig, LoadError> {
        let raw = &self.raw;
        if raw.multi_query == Some(false) || raw.parallel_attn == Some(false) {
            return Err(LoadError::unsupported(
                &self.file,
                "it has not Falcon 7B's multi_query and parallel_attn",
            ));
        }
        let filled = Self {
            raw: RawConfig {
                intermediate_size: Some(raw.ffn_hidden_size.unwrap_or(4 * raw.hidden_size)),
                max_position_embeddings: Some(raw.max_position_embeddings.unwrap_or(2048)),
                num_key_value_heads: Some(1),
                ..raw.clone()
            },
            file: self.file.clone(),
        };
        let mut config = filled.plain(None, THETA)?;
        let bias = raw.bias.unwrap_or(false);
        config.norm = Norm {
            kind: NormKind::Layer,
            epsilon: raw.layer_norm_epsilon.unwrap_or(1e-5),
        };
        config.block = Block::Parallel;
        config.attention.input_bias = bias;
        config.attention.output_bias = bias;
        config.tied_head = Some(raw.tie_word_embeddings.unwrap_or(true));
        config.feed_forward = FeedForward {
            activation: self.activation(&[("gelu", Activation::GeluErf)])?,
            gated: false,
            bias,
        };
        Ok(config)
    }

    fn gpt_oss(&self) -> Result<DecoderConfig, LoadError> {
        let raw = &self.raw;
        let mut config = self.plain(Some(64), 150_000.0)?;
        self.silu()?; // the word it writes; what it computes is its own
        self.bias(&mut config, true);
        config.attention.sinks = true;
        config.feed_forward.activation = Activation::ClampedSwish {
            limit: raw.swiglu_limit.unwrap_or(7.0),
        };
        config.local = self.local(&config, raw.sliding_window, |layer| layer % 2 == 0)?;
        let used = raw.num_experts_per_tok.or(raw.experts_per_token);
        config.experts = Some(Experts {
            count: self.needed("num_local_experts", raw.num_local_experts)?,
            used: used.unwrap_or(4),
            intermediate: config.intermediate,
            normalised: true,
            bias: true,
            shared: None,
            layers: vec![true; config.layers],
        });
        Ok(config)
    }
}

/// Every key of the families above that says something about the computation.
#[derive(Debug, Clone, Deserialize)]
struct RawConfig {
    model_type: String,
    vocab_size: usize,
    hidden_size: usize,
    #[serde(alias = "n_layer")]
    num_hidden_layers: usize,
    #[serde(alias = "n_head")]
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    intermediate_size: Option<usize>,
    ffn_hidden_size: Option<usize>,
    head_dim: Option<usize>,
    max_position_embeddings: Option<usize>,
    rms_norm_eps: Option<f64>,
    layer_norm_eps: Option<f64>,
    layer_norm_epsilon: Option<f64>,
    hidden_act: Option<String>,
    hidden_activation: Option<String>,
    activation: Option<String>,
    rope_theta: Option<f64>,
    rope_local_base_freq: Option<f64>,
    rope_scaling: Option<RawRope>,
    rope_parameters: Option<RopeParameters>,
    partial_rotary_factor: Option<f64>,
    attention_bias: Option<bool>,
    qkv_bias: Option<bool>,
    mlp_bias: Option<bool>,
    bias: Option<bool>,
    tie_word_embeddings: Option<bool>,
    sliding_window: Option<usize>,
    use_sliding_window: Option<bool>,
    max_window_layers: Option<usize>,
    #[serde(alias = "_sliding_window_pattern")]
    sliding_window_pattern: Option<usize>,
    layer_types: Option<Vec<String>>,
    query_pre_attn_scalar: Option<f64>,
    attn_logit_softcapping: Option<f64>,
    final_logit_softcapping: Option<f64>,
    attention_multiplier: Option<f64>,
    embedding_multiplier: Option<f64>,
    residual_multiplier: Option<f64>,
    logits_scaling: Option<f64>,
    num_local_experts: Option<usize>,
    num_experts: Option<usize>,
    num_experts_per_tok: Option<usize>,
    experts_per_token: Option<usize>,
    moe_intermediate_size: Option<usize>,
    shared_expert_intermediate_size: Option<usize>,
    norm_topk_prob: Option<bool>,
    decoder_sparse_step: Option<usize>,
    mlp_only_layers: Option<Vec<usize>>,
    swiglu_limit: Option<f64>,
    alibi: Option<bool>,
    multi_query: Option<bool>,
    parallel_attn: Option<bool>,
    new_decoder_architecture: Option<bool>,
    qk_layernorm: Option<bool>,
    use_bidirectional_attention: Option<bool>,
    quantization_config: Option<RawQuantization>,
}

#[derive(Debug, Clone, Deserialize)]
struct RawQuantization {
    quant_method: Option<String>,
}

/// transformers 5 writes rotary positions for all layers, or for each kind of layer.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum RopeParameters {
    ByKind {
        full_attention: Box<RawRope>,
        sliding_attention: Box<RawRope>,
    },
    All(Box<RawRope>),
}

impl RopeParameters {
    fn global(&self) -> &RawRope {
        match self {
            Self::ByKind { full_attention, .. } => full_attention,
            Self::All(all) => all,
        }
    }

    fn local(&self) -> Option<&RawRope> {
        match self {
            Self::ByKind {
                sliding_attention, ..
            } => Some(sliding_attention),
            Self::All(_) => None,
        }
    }
}
