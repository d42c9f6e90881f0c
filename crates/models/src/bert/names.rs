//! What the tensors of BERT and of what was made after it are called, and where their positions begin.

/// Names of tensors, without `.weight` and `.bias`; those of a layer without its prefix.
#[derive(Debug)]
pub(super) struct Names {
    /// Comes before everything of the encoder where a checkpoint has a head beside it.
    pub(super) encoder: &'static str,
    /// The vectors of token types, where the family has any.
    pub(super) types: Option<&'static str>,
    /// Comes before the number of a layer.
    pub(super) layers: &'static str,
    pub(super) query: &'static str,
    pub(super) key: &'static str,
    pub(super) value: &'static str,
    pub(super) attended: &'static str,
    pub(super) attention_norm: &'static str,
    pub(super) inner: &'static str,
    pub(super) outer: &'static str,
    pub(super) norm: &'static str,
    pub(super) head: HeadNames,
    /// Whether positions are counted from the one after the padding's.
    pub(super) after_padding: bool,
}

/// The names of a head that judges a text by its first vector. Whole names.
#[derive(Debug)]
pub(super) struct HeadNames {
    pub(super) inner: &'static str,
    pub(super) bend: Bend,
    pub(super) outer: &'static str,
}

/// What lies between the two layers of a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bend {
    Tangent,
    Relu,
}

pub(super) const WORDS: &str = "embeddings.word_embeddings";
pub(super) const POSITIONS: &str = "embeddings.position_embeddings";
pub(super) const NORM: &str = "embeddings.LayerNorm";

/// Devlin et al. 2018; transformers' `modeling_bert.py`.
pub(super) static BERT: Names = Names {
    encoder: "bert",
    types: Some("embeddings.token_type_embeddings"),
    layers: "encoder.layer",
    query: "attention.self.query",
    key: "attention.self.key",
    value: "attention.self.value",
    attended: "attention.output.dense",
    attention_norm: "attention.output.LayerNorm",
    inner: "intermediate.dense",
    outer: "output.dense",
    norm: "output.LayerNorm",
    head: HeadNames {
        inner: "bert.pooler.dense",
        bend: Bend::Tangent,
        outer: "classifier",
    },
    after_padding: false,
};

/// RoBERTa (Liu et al. 2019) and XLM-RoBERTa (Conneau et al. 2019); `modeling_xlm_roberta.py`.
pub(super) static ROBERTA: Names = Names {
    encoder: "roberta",
    head: HeadNames {
        inner: "classifier.dense",
        bend: Bend::Tangent,
        outer: "classifier.out_proj",
    },
    after_padding: true,
    ..BERT
};

/// DistilBERT (Sanh et al. 2019); `modeling_distilbert.py`.
pub(super) static DISTILBERT: Names = Names {
    encoder: "distilbert",
    types: None,
    layers: "transformer.layer",
    query: "attention.q_lin",
    key: "attention.k_lin",
    value: "attention.v_lin",
    attended: "attention.out_lin",
    attention_norm: "sa_layer_norm",
    inner: "ffn.lin1",
    outer: "ffn.lin2",
    norm: "output_layer_norm",
    head: HeadNames {
        inner: "pre_classifier",
        bend: Bend::Relu,
        outer: "classifier",
    },
    after_padding: false,
};

impl Names {
    /// The names of a family, by the word of its configuration.
    pub(super) fn of(model_type: &str) -> Option<&'static Self> {
        match model_type {
            "bert" => Some(&BERT),
            "roberta" | "xlm-roberta" => Some(&ROBERTA),
            "distilbert" => Some(&DISTILBERT),
            _ => None,
        }
    }

    /// The name of a layer's part that BERT calls `bert`.
    pub(super) fn of_layer(&self, bert: &str) -> Option<&'static str> {
        let parts = [
            (BERT.query, self.query),
            (BERT.key, self.key),
            (BERT.value, self.value),
            (BERT.attended, self.attended),
            (BERT.attention_norm, self.attention_norm),
            (BERT.inner, self.inner),
            (BERT.outer, self.outer),
            (BERT.norm, self.norm),
        ];
        parts
            .iter()
            .find(|(name, _)| *name == bert)
            .map(|(_, name)| *name)
    }
}
