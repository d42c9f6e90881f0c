//! The special tokens of a checkpoint, found in its tokenizer.
//!
//! Order of ids in every checkpoint: text, `<|endoftext|>`, `<|startoftranscript|>`, one for each
//! language, `<|translate|>`, `<|transcribe|>`, a few more, `<|notimestamps|>`, and then 1501
//! timestamps from 0.00 s in steps of 20 ms, which most tokenizers leave out.

use tokenizers::Tokenizer;

use super::config::Config;
use crate::load::{Files, LoadError};

const TOKENIZER: &str = "tokenizer.json";
/// The largest tokenizer that is read, in bytes; Whisper's have 2.
const TOKENIZER_MAX_BYTES: u64 = 64 << 20;
/// 0.00 s to 30.00 s.
const TIMESTAMPS: u32 = 1_501;
/// Seconds from one timestamp to the next.
const TIMESTAMP_SECONDS: f32 = 0.02;

/// Text and special tokens.
#[derive(Debug)]
pub(super) struct Vocabulary {
    tokenizer: Tokenizer,
    /// Ends the transcript; ids below are text.
    pub(super) end: u32,
    /// Starts it.
    pub(super) start: u32,
    /// Asks for a transcript in the language spoken.
    pub(super) transcribe: u32,
    /// The first timestamp; it and all above are timestamps.
    pub(super) first_timestamp: u32,
    /// Language tokens and their codes, by id.
    pub(super) languages: Vec<(u32, String)>,
}

impl Vocabulary {
    pub(super) fn load(files: &Files, config: &Config) -> Result<Self, LoadError> {
        let path = files.path(TOKENIZER);
        let corrupt = |detail: String| LoadError::corrupt(&path, detail);
        let bytes = files.read(TOKENIZER, TOKENIZER_MAX_BYTES)?;
        let tokenizer = Tokenizer::from_bytes(bytes).map_err(|error| corrupt(error.to_string()))?;
        let id = |token: &str| {
            tokenizer
                .token_to_id(token)
                .ok_or_else(|| corrupt(format!("there is no token {token}")))
        };
        let end = id("<|endoftext|>")?;
        let start = id("<|startoftranscript|>")?;
        let translate = id("<|translate|>")?;
        let transcribe = id("<|transcribe|>")?;
        let no_timestamps = id("<|notimestamps|>")?;
        if !(end < start
            && start < translate
            && translate < transcribe
            && transcribe < no_timestamps)
        {
            return Err(corrupt(
                "its special tokens are not in Whisper's order".into(),
            ));
        }
        let first_timestamp = no_timestamps + 1;
        let last = u64::from(first_timestamp) + u64::from(TIMESTAMPS);
        if last > config.vocab_size as u64 {
            return Err(corrupt(format!(
                "its timestamps would end at {last}, but config.json has a vocab_size of {}",
                config.vocab_size
            )));
        }
        let languages: Vec<_> = (start + 1..translate)
            .filter_map(|id| {
                let token = tokenizer.id_to_token(id)?;
                let code = token.strip_prefix("<|")?.strip_suffix("|>")?;
                Some((id, code.to_owned()))
            })
            .collect();
        if languages.is_empty() {
            return Err(corrupt("it has no language tokens".into()));
        }
        Ok(Self {
            tokenizer,
            end,
            start,
            transcribe,
            first_timestamp,
            languages,
        })
    }

    /// The seconds that a timestamp stands for; none for other tokens.
    pub(super) fn seconds(&self, token: u32) -> Option<f32> {
        Some(token.checked_sub(self.first_timestamp)? as f32 * TIMESTAMP_SECONDS)
    }

    /// The code of a language token.
    pub(super) fn language(&self, token: u32) -> Option<&str> {
        let index = self
            .languages
            .binary_search_by_key(&token, |(id, _)| *id)
            .ok()?;
        Some(&self.languages[index].1)
    }

    /// Text of text tokens, leading space kept; bytes that are no character become U+FFFD.
    pub(super) fn text(&self, tokens: &[u32]) -> Result<String, tokenizers::Error> {
        self.tokenizer.decode(tokens, true)
    }
}
