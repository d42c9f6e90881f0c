//! The bytes that the words of a vocabulary are spelt with.

use crate::text::Tokenizer;

/// How a tokenizer writes bytes in the words of its vocabulary.
pub(super) struct Spelling {
    /// By a letter each; the others are SentencePiece's.
    is_byte_level: bool,
}

impl Spelling {
    pub(super) fn of(tokenizer: &Tokenizer) -> Self {
        let is_byte_level = tokenizer
            .get_decoder()
            .and_then(|decoder| serde_json::to_string(decoder).ok())
            .is_some_and(|decoder| decoder.contains("\"ByteLevel\""));
        Self { is_byte_level }
    }

    /// What a word that is no added token stands for.
    pub(super) fn bytes(&self, word: &str) -> Vec<u8> {
        if self.is_byte_level {
            byte_level(word)
        } else {
            sentence_piece(word)
        }
    }
}

/// The byte of a letter: byte-level BPE writes each byte as a letter that can be seen (Radford et al. 2019,
/// `bytes_to_unicode` of GPT-2), those that are none themselves as the letters from U+0100, in their order.
pub(super) fn byte(letter: char) -> Option<u8> {
    let number = u32::from(letter);
    let byte = match number {
        0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF => number,
        0x100..=0x120 => number - 0x100,
        0x121..=0x142 => number - 0x121 + 0x7F,
        0x143 => 0xAD,
        _ => return None,
    };
    u8::try_from(byte).ok()
}

/// A token with a letter that stands for no byte is none that text is made of.
fn byte_level(text: &str) -> Vec<u8> {
    text.chars()
        .map(byte)
        .collect::<Option<_>>()
        .unwrap_or_default()
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
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn tokens_are_the_bytes_that_they_are_decoded_to() {
        let bytes: BTreeSet<u8> = (0..0x200)
            .filter_map(char::from_u32)
            .filter_map(byte)
            .collect();
        assert_eq!(bytes.len(), 256);
        assert_eq!(byte_level("\u{120}a\u{10a}"), b" a\n");
        assert_eq!(byte_level("\u{c3}\u{a9}"), "é".as_bytes());
        assert_eq!(byte_level("\u{4e2d}"), b"");
        assert_eq!(sentence_piece("\u{2581}the"), b" the");
        assert_eq!(sentence_piece("<0x0A>"), b"\n");
        assert_eq!(sentence_piece("<0x0A"), b"<0x0A");
    }
}
