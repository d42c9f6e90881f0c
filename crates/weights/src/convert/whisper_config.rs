//! The JSON files beside a Whisper checkpoint, in the order and layout of `json.dump(..., indent=2)`.
//!
//! Values that CTranslate2 does not store are those of every published Whisper checkpoint of this family
//! (openai/whisper-tiny.en, openai/whisper-base): dropout 0, `gelu`, 30 s windows of 3 000 frames.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::ConvertError;

/// Time stamps `<|0.00|>` to `<|30.00|>` in steps of 0.02 s: the last tokens of the vocabulary.
const TIMESTAMPS: usize = 1501;
/// OpenAI's rule: a vocabulary of at least this many tokens is multilingual.
const MULTILINGUAL_VOCABULARY: usize = 51_865;
/// The token for `no speech` in the older tokenisers; looks like a language's.
const NO_CAPTIONS: &str = "<|nocaptions|>";

/// What the variables tell of the architecture.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dimensions {
    pub(crate) vocabulary: usize,
    pub(crate) width: usize,
    pub(crate) mel_bins: usize,
    pub(crate) encoder_positions: usize,
    pub(crate) decoder_positions: usize,
    pub(crate) encoder_layers: usize,
    pub(crate) decoder_layers: usize,
    pub(crate) encoder_feed_forward: usize,
    pub(crate) decoder_feed_forward: usize,
    pub(crate) encoder_heads: u16,
    pub(crate) decoder_heads: u16,
    pub(crate) dtype: &'static str,
}

/// CTranslate2's config.json.
#[derive(Debug, Deserialize)]
struct Ct2Config {
    suppress_ids: Vec<i64>,
    suppress_ids_begin: Vec<i64>,
    alignment_heads: Vec<[u32; 2]>,
}

#[derive(Debug, Deserialize)]
struct Tokenizer {
    added_tokens: Vec<AddedToken>,
}

#[derive(Debug, Deserialize)]
struct AddedToken {
    id: usize,
    content: String,
}

/// The ids of the tokens that steer the decoder.
struct Steering<'a> {
    tokens: &'a [AddedToken],
    by_content: BTreeMap<&'a str, usize>,
}

impl Steering<'_> {
    fn id(&self, content: &str) -> Result<usize, ConvertError> {
        self.by_content
            .get(content)
            .copied()
            .ok_or_else(|| tokenizer_error(format!("has no token {content}")))
    }

    /// `<|en|>` and its like, in the tokeniser's order.
    fn languages(&self) -> Map<String, Value> {
        self.tokens
            .iter()
            .filter(|token| {
                let code = token
                    .content
                    .strip_prefix("<|")
                    .and_then(|rest| rest.strip_suffix("|>"));
                token.content != NO_CAPTIONS
                    && code.is_some_and(|code| {
                        (2..=3).contains(&code.chars().count())
                            && code.chars().all(char::is_alphabetic)
                    })
            })
            .map(|token| (token.content.clone(), token.id.into()))
            .collect()
    }
}

/// config.json, generation_config.json and preprocessor_config.json.
pub(crate) fn texts(
    dimensions: &Dimensions,
    config: &[u8],
    tokenizer: &[u8],
) -> Result<Vec<(&'static str, Vec<u8>)>, ConvertError> {
    let mut config: Ct2Config =
        serde_json::from_slice(config).map_err(|error| ConvertError::Json {
            file: "CTranslate2's config.json",
            what: error.to_string(),
        })?;
    config.suppress_ids.sort_unstable();
    let tokenizer: Tokenizer =
        serde_json::from_slice(tokenizer).map_err(|error| tokenizer_error(error.to_string()))?;
    let steering = Steering {
        tokens: &tokenizer.added_tokens,
        by_content: tokenizer
            .added_tokens
            .iter()
            .map(|token| (token.content.as_str(), token.id))
            .collect(),
    };
    let no_timestamps = steering.id("<|notimestamps|>")?;
    if no_timestamps
        .checked_add(1 + TIMESTAMPS)
        .is_none_or(|vocabulary| vocabulary != dimensions.vocabulary)
    {
        return Err(tokenizer_error(format!(
            "<|notimestamps|> is {no_timestamps}, which the model's vocabulary of {} contradicts",
            dimensions.vocabulary
        )));
    }
    Ok(vec![
        ("config.json", model_text(dimensions, &config, &steering)?),
        (
            "generation_config.json",
            generation_text(dimensions, &config, &steering)?,
        ),
        ("preprocessor_config.json", preprocessor_text(dimensions)),
    ])
}

fn model_text(
    dimensions: &Dimensions,
    config: &Ct2Config,
    steering: &Steering<'_>,
) -> Result<Vec<u8>, ConvertError> {
    let end = steering.id("<|endoftext|>")?;
    Ok(text(&json!({
        "activation_dropout": 0.0,
        "activation_function": "gelu",
        "architectures": ["WhisperForConditionalGeneration"],
        "attention_dropout": 0.0,
        "begin_suppress_tokens": config.suppress_ids_begin,
        "bos_token_id": end,
        "d_model": dimensions.width,
        "decoder_attention_heads": dimensions.decoder_heads,
        "decoder_ffn_dim": dimensions.decoder_feed_forward,
        "decoder_layerdrop": 0.0,
        "decoder_layers": dimensions.decoder_layers,
        "decoder_start_token_id": steering.id("<|startoftranscript|>")?,
        "dropout": 0.0,
        "encoder_attention_heads": dimensions.encoder_heads,
        "encoder_ffn_dim": dimensions.encoder_feed_forward,
        "encoder_layerdrop": 0.0,
        "encoder_layers": dimensions.encoder_layers,
        "eos_token_id": end,
        "init_std": 0.02,
        "is_encoder_decoder": true,
        "max_length": dimensions.decoder_positions,
        "max_source_positions": dimensions.encoder_positions,
        "max_target_positions": dimensions.decoder_positions,
        "model_type": "whisper",
        "num_hidden_layers": dimensions.encoder_layers,
        "num_mel_bins": dimensions.mel_bins,
        "pad_token_id": end,
        "scale_embedding": false,
        "suppress_tokens": config.suppress_ids,
        "torch_dtype": dimensions.dtype,
        "use_cache": true,
        "vocab_size": dimensions.vocabulary,
    })))
}

fn generation_text(
    dimensions: &Dimensions,
    config: &Ct2Config,
    steering: &Steering<'_>,
) -> Result<Vec<u8>, ConvertError> {
    let end = steering.id("<|endoftext|>")?;
    let multilingual = dimensions.vocabulary >= MULTILINGUAL_VOCABULARY;
    let mut generation = json!({
        "alignment_heads": config.alignment_heads,
        "begin_suppress_tokens": config.suppress_ids_begin,
        "bos_token_id": end,
        "decoder_start_token_id": steering.id("<|startoftranscript|>")?,
        "eos_token_id": end,
        "is_multilingual": multilingual,
        "max_initial_timestamp_index": 50,
        "max_length": dimensions.decoder_positions,
        "no_timestamps_token_id": steering.id("<|notimestamps|>")?,
        "pad_token_id": end,
        "prev_sot_token_id": steering.id("<|startofprev|>")?,
        "return_timestamps": false,
        "suppress_tokens": config.suppress_ids,
    });
    if multilingual {
        generation["lang_to_id"] = Value::Object(steering.languages());
        generation["task_to_id"] = json!({
            "transcribe": steering.id("<|transcribe|>")?,
            "translate": steering.id("<|translate|>")?,
        });
    }
    Ok(text(&generation))
}

fn preprocessor_text(dimensions: &Dimensions) -> Vec<u8> {
    text(&json!({
        "chunk_length": 30,
        "feature_extractor_type": "WhisperFeatureExtractor",
        "feature_size": dimensions.mel_bins,
        "hop_length": 160,
        "n_fft": 400,
        "n_samples": 480_000,
        "nb_max_frames": 3000,
        "padding_side": "right",
        "padding_value": 0.0,
        "processor_class": "WhisperProcessor",
        "return_attention_mask": false,
        "sampling_rate": 16000,
    }))
}

fn text(value: &Value) -> Vec<u8> {
    format!("{value:#}\n").into_bytes()
}

fn tokenizer_error(what: String) -> ConvertError {
    ConvertError::Json {
        file: "tokenizer.json",
        what,
    }
}
