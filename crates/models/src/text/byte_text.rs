//! Tokens of a byte-level vocabulary to bytes, as the tokenizers library decodes them: one by one, as none of them says
//! anything of the others there.

use tokenizers::DecoderWrapper;

use super::Tokenizer;
use super::spelling::byte;

/// Whether texts are the bytes of their tokens, one behind another.
pub(super) fn is_spelt(tokenizer: &Tokenizer) -> bool {
    matches!(tokenizer.get_decoder(), Some(DecoderWrapper::ByteLevel(_)))
}

/// Adds the bytes of a token; special ones and ids without a token have none.
pub(super) fn spell(tokenizer: &Tokenizer, id: u32, bytes: &mut Vec<u8>) {
    let added = tokenizer.get_added_vocabulary();
    if added.get_added_tokens_decoder().contains_key(&id) {
        let word = added.simple_id_to_token(id).unwrap_or_default();
        if !added.is_special_token(&word) {
            spell_word(&word, bytes);
        }
    } else if let Some(word) = tokenizer.get_model().word(id)
        && !added.is_special_token(&word)
    {
        spell_word(&word, bytes);
    }
}

/// The bytes that a word stands for; it itself where one of its letters stands for none.
fn spell_word(word: &str, bytes: &mut Vec<u8>) {
    let before = bytes.len();
    for letter in word.chars() {
        let Some(byte) = byte(letter) else {
            bytes.truncate(before);
            bytes.extend_from_slice(word.as_bytes());
            return;
        };
        bytes.push(byte);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::Path;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::text::tokenizer::parse_tokenizer;

    /// Every byte, words of some, words with letters that stand for no byte, and added tokens; ids have a gap.
    pub(in crate::text) fn tokenizer(decoder: &str) -> Tokenizer {
        let letters = (0..0x144).filter_map(char::from_u32);
        let mut words: Vec<String> = letters
            .filter(|&letter| byte(letter).is_some())
            .map(String::from)
            .collect();
        assert_eq!(words.len(), 256);
        words.extend(["\u{120}a", "Ã©", "中", "a中", "<|end|>"].map(str::to_owned));
        let merges = [["\u{120}", "a"], ["Ã", "©"]];
        let vocab: serde_json::Map<_, _> = words
            .into_iter()
            .zip(0..)
            .map(|(word, id)| (word, json!(id)))
            .collect();
        let token = |id: u32, content: &str, special: bool| {
            json!({
                "id": id, "content": content, "special": special,
                "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
            })
        };
        let all = json!({
            "version": "1.0",
            "added_tokens": [token(260, "<|end|>", true), token(261, "<tool \u{e9}>", false), token(270, "<b>", false)],
            "normalizer": null, "pre_tokenizer": null, "post_processor": null, "truncation": null, "padding": null,
            "decoder": {"type": decoder, "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
            "model": {"type": "BPE", "vocab": vocab, "merges": merges},
        });
        parse_tokenizer(Path::new("tokenizer.json"), all.to_string().as_bytes()).unwrap()
    }

    proptest! {
        #[test]
        fn texts_are_those_of_the_library(tokens in prop::collection::vec(0_u32..275, 0..12)) {
            let tokenizer = tokenizer("ByteLevel");
            let mut bytes = Vec::new();
            for &id in &tokens {
                spell(&tokenizer, id, &mut bytes);
            }
            let text = String::from_utf8_lossy(&bytes);
            prop_assert_eq!(text, tokenizer.decode(&tokens, true).unwrap());
        }
    }

    #[test]
    fn what_is_decoded_otherwise_is_left_to_the_library() {
        assert!(is_spelt(&tokenizer("ByteLevel")));
        assert!(!is_spelt(&tokenizer("Fuse")));
    }
}
