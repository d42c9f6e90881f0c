//! The shape of a decoder from the metadata of a GGUF file, with the values that llama.cpp builds
//! into its architectures (`llama-model.cpp`, `llama-arch.cpp`).

use super::stretch::attention_factor;
use super::{
    Activation, Attention, Block, DecoderConfig, Experts, Factors, FeedForward, Local, Norm,
    NormKind, Rope, Scaling, Yarn,
};
use crate::decoder::layout::{GGUF, GGUF_GPT_OSS, GGUF_IN_PAIRS, Layout};
use crate::gguf::Gguf;
use crate::load::LoadError;

/// Reads the entries of the file's architecture, and says how its tensors are called.
pub(crate) fn from_gguf(gguf: &Gguf) -> Result<(DecoderConfig, &'static Layout), LoadError> {
    let family = gguf.text("general.architecture")?.unwrap_or_default();
    let reader = Reader {
        gguf,
        family: &family,
    };
    let (config, layout) = match family.as_ref() {
        "llama" => (reader.llama()?, &GGUF_IN_PAIRS),
        "granite" => (reader.granite()?, &GGUF_IN_PAIRS),
        "qwen2" | "qwen3" => (reader.plain()?, &GGUF),
        "qwen2moe" => (reader.qwen_experts(false)?, &GGUF),
        "qwen3moe" => (reader.qwen_experts(true)?, &GGUF),
        "gemma" => (reader.gemma()?, &GGUF),
        "gemma2" => (reader.gemma2()?, &GGUF),
        "gemma3" => (reader.gemma3()?, &GGUF),
        "phi2" => (reader.phi2()?, &GGUF),
        "falcon" => (reader.falcon()?, &GGUF),
        "gpt-oss" => (reader.gpt_oss()?, &GGUF_GPT_OSS),
        other => {
            return Err(LoadError::unsupported(
                gguf.file(),
                format!(
                    "architecture {other:?}; llama, granite, qwen2, qwen2moe, qwen3, qwen3moe, gemma, \
                     gemma2, gemma3, phi2, falcon and gpt-oss are known"
                ),
            ));
        }
    };
    Ok((config.checked(gguf.file())?, layout))
}

struct Reader<'a> {
    gguf: &'a Gguf,
    family: &'a str,
}

impl Reader<'_> {
    fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.family)
    }

    fn optional(&self, key: &str) -> Result<Option<usize>, LoadError> {
        let value = self.gguf.integer(&self.key(key))?;
        Ok(value.map(|value| value as usize))
    }

    fn needed(&self, key: &str) -> Result<usize, LoadError> {
        self.optional(key)?.ok_or_else(|| {
            let key = self.key(key);
            LoadError::corrupt(self.gguf.file(), format!("there is no entry {key:?}"))
        })
    }

    fn float(&self, key: &str) -> Result<Option<f64>, LoadError> {
        self.gguf.float(&self.key(key))
    }

    fn unsupported(&self, detail: impl Into<String>) -> LoadError {
        LoadError::unsupported(self.gguf.file(), detail)
    }

    /// Whether the first layer has this tensor.
    fn has(&self, tensor: &str) -> bool {
        self.gguf.has(&format!("blk.0.{tensor}"))
    }

    /// What the architectures share; biases, norms of heads and the head's own weights are seen from
    /// the tensors.
    fn plain(&self) -> Result<DecoderConfig, LoadError> {
        let (hidden, heads) = (
            self.needed("embedding_length")?,
            self.needed("attention.head_count")?,
        );
        let head_size = match self.optional("attention.key_length")? {
            Some(size) => size,
            None => hidden.checked_div(heads).unwrap_or(0),
        };
        let value_size = self.optional("attention.value_length")?;
        if value_size.is_some_and(|size| size != head_size) {
            return Err(self.unsupported("its keys and values are of different sizes"));
        }
        let vocabulary = match self.optional("vocab_size")? {
            Some(size) => size,
            None => self
                .gguf
                .texts("tokenizer.ggml.tokens")?
                .map_or(0, |tokens| tokens.len()),
        };
        let layers = super::layers(self.gguf.file(), self.needed("block_count")?)?;
        let window = self.needed("context_length")?;
        let rope = self.rope(head_size, window)?;
        let local = self.optional("attention.sliding_window")?;
        let local = local.filter(|window| *window > 0).map(|window| Local {
            window,
            layers: vec![true; layers],
            rope: rope.clone(),
        });
        let epsilon = self.float("attention.layer_norm_rms_epsilon")?;
        let expert_size = self.optional("expert_feed_forward_length")?;
        let intermediate = match self.optional("feed_forward_length")? {
            Some(size) => size,
            None => expert_size.map_or_else(|| self.needed("feed_forward_length"), Ok)?,
        };
        Ok(DecoderConfig {
            vocabulary,
            hidden,
            intermediate,
            layers,
            heads,
            kv_heads: self.optional("attention.head_count_kv")?.unwrap_or(heads),
            head_size,
            window,
            norm: Norm {
                kind: NormKind::RootMeanSquare,
                epsilon: epsilon.unwrap_or(1e-5),
            },
            block: Block::Sequential,
            attention: Attention {
                causal: true,
                scale: (head_size as f64).powf(-0.5),
                input_bias: self.has("attn_q.bias") || self.has("attn_qkv.bias"),
                output_bias: self.has("attn_output.bias"),
                head_norms: self.has("attn_q_norm.weight"),
                sinks: false,
                soft_cap: self.float("attn_logit_softcapping")?,
            },
            rope,
            local,
            feed_forward: FeedForward {
                activation: Activation::Silu,
                gated: true,
                bias: self.has("ffn_up.bias"),
            },
            experts: self.experts(layers, true)?,
            factors: Factors::default(),
            logit_cap: self.float("final_logit_softcapping")?,
            head_bias: self.gguf.has("output.bias"),
            tied_head: None,
        })
    }

    /// The experts, where the file has them; each layer says by its tensors whether it does.
    fn experts(&self, layers: usize, normalised: bool) -> Result<Option<Experts>, LoadError> {
        let count = self.optional("expert_count")?.unwrap_or(0);
        if count == 0 {
            return Ok(None);
        }
        let layers: Vec<bool> = (0..layers)
            .map(|layer| self.gguf.has(&format!("blk.{layer}.ffn_gate_inp.weight")))
            .collect();
        let intermediate = match self.optional("expert_feed_forward_length")? {
            Some(size) => size,
            None => self.needed("feed_forward_length")?,
        };
        Ok(Some(Experts {
            count,
            used: self.needed("expert_used_count")?,
            intermediate,
            normalised,
            bias: self.has("ffn_gate_inp.bias"),
            shared: None,
            layers,
        }))
    }

    fn rope(&self, head_size: usize, window: usize) -> Result<Rope, LoadError> {
        let rotated = self.optional("rope.dimension_count")?.unwrap_or(head_size);
        Ok(Rope {
            theta: self.float("rope.freq_base")?.unwrap_or(10_000.0),
            rotated,
            scaling: self.scaling(rotated, window)?,
        })
    }

    /// llama.cpp's converter stores Llama 3.1's scaling as a tensor of divisors.
    fn scaling(&self, rotated: usize, window: usize) -> Result<Scaling, LoadError> {
        let file = self.gguf.file();
        if self.gguf.has("rope_freqs.weight") {
            let divisors = self.gguf.tensor("rope_freqs.weight", &[rotated / 2])?;
            let divisors: Vec<f32> = divisors
                .to_vec1()
                .map_err(|error| LoadError::device(&error))?;
            let usable = |divisor: &f32| *divisor > 0.0 && divisor.is_finite();
            if !divisors.iter().all(usable) {
                return Err(LoadError::corrupt(
                    file,
                    "tensor \"rope_freqs.weight\" holds numbers that are not above zero",
                ));
            }
            return Ok(Scaling::Listed(divisors));
        }
        let positive = |key: &str, default: f64| {
            let value = self.float(key)?.unwrap_or(default);
            if value > 0.0 && value.is_finite() {
                return Ok(value);
            }
            let key = self.key(key);
            Err(LoadError::corrupt(file, format!("{key} is {value}")))
        };
        match self.gguf.text(&self.key("rope.scaling.type"))?.as_deref() {
            None | Some("none") => Ok(Scaling::None),
            Some("linear") => Ok(Scaling::Linear {
                factor: positive("rope.scaling.factor", 1.0)?,
            }),
            Some("yarn") => {
                let factor = positive("rope.scaling.factor", 1.0)?;
                let original = self.optional("rope.scaling.original_context_length")?;
                Ok(Scaling::Yarn(Yarn {
                    factor,
                    fast: positive("rope.scaling.yarn_beta_fast", 32.0)?,
                    slow: positive("rope.scaling.yarn_beta_slow", 1.0)?,
                    original_window: original.filter(|o| *o > 0).unwrap_or(window) as f64,
                    whole: true,
                    attention_factor: attention_factor(factor, 1.0)
                        * positive("rope.scaling.attn_factor", 1.0)?,
                }))
            }
            Some(other) => {
                Err(self.unsupported(format!("rope scaling {other:?}; linear and yarn are known")))
            }
        }
    }

    /// Llama 2 and 3, Mistral, Mixtral.
    fn llama(&self) -> Result<DecoderConfig, LoadError> {
        self.plain()
    }

    fn granite(&self) -> Result<DecoderConfig, LoadError> {
        let mut config = self.plain()?;
        config.attention.scale = self
            .float("attention.scale")?
            .unwrap_or(config.attention.scale);
        config.factors = Factors {
            embedding: self.float("embedding_scale")?,
            residual: self.float("residual_scale")?,
            logits: self.float("logit_scale")?.map(f64::recip),
        };
        Ok(config)
    }

    fn qwen_experts(&self, normalised: bool) -> Result<DecoderConfig, LoadError> {
        let mut config = self.plain()?;
        let shared = self.has("ffn_up_shexp.weight");
        let Some(experts) = &mut config.experts else {
            return Err(LoadError::corrupt(self.gguf.file(), "it has no experts"));
        };
        let told = self.gguf.boolean(&self.key("expert_weights_norm"))?;
        experts.normalised = told.unwrap_or(normalised);
        if shared {
            experts.shared = Some(self.needed("expert_shared_feed_forward_length")?);
        }
        Ok(config)
    }

    fn gemma(&self) -> Result<DecoderConfig, LoadError> {
        let mut config = self.plain()?;
        config.feed_forward.activation = Activation::GeluTanh;
        config.factors.embedding = Some((config.hidden as f64).sqrt());
        Ok(config)
    }

    /// Every second layer slides; the largest model (46 layers) scales its queries by its width.
    fn gemma2(&self) -> Result<DecoderConfig, LoadError> {
        let mut config = self.gemma()?;
        config.block = Block::Sandwiched;
        if config.layers == 46 {
            let width = config.hidden as f64 / config.heads as f64;
            config.attention.scale = width.powf(-0.5);
        }
        sliding(&mut config, |layer| layer % 2 == 0);
        Ok(config)
    }

    /// Five of six layers slide; the largest model (62 layers) scales its queries by its width.
    fn gemma3(&self) -> Result<DecoderConfig, LoadError> {
        let mut config = self.gemma()?;
        config.block = Block::Sandwiched;
        if config.layers == 62 {
            let width = config.hidden as f64 / config.heads as f64;
            config.attention.scale = width.powf(-0.5);
        }
        if self.float("rope.freq_base")?.is_none() {
            config.rope.theta = 1_000_000.0;
        }
        let pattern = self.optional("attention.sliding_window_pattern")?;
        let pattern = pattern.unwrap_or(6).max(1);
        sliding(&mut config, |layer| !(layer + 1).is_multiple_of(pattern));
        let theta = self.float("rope.freq_base_swa")?.unwrap_or(10_000.0);
        if let Some(local) = &mut config.local {
            local.rope.theta = theta;
            local.rope.scaling = Scaling::None;
        }
        Ok(config)
    }

    fn layer_norm(&self, config: &mut DecoderConfig) -> Result<(), LoadError> {
        let epsilon = self.float("attention.layer_norm_epsilon")?;
        config.norm = Norm {
            kind: NormKind::Layer,
            epsilon: epsilon.unwrap_or(1e-5),
        };
        config.block = Block::Parallel;
        config.feed_forward.gated = false;
        Ok(())
    }

    fn phi2(&self) -> Result<DecoderConfig, LoadError> {
        let mut config = self.plain()?;
        self.layer_norm(&mut config)?;
        config.feed_forward.activation = Activation::GeluTanh;
        Ok(config)
    }

    fn falcon(&self) -> Result<DecoderConfig, LoadError> {
        if self.has("attn_norm_2.weight") {
            return Err(self.unsupported("it has Falcon's new decoder architecture"));
        }
        let mut config = self.plain()?;
        self.layer_norm(&mut config)?;
        config.feed_forward.activation = Activation::GeluErf;
        Ok(config)
    }

    fn gpt_oss(&self) -> Result<DecoderConfig, LoadError> {
        let mut config = self.plain()?;
        config.feed_forward.activation = Activation::ClampedSwish { limit: 7.0 };
        config.attention.sinks = true;
        sliding(&mut config, |layer| layer % 2 == 0);
        if let Scaling::Yarn(yarn) = &mut config.rope.scaling {
            yarn.whole = false; // as the model was trained
            if let Some(local) = &mut config.local {
                local.rope = config.rope.clone();
            }
        }
        Ok(config)
    }
}

/// Says which layers slide, where the file has a sliding window.
fn sliding(config: &mut DecoderConfig, rule: impl Fn(usize) -> bool) {
    let layers: Vec<bool> = (0..config.layers).map(rule).collect();
    config.local = config
        .local
        .take()
        .filter(|_| layers.contains(&true))
        .map(|local| Local { layers, ..local });
}
