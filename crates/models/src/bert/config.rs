//! The shape of a BERT, from `config.json`, and the tensors that it must have.

use std::collections::BTreeMap;

use candle_transformers::models::bert::{Config, HiddenAct};
use kernels::Gate;
use serde::Deserialize;

use super::names::{NORM, Names, POSITIONS, WORDS};
use crate::checkpoint::Checkpoint;
use crate::load::{Files, LoadError};

/// The most layers.
const LAYERS_MAX: usize = 256;
/// The largest of all other sizes, in numbers or tokens.
const SIZE_MAX: usize = 1 << 24;
/// What DistilBERT's configuration does not say.
const EPSILON: f64 = 1e-12;

/// `config.json`, as far as encoders need it, in BERT's words and DistilBERT's.
#[derive(Debug, Deserialize)]
struct RawConfig {
    model_type: String,
    vocab_size: usize,
    #[serde(alias = "dim")]
    hidden_size: usize,
    #[serde(alias = "n_layers")]
    num_hidden_layers: usize,
    #[serde(alias = "n_heads")]
    num_attention_heads: usize,
    #[serde(alias = "hidden_dim")]
    intermediate_size: usize,
    #[serde(alias = "activation")]
    hidden_act: String,
    max_position_embeddings: usize,
    type_vocab_size: Option<usize>,
    layer_norm_eps: Option<f64>,
    position_embedding_type: Option<String>,
    pad_token_id: Option<usize>,
    id2label: Option<BTreeMap<String, String>>,
}

/// The shape of an encoder.
#[derive(Debug)]
pub(crate) struct BertConfig {
    pub(super) names: &'static Names,
    pub(crate) vocabulary: usize,
    pub(crate) hidden: usize,
    pub(super) layers: usize,
    pub(super) heads: usize,
    pub(super) inner: usize,
    activation: HiddenAct,
    /// Rows of the table of positions.
    pub(super) positions: usize,
    /// The row of the first token's position.
    pub(super) first_position: usize,
    /// Rows of the table of token types; none where the family has no such table.
    pub(super) types: usize,
    pub(super) epsilon: f64,
    /// What a classifier's outputs are called, in their order, where the file says so.
    pub(super) labels: Option<Vec<String>>,
}

impl BertConfig {
    /// Reads and checks it.
    pub(crate) fn from_json(files: &Files) -> Result<Self, LoadError> {
        let raw: RawConfig = files.json("config.json")?;
        let file = files.path("config.json");
        let Some(names) = Names::of(&raw.model_type) else {
            let known = "bert, roberta, xlm-roberta and distilbert are known";
            let detail = format!("model_type {:?}; {known}", raw.model_type);
            return Err(LoadError::unsupported(&file, detail));
        };
        if raw
            .position_embedding_type
            .as_deref()
            .is_some_and(|kind| kind != "absolute")
        {
            return Err(LoadError::unsupported(
                &file,
                "positions that are not absolute",
            ));
        }
        let Some(activation) = activation(&raw.hidden_act) else {
            return Err(LoadError::unsupported(
                &file,
                format!("hidden_act {:?}", raw.hidden_act),
            ));
        };
        let config = Self {
            names,
            vocabulary: raw.vocab_size,
            hidden: raw.hidden_size,
            layers: raw.num_hidden_layers,
            heads: raw.num_attention_heads,
            inner: raw.intermediate_size,
            activation,
            positions: raw.max_position_embeddings,
            first_position: if names.after_padding {
                raw.pad_token_id.unwrap_or(1).saturating_add(1)
            } else {
                0
            },
            types: names.types.map_or(0, |_| raw.type_vocab_size.unwrap_or(2)),
            epsilon: raw.layer_norm_eps.unwrap_or(EPSILON),
            labels: raw.id2label.map(in_order),
        };
        config
            .check_numbers()
            .map_err(|detail| LoadError::corrupt(&file, detail))?;
        Ok(config)
    }

    fn check_numbers(&self) -> Result<(), String> {
        let types_min = usize::from(self.names.types.is_some());
        for (name, value, least, most) in [
            ("vocab_size", self.vocabulary, 1, SIZE_MAX),
            ("hidden_size", self.hidden, 1, SIZE_MAX),
            ("num_hidden_layers", self.layers, 1, LAYERS_MAX),
            ("num_attention_heads", self.heads, 1, SIZE_MAX),
            ("intermediate_size", self.inner, 1, SIZE_MAX),
            ("max_position_embeddings", self.positions, 1, SIZE_MAX),
            ("type_vocab_size", self.types, types_min, SIZE_MAX),
        ] {
            if value < least || value > most {
                return Err(format!("{name} is {value}; {least} to {most} is possible"));
            }
        }
        if self.first_position >= self.positions {
            return Err(format!(
                "positions begin at {}, and max_position_embeddings is {}",
                self.first_position, self.positions
            ));
        }
        if !self.hidden.is_multiple_of(self.heads) {
            return Err(format!("{} heads cannot share {}", self.heads, self.hidden));
        }
        if !(self.epsilon >= 0.0 && self.epsilon < 1.0) {
            return Err(format!("layer_norm_eps is {}", self.epsilon));
        }
        Ok(())
    }

    /// Tokens that it reads at once.
    pub(crate) fn window(&self) -> usize {
        self.positions - self.first_position
    }

    /// What comes before the names of the encoder's tensors: nothing, or the family's word and a dot in
    /// checkpoints that have a head beside the encoder.
    pub(super) fn prefix(&self, checkpoint: &Checkpoint) -> String {
        let encoder = self.names.encoder;
        let is_beside = checkpoint.has(&format!("{encoder}.{WORDS}.weight"));
        if is_beside {
            format!("{encoder}.")
        } else {
            String::new()
        }
    }

    /// Checks that every tensor of the encoder is there with its shape.
    pub(crate) fn check(&self, checkpoint: &Checkpoint) -> Result<(), LoadError> {
        let (names, prefix) = (self.names, self.prefix(checkpoint));
        let (hidden, inner) = (self.hidden, self.inner);
        let check = |name: &str, end: &str, shape: &[usize]| {
            checkpoint.check(&format!("{prefix}{name}.{end}"), shape)
        };
        let norm = |name: &str| {
            check(name, "weight", &[hidden])?;
            check(name, "bias", &[hidden])
        };
        check(WORDS, "weight", &[self.vocabulary, hidden])?;
        check(POSITIONS, "weight", &[self.positions, hidden])?;
        if let Some(types) = names.types {
            check(types, "weight", &[self.types, hidden])?;
        }
        norm(NORM)?;
        for layer in 0..self.layers {
            let within = |name: &str| format!("{}.{layer}.{name}", names.layers);
            for (name, inputs, outputs) in [
                (names.query, hidden, hidden),
                (names.key, hidden, hidden),
                (names.value, hidden, hidden),
                (names.attended, hidden, hidden),
                (names.inner, hidden, inner),
                (names.outer, inner, hidden),
            ] {
                check(&within(name), "weight", &[outputs, inputs])?;
                check(&within(name), "bias", &[outputs])?;
            }
            norm(&within(names.attention_norm))?;
            norm(&within(names.norm))?;
        }
        Ok(())
    }

    /// The same in candle's words, whose BERT has at least two types of tokens and positions from 0.
    pub(super) fn candle(&self) -> Config {
        Config {
            vocab_size: self.vocabulary,
            hidden_size: self.hidden,
            num_hidden_layers: self.layers,
            num_attention_heads: self.heads,
            intermediate_size: self.inner,
            hidden_act: self.activation,
            max_position_embeddings: self.window(),
            type_vocab_size: self.types.max(2),
            layer_norm_eps: self.epsilon,
            model_type: None,
            ..Config::default()
        }
    }

    /// The activation in the words of the kernels.
    pub(super) fn gate(&self) -> Gate {
        match self.activation {
            HiddenAct::Relu => Gate::Relu,
            HiddenAct::GeluApproximate => Gate::GeluTanh,
            HiddenAct::Gelu => Gate::GeluErf,
        }
    }
}

fn activation(word: &str) -> Option<HiddenAct> {
    match word {
        "gelu" => Some(HiddenAct::Gelu),
        "gelu_new" | "gelu_pytorch_tanh" => Some(HiddenAct::GeluApproximate),
        "relu" => Some(HiddenAct::Relu),
        _ => None,
    }
}

/// Labels by their numbers. A number that is none comes last, and makes the count wrong for any head.
fn in_order(labels: BTreeMap<String, String>) -> Vec<String> {
    let mut numbered: Vec<_> = labels
        .into_iter()
        .map(|(number, label)| (number.parse().unwrap_or(u64::MAX), label))
        .collect();
    numbered.sort_unstable();
    numbered.into_iter().map(|(_, label)| label).collect()
}
