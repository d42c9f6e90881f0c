//! The tokens of a prompt: cut and padded to one length.

use std::fmt::Display;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Value, json};
use tasks::Failure;

use super::source::part;
use crate::load::{Files, JSON_MAX_BYTES, LoadError};
use crate::text::{Tokenizer, most_token};

/// The largest `merges.txt` in bytes; CLIP's has half a megabyte.
const MERGES_MAX_BYTES: u64 = 16 << 20;

/// A tokeniser and the tokens around a text.
pub(super) struct Tokens {
    tokenizer: Tokenizer,
    /// Before the text.
    begin: Option<u32>,
    end: u32,
    padding: u32,
    /// Tokens altogether.
    length: usize,
    file: PathBuf,
}

/// What `tokenizer_config.json` says; its other fields are of decoding, or of classes that are told apart by
/// their files.
#[derive(Deserialize)]
struct Config {
    #[serde(default, rename = "bos_token")]
    bos: Option<Word>,
    #[serde(default, rename = "eos_token")]
    eos: Option<Word>,
    #[serde(default, rename = "pad_token")]
    pad: Option<Word>,
    /// What a prompt is padded and cut to. A huge number says that nobody knows, and is a float for some.
    #[serde(default)]
    model_max_length: Option<f64>,
    #[serde(default)]
    padding_side: Option<String>,
    #[serde(default)]
    truncation_side: Option<String>,
}

impl Config {
    /// Refuses what is not done here; `length` are the model's positions, where it
    /// has some.
    fn check(&self, files: &Files, length: Option<usize>) -> Result<(), LoadError> {
        let left = |side: &Option<String>| side.as_ref().is_some_and(|side| side != "right");
        let detail = if left(&self.padding_side) {
            "padding_side other than right".to_owned()
        } else if left(&self.truncation_side) {
            "truncation_side other than right".to_owned()
        } else {
            match (self.model_max_length, length) {
                (Some(most), Some(length)) if (most - length as f64).abs() > 0.5 => {
                    format!("model_max_length {most} where the text encoder has {length} positions")
                }
                _ => return Ok(()),
            }
        };
        let file = files.path("tokenizer_config.json");
        Err(LoadError::unsupported(&file, detail))
    }
}

/// A token in either of its spellings.
#[derive(Deserialize)]
#[serde(untagged)]
enum Word {
    Plain(String),
    Described { content: String },
}

impl Word {
    fn text(&self) -> &str {
        match self {
            Self::Plain(text) | Self::Described { content: text } => text,
        }
    }
}

impl Tokens {
    /// CLIP's, from `tokenizer.json`, or from `vocab.json` and `merges.txt`.
    pub(super) fn clip(files: &Files, folder: &str, length: usize) -> Result<Self, LoadError> {
        let files = part(files, folder);
        let (tokenizer, file) = if files.has("tokenizer.json") {
            whole(&files)?
        } else {
            byte_pairs(&files)?
        };
        let config: Config = files.json("tokenizer_config.json")?;
        config.check(&files, Some(length))?;
        let word = |word: &Option<Word>, default: &str| {
            let text = word.as_ref().map_or(default, Word::text);
            id(&tokenizer, &file, text)
        };
        let end = word(&config.eos, "<|endoftext|>")?;
        Ok(Self {
            begin: Some(word(&config.bos, "<|startoftext|>")?),
            end,
            padding: word(&config.pad, "<|endoftext|>")?,
            length,
            tokenizer,
            file,
        })
    }

    /// T5's, from `tokenizer.json`.
    pub(super) fn t5(files: &Files, folder: &str, length: usize) -> Result<Self, LoadError> {
        let files = part(files, folder);
        let (tokenizer, file) = whole(&files)?;
        if files.has("tokenizer_config.json") {
            let config: Config = files.json("tokenizer_config.json")?;
            config.check(&files, None)?;
        }
        Ok(Self {
            begin: None,
            end: id(&tokenizer, &file, "</s>")?,
            padding: id(&tokenizer, &file, "<pad>")?,
            length,
            tokenizer,
            file,
        })
    }

    /// Refuses tokens that the model has no word for.
    pub(super) fn check(&self, vocabulary: usize) -> Result<(), LoadError> {
        let largest = most_token(&self.tokenizer).map_or(0, |id| id as usize);
        if largest >= vocabulary {
            let detail = format!("its token {largest} is beyond the model's {vocabulary}");
            return Err(LoadError::corrupt(&self.file, detail));
        }
        Ok(())
    }

    /// The tokens of a text, as many as the model reads: what is too long loses its end.
    pub(super) fn of(&self, text: &str) -> Result<Vec<u32>, Failure> {
        let encoded = self
            .tokenizer
            .encode_fast(text, false)
            .map_err(|error| Failure::Internal(format!("tokens of a prompt: {error}")))?;
        let around = usize::from(self.begin.is_some()) + 1;
        let room = self.length.saturating_sub(around);
        let ids = encoded.get_ids();
        if ids.len() > room {
            tracing::info!("a prompt of {} tokens is cut to {room}", ids.len());
        }
        let mut tokens: Vec<u32> = self.begin.into_iter().collect();
        tokens.extend(ids.iter().take(room));
        tokens.push(self.end);
        tokens.resize(self.length, self.padding);
        Ok(tokens)
    }
}

fn whole(files: &Files) -> Result<(Tokenizer, PathBuf), LoadError> {
    let file = files.path("tokenizer.json");
    let bytes = files.read("tokenizer.json", JSON_MAX_BYTES)?;
    let mut tokenizer = parsed(&bytes, &file)?;
    tokenizer.with_padding(None);
    tokenizer
        .with_truncation(None)
        .map_err(|error| LoadError::corrupt(&file, error.to_string()))?;
    Ok((tokenizer, file))
}

/// CLIP's byte pairs: lower case, words by a pattern, an end mark at each word.
fn byte_pairs(files: &Files) -> Result<(Tokenizer, PathBuf), LoadError> {
    let file = files.path("vocab.json");
    let vocabulary: Value = files.json("vocab.json")?;
    let merges = files.read("merges.txt", MERGES_MAX_BYTES)?;
    let merges = String::from_utf8(merges)
        .map_err(|error| LoadError::corrupt(&files.path("merges.txt"), error.to_string()))?;
    let merges: Vec<&str> = merges
        .lines()
        .filter(|line| !line.starts_with("#version") && !line.trim().is_empty())
        .collect();
    let special = |word: &str| {
        json!({"id": vocabulary[word], "content": word, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true})
    };
    let words = ["<|startoftext|>", "<|endoftext|>"].map(special);
    let pattern = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";
    let written = json!({
        "version": "1.0",
        "added_tokens": words,
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "NFC"},
            {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "},
            {"type": "Lowercase"},
        ]},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Removed", "invert": true},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        ]},
        "post_processor": null,
        "decoder": null,
        "model": {"type": "BPE", "dropout": null, "unk_token": "<|endoftext|>",
            "continuing_subword_prefix": "", "end_of_word_suffix": "</w>", "fuse_unk": false,
            "vocab": vocabulary, "merges": merges},
    });
    let tokenizer = parsed(written.to_string().as_bytes(), &file)?;
    Ok((tokenizer, file))
}

fn parsed(bytes: &[u8], file: &std::path::Path) -> Result<Tokenizer, LoadError> {
    Tokenizer::from_bytes(bytes).map_err(|error| LoadError::corrupt(file, error.to_string()))
}

fn id(tokenizer: &Tokenizer, file: &std::path::Path, word: impl Display) -> Result<u32, LoadError> {
    let word = word.to_string();
    let found = tokenizer.token_to_id(&word);
    found.ok_or_else(|| LoadError::corrupt(file, format!("it has no token {word:?}")))
}
