//! The bytes that each token of a vocabulary stands for.

use llguidance::toktrie::TokTrie;

use crate::text::Tokenizer;
use crate::text::spelling::Spelling;

/// The bytes of each token id below `vocabulary`: none where there is no token. Special tokens have a mark before
/// their text, which is no UTF-8: no grammar of text lets them through.
pub(super) fn bytes(tokenizer: &Tokenizer, vocabulary: usize) -> Vec<Vec<u8>> {
    let spelling = Spelling::of(tokenizer);
    let mut words = vec![Vec::new(); vocabulary];
    for (text, id) in tokenizer.get_vocab(false) {
        if let Some(word) = words.get_mut(id as usize) {
            *word = spelling.bytes(&text);
        }
    }
    for (id, added) in tokenizer.get_added_tokens_decoder() {
        if let Some(word) = words.get_mut(id as usize) {
            *word = added.content.into_bytes();
            if added.special {
                word.insert(0, TokTrie::SPECIAL_TOKEN_MARKER);
            }
        }
    }
    for word in &mut words {
        // The trie keeps a token's length in a byte or two; no text needs one as long.
        if word.len() > WORD_MAX_BYTES {
            word.clear();
        }
    }
    words
}

/// The longest token that grammars know, in bytes.
const WORD_MAX_BYTES: usize = 255;
