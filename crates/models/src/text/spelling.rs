//! The bytes that the words of a vocabulary are spelt with.

use std::collections::HashMap;

use crate::text::Tokenizer;

/// How a tokenizer writes bytes in the words of its vocabulary.
pub(super) struct Spelling {
    /// The byte of each letter, in byte-level vocabularies; the others are SentencePiece's.
    letters: Option<HashMap<char, u8>>,
}

impl Spelling {
    pub(super) fn of(tokenizer: &Tokenizer) -> Self {
        let is_byte_level = tokenizer
            .get_decoder()
            .and_then(|decoder| serde_json::to_string(decoder).ok())
            .is_some_and(|decoder| decoder.contains("\"ByteLevel\""));
        Self {
            letters: is_byte_level.then(letters),
        }
    }

    /// What a word that is no added token stands for.
    pub(super) fn bytes(&self, word: &str) -> Vec<u8> {
        match &self.letters {
            Some(letters) => byte_level(word, letters),
            None => sentence_piece(word),
        }
    }
}

/// Byte-level BPE writes each byte as a letter that can be seen (Radford et al. 2019, `bytes_to_unicode` of GPT-2).
fn letters() -> HashMap<char, u8> {
    let is_seen = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let mut next = 0x100;
    let mut letter = |byte: u8| {
        if is_seen(byte) {
            return char::from(byte);
        }
        next += 1;
        char::from_u32(next - 1).unwrap_or_default()
    };
    (0..=u8::MAX).map(|byte| (letter(byte), byte)).collect()
}

/// A token with a letter that stands for no byte is none that text is made of.
fn byte_level(text: &str, letters: &HashMap<char, u8>) -> Vec<u8> {
    let bytes = text.chars().map(|letter| letters.get(&letter).copied());
    bytes.collect::<Option<_>>().unwrap_or_default()
}

/// SentencePiece writes spaces as U+2581, and bytes without a token of their own as `<0x0A>`.
fn sentence_piece(text: &str) -> Vec<u8> {
    let hex = text
        .strip_prefix("<0x")
        .and_then(|rest| rest.strip_suffix('>'))
        .filter(|hex| hex.len() == 2);
    match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
        Some(byte) => vec![byte],
        None => text.replace('\u{2581}', " ").into_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_the_bytes_that_they_are_decoded_to() {
        let letters = letters();
        assert_eq!(letters.len(), 256);
        assert_eq!(byte_level("\u{120}a\u{10a}", &letters), b" a\n");
        assert_eq!(byte_level("\u{c3}\u{a9}", &letters), "é".as_bytes());
        assert_eq!(byte_level("\u{4e2d}", &letters), b"");
        assert_eq!(sentence_piece("\u{2581}the"), b" the");
        assert_eq!(sentence_piece("<0x0A>"), b"\n");
        assert_eq!(sentence_piece("<0x0A"), b"<0x0A");
    }
}
