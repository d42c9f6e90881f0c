//! The tokens of words that came lately: most words of a prompt are those of its template, or common ones, and to look a
//! word up whole touches a tenth of the memory that its letters and merges lie in.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Mutex;

use tokenizers::Token;

/// Words that are kept at most.
const WORDS: usize = 512;
/// Longer words are not kept.
const WORD_MAX_BYTES: usize = 24;
/// Words of more tokens neither.
const WORD_MAX_TOKENS: usize = 4;

/// Words, each in the place that its hash says, where the next one of the same place takes over.
#[derive(Debug)]
pub(super) struct Recent(Mutex<Box<[Word]>>);

#[derive(Debug, Clone, Copy, Default)]
struct Word {
    text: [u8; WORD_MAX_BYTES],
    tokens: [u32; WORD_MAX_TOKENS],
    /// How many bytes of the text each token has.
    lengths: [u8; WORD_MAX_TOKENS],
    /// 0 where there is none.
    bytes: u8,
    count: u8,
}

impl Default for Recent {
    fn default() -> Self {
        Self(Mutex::new(vec![Word::default(); WORDS].into()))
    }
}

impl Clone for Recent {
    /// Begins empty.
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// The place of a word; `None`: it is too long.
fn place(text: &str) -> Option<usize> {
    if text.len() > WORD_MAX_BYTES {
        return None;
    }
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    Some(hasher.finish() as usize % WORDS)
}

impl Recent {
    /// The tokens of a word that is kept. `None` as well while another thread is here: nobody waits.
    pub(super) fn get(&self, text: &str) -> Option<Vec<Token>> {
        let place = place(text)?;
        let word = self.0.try_lock().ok()?[place];
        if text.is_empty() || word.text[..usize::from(word.bytes)] != *text.as_bytes() {
            return None;
        }
        let mut at = 0;
        let parts = word.tokens.into_iter().zip(word.lengths);
        let tokens = parts.take(word.count.into()).map(|(token, length)| {
            let start = at;
            at += usize::from(length);
            let part = text.get(start..at).unwrap_or_default();
            Token::new(token, part.to_owned(), (start, at))
        });
        Some(tokens.collect())
    }

    /// Keeps the tokens of a word, which have its text among them, piece by piece.
    pub(super) fn keep(&self, text: &str, tokens: &[Token]) {
        let Some(place) = place(text).filter(|_| tokens.len() <= WORD_MAX_TOKENS) else {
            return;
        };
        let mut word = Word {
            bytes: text.len() as u8,
            count: tokens.len() as u8,
            ..Word::default()
        };
        word.text[..text.len()].copy_from_slice(text.as_bytes());
        for (index, token) in tokens.iter().enumerate() {
            let (start, end) = token.offsets;
            word.tokens[index] = token.id;
            word.lengths[index] = (end - start) as u8;
        }
        if let Ok(mut words) = self.0.try_lock() {
            words[place] = word;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str, cuts: &[usize]) -> Vec<Token> {
        let starts = [0].into_iter().chain(cuts.iter().copied());
        let ends = cuts.iter().copied().chain([text.len()]);
        let parts = starts.zip(ends).zip(7..);
        parts
            .map(|((start, end), id)| Token::new(id, text[start..end].to_owned(), (start, end)))
            .collect()
    }

    #[test]
    fn words_come_back_as_they_were_kept() {
        let recent = Recent::default();
        for (text, cuts) in [
            ("a", &[][..]),
            ("the letters of a word ..", &[3, 10, 11]),
            ("grüße", &[2, 4]),
        ] {
            assert_eq!(recent.get(text), None);
            let tokens = tokens(text, cuts);
            recent.keep(text, &tokens);
            assert_eq!(recent.get(text), Some(tokens));
        }
        assert_eq!(recent.get("the letters of a word .!"), None);
        assert_eq!(recent.get("the"), None);
        assert_eq!(recent.get(""), None);
        assert_eq!(recent.clone().get("a"), None);
    }

    #[test]
    fn what_is_too_long_is_not_kept() {
        let recent = Recent::default();
        let long = "a".repeat(WORD_MAX_BYTES + 1);
        recent.keep(&long, &tokens(&long, &[]));
        recent.keep("abcde", &tokens("abcde", &[1, 2, 3, 4]));
        assert_eq!(recent.get(&long), None);
        assert_eq!(recent.get("abcde"), None);
    }

    #[test]
    fn nobody_waits_for_another() {
        let recent = Recent::default();
        recent.keep("a", &tokens("a", &[]));
        let held = recent.0.lock().expect("a lock");
        recent.keep("b", &tokens("b", &[]));
        assert_eq!(recent.get("a"), None);
        drop(held);
        assert!(recent.get("a").is_some());
        assert_eq!(recent.get("b"), None);
    }
}
