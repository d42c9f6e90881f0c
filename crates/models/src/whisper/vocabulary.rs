//! The special tokens of a checkpoint, found in its tokenizer.
//!
//! Order of ids in every checkpoint: text, `<|endoftext|>`, `<|startoftranscript|>`, one for each
//! language, `<|translate|>`, `<|transcribe|>`, a few more, `<|notimestamps|>`, and then 1501
//! timestamps from 0.00 s in steps of 20 ms, which most tokenizers leave out.

use super::config::Config;
use crate::load::{Files, LoadError};
use crate::text::Tokenizer;

const TOKENIZER: &str = "tokenizer.json";
/// The largest tokenizer that is read, in bytes; Whisper's have 2.
const TOKENIZER_MAX_BYTES: u64 = 64 << 20;
/// 0.00 s to 30.00 s.
const TIMESTAMPS: u32 = 1_501;
/// Timestamps a second.
pub(super) const TIMESTAMPS_PER_SECOND: usize = 50;

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
    /// Asks for a transcript in English.
    pub(super) translate: u32,
    /// Comes before the text that a window follows.
    pub(super) previous: u32,
    /// Stands for silence: its probability after [`Vocabulary::start`] is that nobody speaks.
    pub(super) no_speech: u32,
    /// Asks for a transcript without timestamps.
    pub(super) no_timestamps: u32,
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
        let previous = id("<|startofprev|>")?;
        // Older tokenizers call it by the name of subtitles.
        let no_speech = id("<|nospeech|>").or_else(|_| id("<|nocaptions|>"))?;
        if !(end < start
            && start < translate
            && translate < transcribe
            && transcribe < previous
            && previous < no_timestamps
            && transcribe < no_speech
            && no_speech < no_timestamps)
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
            translate,
            previous,
            no_speech,
            no_timestamps,
            first_timestamp,
            languages,
        })
    }

    /// Text tokens of a text, with the space before it that Whisper's words have.
    pub(super) fn encode(&self, text: &str) -> Result<Vec<u32>, tokenizers::Error> {
        let text = format!(" {}", text.trim());
        let mut tokens = self.tokenizer.encode(text, false)?.get_ids().to_vec();
        tokens.retain(|&token| token < self.end); // a special token's name in a text is no order
        Ok(tokens)
    }

    /// The token of a language's code.
    pub(super) fn language_token(&self, code: &str) -> Option<u32> {
        let mut languages = self.languages.iter();
        languages
            .find(|(_, known)| known == code)
            .map(|(id, _)| *id)
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
