//! CLIP's text encoder (Radford et al. 2021), in the sizes of OpenAI's L and of OpenCLIP's G.
//!
//! Names are those of transformers' `CLIPTextModel` and `CLIPTextModelWithProjection`.

mod open_clip;

use candle_core::{D, DType, Device, Result, Tensor};
use serde::Deserialize;

use crate::image::activation::Activation;
use crate::image::attention::{attend, join, split};
use crate::image::fields::{COUNT, NUMBER, PRETRAINED, Rule, SAVED, Table, WORD, read};
use crate::image::linear::Linear;
use crate::image::norm::LayerNorm;
use crate::image::source::{COUNT_MAX, Home, SIZE_MAX, Source, bounded, broken, open, unloaded};
use crate::image::tokens::Tokens;
use crate::load::{Files, LoadError};

/// The `eos_token_id` of configurations that were written before it was right: the end of a text is
/// then its largest token.
const EOS_OF_OLD: u32 = 2;

/// The fields of transformers' `CLIPTextConfig`.
const FIELDS: &Table = &[
    ("model_type", Rule::Only(&["null", "\"clip_text_model\""])),
    ("eos_token_id", COUNT),
    ("hidden_act", WORD),
    ("hidden_size", COUNT),
    ("intermediate_size", COUNT),
    ("layer_norm_eps", NUMBER),
    ("max_position_embeddings", COUNT),
    ("num_attention_heads", COUNT),
    ("num_hidden_layers", COUNT),
    ("projection_dim", COUNT),
    ("vocab_size", COUNT),
];

#[derive(Debug, Deserialize)]
pub(super) struct ClipConfig {
    pub(super) vocab_size: usize,
    pub(super) hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    pub(super) max_position_embeddings: usize,
    hidden_act: String,
    layer_norm_eps: f64,
    #[serde(default)]
    projection_dim: Option<usize>,
    #[serde(default = "eos_of_old")]
    eos_token_id: u32,
}

fn eos_of_old() -> u32 {
    EOS_OF_OLD
}

impl ClipConfig {
    pub(super) fn read(files: &Files, folder: &str) -> std::result::Result<Self, LoadError> {
        let config: Self = read(files, (folder, "config.json"), &[FIELDS, PRETRAINED, SAVED])?;
        let file = format!("{folder}/config.json");
        bounded(
            files,
            &file,
            &[
                ("vocab_size", config.vocab_size, SIZE_MAX),
                ("hidden_size", config.hidden_size, SIZE_MAX),
                ("intermediate_size", config.intermediate_size, SIZE_MAX),
                ("num_hidden_layers", config.num_hidden_layers, COUNT_MAX),
                ("num_attention_heads", config.num_attention_heads, COUNT_MAX),
                (
                    "max_position_embeddings",
                    config.max_position_embeddings,
                    COUNT_MAX,
                ),
                (
                    "projection_dim",
                    config.projection_dim.unwrap_or(1),
                    SIZE_MAX,
                ),
            ],
        )?;
        if !config
            .hidden_size
            .is_multiple_of(config.num_attention_heads)
        {
            let (heads, hidden) = (config.num_attention_heads, config.hidden_size);
            let detail = format!("{heads} heads cannot share {hidden}");
            return Err(LoadError::corrupt(&files.path(&file), detail));
        }
        Ok(config)
    }
}

struct Layer {
    norms: [LayerNorm; 2],
    projections: Linear,
    out: Linear,
    inner: [Linear; 2],
}

impl Layer {
    fn read(
        source: &Source<'_>,
        config: &ClipConfig,
        is_open_clip: bool,
    ) -> std::result::Result<Self, LoadError> {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let norm = |name| LayerNorm::read(&source.at(name), hidden, config.layer_norm_eps);
        let attention = source.at("self_attn");
        let three = ["q_proj", "k_proj", "v_proj"].map(|name| attention.at(name));
        Ok(Self {
            norms: [norm("layer_norm1")?, norm("layer_norm2")?],
            projections: if is_open_clip {
                Linear::read(&attention.at("in_proj"), hidden, hidden * 3)?
            } else {
                Linear::joined(&three, hidden, &[hidden; 3])?
            },
            out: Linear::read(&attention.at("out_proj"), hidden, hidden)?,
            inner: [
                Linear::read(&source.at("mlp.fc1"), hidden, inner)?,
                Linear::read(&source.at("mlp.fc2"), inner, hidden)?,
            ],
        })
    }
}

/// The encoder and its tokens.
pub(super) struct Clip {
    pub(super) tokens: Tokens,
    config: ClipConfig,
    activation: Activation,
    words: Tensor,
    positions: Tensor,
    layers: Vec<Layer>,
    norm: LayerNorm,
    projection: Option<Linear>,
    /// `[1, 1, positions, positions]`: what comes later is not seen.
    mask: Tensor,
}

/// What a text comes to.
pub(super) struct Encoded {
    /// After the last layer and its norm, `[1, positions, hidden]`.
    pub(super) last: Tensor,
    /// After the last layer but one, without a norm, `[1, positions, hidden]`.
    pub(super) penultimate: Tensor,
    /// `last` at the end of the text, projected where the model has a projection, `[1, width]`.
    pub(super) pooled: Tensor,
}

impl Clip {
    /// Loads `text_encoder*` and `tokenizer*`.
    pub(super) fn load(
        files: &Files,
        folders: (&str, &str),
        home: &Home,
    ) -> std::result::Result<Self, LoadError> {
        let config = ClipConfig::read(files, folders.0)?;
        let tokens = Tokens::clip(files, folders.1, config.max_position_embeddings)?;
        tokens.check(config.vocab_size)?;
        let checkpoint = open(files, folders.0, "model")?;
        let is_open_clip = checkpoint.has(open_clip::MARK);
        let mut top = Source::new(&checkpoint, home);
        if is_open_clip {
            top = top.renamed(open_clip::name);
        }
        let top = top;
        let text = top.at("text_model");
        let Some(activation) = Activation::of_word(&config.hidden_act) else {
            let detail = format!("hidden_act {:?}", config.hidden_act);
            return Err(LoadError::unsupported(checkpoint.file(), detail));
        };
        let (hidden, epsilon) = (config.hidden_size, config.layer_norm_eps);
        let blocks = text.at("encoder.layers");
        let layers = (0..config.num_hidden_layers)
            .map(|layer| Layer::read(&blocks.at(layer), &config, is_open_clip))
            .collect::<std::result::Result<_, _>>()?;
        let projection = top.at("text_projection");
        let projection = match config.projection_dim {
            Some(width) if projection.has("weight") && is_open_clip => {
                Some(Linear::turned(&projection, hidden, width)?)
            }
            Some(width) if projection.has("weight") => {
                Some(Linear::read(&projection, hidden, width)?)
            }
            _ => None,
        };
        let embeddings = text.at("embeddings");
        let length = config.max_position_embeddings;
        let clip = Self {
            activation,
            words: embeddings.tensor("token_embedding.weight", &[config.vocab_size, hidden])?,
            positions: embeddings.tensor("position_embedding.weight", &[length, hidden])?,
            layers,
            norm: LayerNorm::read(&text.at("final_layer_norm"), hidden, epsilon)?,
            projection,
            mask: causal(length, home.dtype, &home.device).map_err(|error| unloaded(&error))?,
            tokens,
            config,
        };
        // Positions as numbers, which are their own indices; a projection that the model's class leaves out.
        top.finish(&[
            "position_ids",
            "text_projection.weight",
            "text_projection",
            "logit_scale",
        ])?;
        Ok(clip)
    }

    /// The width of a token's vector.
    pub(super) fn width(&self) -> usize {
        self.config.hidden_size
    }

    pub(super) fn has_projection(&self) -> bool {
        self.projection.is_some()
    }

    /// The width of the pooled vector.
    pub(super) fn pooled_width(&self) -> usize {
        match (&self.projection, self.config.projection_dim) {
            (Some(_), Some(width)) => width,
            _ => self.config.hidden_size,
        }
    }

    /// Encodes a text, cut to the positions that there are.
    pub(super) fn encode(&self, text: &str) -> std::result::Result<Encoded, tasks::Failure> {
        let tokens = self.tokens.of(text)?;
        self.forward(&tokens).map_err(broken)
    }

    fn forward(&self, tokens: &[u32]) -> Result<Encoded> {
        let heads = self.config.num_attention_heads;
        let scale = ((self.config.hidden_size / heads) as f64).sqrt().recip();
        let ids = Tensor::new(tokens, self.words.device())?;
        let mut x = (self.words.index_select(&ids, 0)? + &self.positions)?.unsqueeze(0)?;
        let mut penultimate = x.clone();
        for layer in &self.layers {
            penultimate = x.clone();
            let projected = layer.projections.forward(&layer.norms[0].forward(&x)?)?;
            let three = projected.chunk(3, D::Minus1)?;
            let attended = attend(
                &split(&three[0], heads)?,
                &split(&three[1], heads)?,
                &split(&three[2], heads)?,
                scale,
                Some(&self.mask),
            )?;
            x = (x + layer.out.forward(&join(&attended)?)?)?;
            let inner = layer.inner[0].forward(&layer.norms[1].forward(&x)?)?;
            x = (x + layer.inner[1].forward(&self.activation.forward(&inner)?)?)?;
        }
        let last = self.norm.forward(&x)?;
        let pooled = last.narrow(1, self.end(tokens), 1)?.squeeze(1)?;
        let pooled = match &self.projection {
            Some(projection) => projection.forward(&pooled)?,
            None => pooled,
        };
        Ok(Encoded {
            last,
            penultimate,
            pooled,
        })
    }

    /// Where the text ends.
    fn end(&self, tokens: &[u32]) -> usize {
        let eos = match self.config.eos_token_id {
            EOS_OF_OLD => tokens.iter().copied().max().unwrap_or(0),
            eos => eos,
        };
        tokens.iter().position(|&token| token == eos).unwrap_or(0)
    }
}

fn causal(length: usize, dtype: DType, device: &Device) -> Result<Tensor> {
    let later = |row: usize| {
        (0..length).map(move |column| if column > row { f32::NEG_INFINITY } else { 0.0 })
    };
    let mask: Vec<f32> = (0..length).flat_map(later).collect();
    Tensor::from_vec(mask, (1, 1, length, length), device)?.to_dtype(dtype)
}
