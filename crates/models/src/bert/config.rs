//! The shape of a BERT, from `config.json`, and the tensors that it must have.

use candle_transformers::models::bert::{Config, HiddenAct};
use kernels::Gate;
use serde::Deserialize;

use crate::checkpoint::Checkpoint;
use crate::load::{Files, LoadError};

/// The most layers.
const LAYERS_MAX: usize = 256;
/// The largest of all other sizes, in numbers or tokens.
const SIZE_MAX: usize = 1 << 24;

/// `config.json`, as far as embeddings need it.
#[derive(Debug, Deserialize)]
pub(crate) struct BertConfig {
    model_type: String,
    pub(crate) vocab_size: usize,
    pub(crate) hidden_size: usize,
    pub(super) num_hidden_layers: usize,
    pub(super) num_attention_heads: usize,
    pub(super) intermediate_size: usize,
    hidden_act: String,
    pub(crate) max_position_embeddings: usize,
    pub(super) type_vocab_size: usize,
    pub(super) layer_norm_eps: f64,
    position_embedding_type: Option<String>,
}

impl BertConfig {
    /// Reads and checks it.
    pub(crate) fn from_json(files: &Files) -> Result<Self, LoadError> {
        let config: Self = files.json("config.json")?;
        let file = files.path("config.json");
        if config.model_type != "bert" {
            return Err(LoadError::unsupported(
                &file,
                format!("model_type {:?}; bert is known", config.model_type),
            ));
        }
        if config
            .position_embedding_type
            .as_deref()
            .is_some_and(|kind| kind != "absolute")
        {
            return Err(LoadError::unsupported(
                &file,
                "positions that are not absolute",
            ));
        }
        if config.activation().is_none() {
            return Err(LoadError::unsupported(
                &file,
                format!("hidden_act {:?}", config.hidden_act),
            ));
        }
        for (name, value, most) in [
            ("vocab_size", config.vocab_size, SIZE_MAX),
            ("hidden_size", config.hidden_size, SIZE_MAX),
            ("num_hidden_layers", config.num_hidden_layers, LAYERS_MAX),
            ("num_attention_heads", config.num_attention_heads, SIZE_MAX),
            ("intermediate_size", config.intermediate_size, SIZE_MAX),
            (
                "max_position_embeddings",
                config.max_position_embeddings,
                SIZE_MAX,
            ),
            ("type_vocab_size", config.type_vocab_size, SIZE_MAX),
        ] {
            if value == 0 || value > most {
                return Err(LoadError::corrupt(
                    &file,
                    format!("{name} is {value}; 1 to {most} is possible"),
                ));
            }
        }
        if !config
            .hidden_size
            .is_multiple_of(config.num_attention_heads)
        {
            let detail = format!(
                "{} heads cannot share {}",
                config.num_attention_heads, config.hidden_size
            );
            return Err(LoadError::corrupt(&file, detail));
        }
        if !(config.layer_norm_eps >= 0.0 && config.layer_norm_eps < 1.0) {
            return Err(LoadError::corrupt(
                &file,
                format!("layer_norm_eps is {}", config.layer_norm_eps),
            ));
        }
        Ok(config)
    }

    /// Checks that every tensor is there with its shape. Gives the prefix of their names: none, or
    /// `bert` in checkpoints that have heads beside the encoder.
    pub(crate) fn check(&self, checkpoint: &Checkpoint) -> Result<&'static str, LoadError> {
        let prefix = if checkpoint.has("bert.embeddings.word_embeddings.weight") {
            "bert"
        } else {
            ""
        };
        let dot = if prefix.is_empty() { "" } else { "." };
        let (hidden, inner) = (self.hidden_size, self.intermediate_size);
        let check = |name: String, shape: &[usize]| {
            checkpoint.check(&format!("{prefix}{dot}{name}"), shape)
        };
        check(
            "embeddings.word_embeddings.weight".into(),
            &[self.vocab_size, hidden],
        )?;
        check(
            "embeddings.position_embeddings.weight".into(),
            &[self.max_position_embeddings, hidden],
        )?;
        check(
            "embeddings.token_type_embeddings.weight".into(),
            &[self.type_vocab_size, hidden],
        )?;
        check("embeddings.LayerNorm.weight".into(), &[hidden])?;
        check("embeddings.LayerNorm.bias".into(), &[hidden])?;
        for layer in 0..self.num_hidden_layers {
            for (name, inputs, outputs) in [
                ("attention.self.query", hidden, hidden),
                ("attention.self.key", hidden, hidden),
                ("attention.self.value", hidden, hidden),
                ("attention.output.dense", hidden, hidden),
                ("intermediate.dense", hidden, inner),
                ("output.dense", inner, hidden),
            ] {
                check(
                    format!("encoder.layer.{layer}.{name}.weight"),
                    &[outputs, inputs],
                )?;
                check(format!("encoder.layer.{layer}.{name}.bias"), &[outputs])?;
            }
            for name in ["attention.output", "output"] {
                check(
                    format!("encoder.layer.{layer}.{name}.LayerNorm.weight"),
                    &[hidden],
                )?;
                check(
                    format!("encoder.layer.{layer}.{name}.LayerNorm.bias"),
                    &[hidden],
                )?;
            }
        }
        Ok(prefix)
    }

    /// The same in candle's words.
    pub(crate) fn candle(&self) -> Config {
        Config {
            vocab_size: self.vocab_size,
            hidden_size: self.hidden_size,
            num_hidden_layers: self.num_hidden_layers,
            num_attention_heads: self.num_attention_heads,
            intermediate_size: self.intermediate_size,
            hidden_act: self.activation().unwrap_or(HiddenAct::Gelu),
            max_position_embeddings: self.max_position_embeddings,
            type_vocab_size: self.type_vocab_size,
            layer_norm_eps: self.layer_norm_eps,
            model_type: None,
            ..Config::default()
        }
    }

    /// The activation in the words of the kernels.
    pub(super) fn gate(&self) -> Gate {
        match self.activation() {
            Some(HiddenAct::Relu) => Gate::Relu,
            Some(HiddenAct::GeluApproximate) => Gate::GeluTanh,
            _ => Gate::GeluErf,
        }
    }

    fn activation(&self) -> Option<HiddenAct> {
        match self.hidden_act.as_str() {
            "gelu" => Some(HiddenAct::Gelu),
            "gelu_new" | "gelu_pytorch_tanh" => Some(HiddenAct::GeluApproximate),
            "relu" => Some(HiddenAct::Relu),
            _ => None,
        }
    }
}
