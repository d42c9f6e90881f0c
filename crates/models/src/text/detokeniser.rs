//! Turns tokens back into text, one at a time, never splitting a character.

use std::sync::Arc;

use crate::text::Tokenizer;

/// Tokens held back for a character to become complete. A character has at most 4 bytes and a token
/// at least one, so more than this means bytes that are no text; they are let go as they are.
const HELD_MAX_TOKENS: usize = 8;
/// Told tokens that new ones are decoded behind. More than the one that it takes: their text is known, while that of the
/// rest has to be decoded whenever some are let go.
const TOLD_MAX_TOKENS: usize = 4;

/// The text of one sequence.
///
/// Tokenizers decode a token differently at the start of a text (some drop a space there), so each
/// token is decoded behind those of the last pieces: what that adds is the new text.
pub(crate) struct Detokeniser {
    tokenizer: Arc<Tokenizer>,
    /// The tokens of the last pieces, then those held back.
    tokens: Vec<u32>,
    /// How many of them were told.
    told: usize,
    /// The text of those.
    prefix: String,
    /// Special tokens whose text counts, by id.
    marks: Arc<[(u32, String)]>,
}

impl Detokeniser {
    /// Special tokens decode to nothing, except `marks`.
    pub(crate) fn new(tokenizer: Arc<Tokenizer>, marks: Arc<[(u32, String)]>) -> Self {
        Self {
            marks,
            tokenizer,
            tokens: Vec::new(),
            told: 0,
            prefix: String::new(),
        }
    }

    /// Takes a token; gives the text that it completes, which may be empty.
    pub(crate) fn push(&mut self, token: u32) -> String {
        if let Some((_, mark)) = self.marks.iter().find(|(mark, _)| *mark == token) {
            let mark = mark.clone();
            return self.finish() + &mark;
        }
        self.tokens.push(token);
        let text = self.decode(&self.tokens);
        let held = self.tokens.len() - self.told;
        if text.len() <= self.prefix.len() && held < HELD_MAX_TOKENS {
            return String::new();
        }
        if text.ends_with(char::REPLACEMENT_CHARACTER) && held < HELD_MAX_TOKENS {
            return String::new();
        }
        self.tell(text)
    }

    /// Gives what was held back.
    pub(crate) fn finish(&mut self) -> String {
        let text = self.decode(&self.tokens);
        self.tell(text)
    }

    fn tell(&mut self, text: String) -> String {
        let piece = text
            .strip_prefix(self.prefix.as_str())
            .unwrap_or_default()
            .to_owned();
        if self.tokens.len() > TOLD_MAX_TOKENS {
            self.tokens.drain(..self.told);
            self.prefix = self.decode(&self.tokens);
        } else {
            self.prefix = text;
        }
        self.told = self.tokens.len();
        piece
    }

    /// An id without a token decodes to nothing, as do special tokens.
    fn decode(&self, tokens: &[u32]) -> String {
        self.tokenizer.decode(tokens, true).unwrap_or_default()
    }
}
