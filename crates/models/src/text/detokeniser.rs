//! Turns tokens back into text, one at a time, never splitting a character.

use std::sync::Arc;

use crate::text::{Tokenizer, byte_text};

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
    /// Their bytes, where texts are spelt by those.
    spelt: Option<Spelt>,
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
            spelt: byte_text::is_spelt(&tokenizer).then(Spelt::default),
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
        if let Some(spelt) = &mut self.spelt {
            spelt.push(&self.tokenizer, token);
        }
        let text = self.text();
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
        let text = self.text();
        self.tell(text)
    }

    fn tell(&mut self, text: String) -> String {
        let piece = text
            .strip_prefix(self.prefix.as_str())
            .unwrap_or_default()
            .to_owned();
        if self.tokens.len() > TOLD_MAX_TOKENS {
            self.tokens.drain(..self.told);
            if let Some(spelt) = &mut self.spelt {
                spelt.forget(self.told);
            }
            self.prefix = self.text();
        } else {
            self.prefix = text;
        }
        self.told = self.tokens.len();
        piece
    }

    /// The text of the tokens. An id without a token decodes to nothing, as do special tokens.
    fn text(&self) -> String {
        match &self.spelt {
            Some(spelt) => String::from_utf8_lossy(&spelt.bytes).into_owned(),
            None => self
                .tokenizer
                .decode(&self.tokens, true)
                .unwrap_or_default(),
        }
    }
}

/// The bytes of some tokens: each token is looked up once, and not again whenever others come behind it.
#[derive(Default)]
struct Spelt {
    bytes: Vec<u8>,
    /// How many of them each token has.
    counts: Vec<usize>,
}

impl Spelt {
    fn push(&mut self, tokenizer: &Tokenizer, token: u32) {
        let before = self.bytes.len();
        byte_text::spell(tokenizer, token, &mut self.bytes);
        self.counts.push(self.bytes.len() - before);
    }

    /// Leaves out the first tokens.
    fn forget(&mut self, tokens: usize) {
        let bytes = self.counts.drain(..tokens).sum::<usize>();
        self.bytes.drain(..bytes);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::text::byte_text::tests::tokenizer;

    proptest! {
        #[test]
        fn spelt_texts_are_those_of_the_library(tokens in prop::collection::vec(0_u32..275, 0..40)) {
            let tokenizer = Arc::new(tokenizer("ByteLevel"));
            let marks: Arc<[_]> = [(260, "<|end|>".to_owned())].into();
            let mut spelt = Detokeniser::new(tokenizer.clone(), marks.clone());
            let mut decoded = Detokeniser { spelt: None, ..Detokeniser::new(tokenizer, marks) };
            for token in tokens {
                prop_assert_eq!(spelt.push(token), decoded.push(token));
            }
            prop_assert_eq!(spelt.finish(), decoded.finish());
        }
    }
}
