//! `config.json` and `generation_config.json` of a checkpoint, checked.

use std::ops::RangeInclusive;

use serde::Deserialize;

use crate::load::{Files, LoadError};

const CONFIG: &str = "config.json";
const GENERATION: &str = "generation_config.json";

/// Positions that the encoder gives for 30 s: half as many as there are frames.
pub(super) const ENCODER_POSITIONS: usize = crate::audio::mel::FRAMES / 2;
/// The vocabulary of the checkpoints that know English only; all others have another one.
const ENGLISH_VOCABULARY: usize = 51_864;
/// What sizes may be; the largest checkpoint has a width of 1280 and 32 layers.
const WIDTH: RangeInclusive<usize> = 1..=16_384;
const INNER_WIDTH: RangeInclusive<usize> = 1..=65_536;
const LAYERS: RangeInclusive<usize> = 1..=256;
/// A prompt's marks and a forced beginning take up to ten places.
const WINDOW: RangeInclusive<usize> = 16..=4_096;
const VOCABULARY: RangeInclusive<usize> = 1..=1_000_000;

/// The sizes of a checkpoint.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Config {
    pub(super) d_model: usize,
    pub(super) encoder_layers: usize,
    pub(super) encoder_attention_heads: usize,
    pub(super) encoder_ffn_dim: usize,
    pub(super) decoder_layers: usize,
    pub(super) decoder_attention_heads: usize,
    pub(super) decoder_ffn_dim: usize,
    pub(super) vocab_size: usize,
    pub(super) num_mel_bins: usize,
    pub(super) max_source_positions: usize,
    /// Tokens that the decoder can hold.
    pub(super) max_target_positions: usize,
    #[serde(default)]
    activation_function: Option<String>,
    #[serde(default)]
    scale_embedding: bool,
    #[serde(default)]
    suppress_tokens: Option<Vec<u32>>,
    #[serde(default)]
    begin_suppress_tokens: Option<Vec<u32>>,
}

impl Config {
    pub(super) fn load(files: &Files) -> Result<Self, LoadError> {
        let config: Self = files.json(CONFIG)?;
        config.check(files)?;
        Ok(config)
    }

    fn check(&self, files: &Files) -> Result<(), LoadError> {
        let file = files.path(CONFIG);
        for (name, value, allowed) in [
            ("d_model", self.d_model, WIDTH),
            ("encoder_layers", self.encoder_layers, LAYERS),
            ("decoder_layers", self.decoder_layers, LAYERS),
            ("encoder_ffn_dim", self.encoder_ffn_dim, INNER_WIDTH),
            ("decoder_ffn_dim", self.decoder_ffn_dim, INNER_WIDTH),
            ("max_target_positions", self.max_target_positions, WINDOW),
            ("vocab_size", self.vocab_size, VOCABULARY),
        ] {
            if !allowed.contains(&value) {
                let (low, high) = allowed.into_inner();
                return Err(LoadError::corrupt(
                    &file,
                    format!("{name} is {value}, not {low} to {high}"),
                ));
            }
        }
        for (name, heads) in [
            ("encoder_attention_heads", self.encoder_attention_heads),
            ("decoder_attention_heads", self.decoder_attention_heads),
        ] {
            if heads == 0 || !self.d_model.is_multiple_of(heads) {
                return Err(LoadError::corrupt(
                    &file,
                    format!(
                        "{name} is {heads}, which does not divide d_model = {}",
                        self.d_model
                    ),
                ));
            }
        }
        let unsupported = if !matches!(self.num_mel_bins, 80 | 128) {
            format!("num_mel_bins is {}, not 80 or 128", self.num_mel_bins)
        } else if self.max_source_positions != ENCODER_POSITIONS {
            format!(
                "max_source_positions is {}, not {ENCODER_POSITIONS}",
                self.max_source_positions
            )
        } else if self.scale_embedding {
            "scale_embedding is true".into()
        } else if let Some(other) = self
            .activation_function
            .as_deref()
            .filter(|&name| name != "gelu")
        {
            format!("activation_function is {other:?}, not \"gelu\"")
        } else {
            return Ok(());
        };
        Err(LoadError::unsupported(&file, unsupported))
    }
}

/// A head of the decoder's attention to the sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) layer: usize,
    pub(super) head: usize,
}

/// What decoding needs to know beside sizes.
#[derive(Debug, Clone, Default)]
pub(super) struct Generation {
    pub(super) multilingual: bool,
    /// Never sampled.
    pub(super) suppress: Vec<u32>,
    /// Not sampled as the first token.
    pub(super) suppress_first: Vec<u32>,
    /// The latest start of the first segment, in timestamp steps; 1 s where the file is silent.
    pub(super) first_timestamp_max: usize,
    /// The decoder's heads of attention whose weights follow the speech.
    pub(super) alignment: Vec<Head>,
}

/// 1 s in steps of 20 ms: `max_initial_timestamp` of the reference implementation.
const FIRST_TIMESTAMP_MAX: usize = 50;
/// The end of a window of 30 s, in the same steps.
const TIMESTAMP_MAX: usize = 1500;

/// The most heads that are aligned by; published checkpoints name 6 to 23, large-v2 all of its 320 upper
/// ones where nothing is named.
const ALIGNMENT_MAX_HEADS: usize = 320;

#[derive(Deserialize, Default)]
struct GenerationFile {
    is_multilingual: Option<bool>,
    suppress_tokens: Option<Vec<u32>>,
    begin_suppress_tokens: Option<Vec<u32>>,
    max_initial_timestamp_index: Option<usize>,
    alignment_heads: Option<Vec<(usize, usize)>>,
}

impl Generation {
    /// Reads `generation_config.json`; what it does not say comes from `config.json`.
    pub(super) fn load(files: &Files, config: &Config) -> Result<Self, LoadError> {
        let file: GenerationFile = if files.has(GENERATION) {
            files.json(GENERATION)?
        } else {
            GenerationFile::default()
        };
        let or_config = |own: Option<Vec<u32>>, other: &Option<Vec<u32>>| {
            own.or_else(|| other.clone()).unwrap_or_default()
        };
        let heads = config.decoder_attention_heads;
        let alignment = match file.alignment_heads.filter(|heads| !heads.is_empty()) {
            Some(named) => named,
            // As the reference implementation where nothing is known of a checkpoint: all heads of the
            // upper half of the layers.
            None => (config.decoder_layers / 2..config.decoder_layers)
                .flat_map(|layer| (0..heads).map(move |head| (layer, head)))
                .collect(),
        };
        if let Some((layer, head)) = alignment
            .iter()
            .find(|&&(layer, head)| layer >= config.decoder_layers || head >= heads)
        {
            return Err(LoadError::corrupt(
                &files.path(GENERATION),
                format!("alignment_heads has head {head} of layer {layer}, which there is not"),
            ));
        }
        let alignment = alignment.into_iter().take(ALIGNMENT_MAX_HEADS);
        Ok(Self {
            alignment: alignment
                .map(|(layer, head)| Head { layer, head })
                .collect(),
            multilingual: file
                .is_multilingual
                .unwrap_or(config.vocab_size != ENGLISH_VOCABULARY),
            suppress: or_config(file.suppress_tokens, &config.suppress_tokens),
            suppress_first: or_config(file.begin_suppress_tokens, &config.begin_suppress_tokens),
            first_timestamp_max: file
                .max_initial_timestamp_index
                .unwrap_or(FIRST_TIMESTAMP_MAX)
                .min(TIMESTAMP_MAX),
        })
    }
}
