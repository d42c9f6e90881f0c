//! The tokenizer of an encoder: `tokenizer.json`, or the `vocab.txt` of checkpoints of BERT's family that
//! have no other.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::json;

use crate::load::{Files, JSON_MAX_BYTES, LoadError};
use crate::text::{Tokenizer, most_token, parse_tokenizer, read_tokenizer};

const TOKENIZER: &str = "tokenizer.json";
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
const VOCABULARY: &str = "vocab.txt";
/// The most pieces of a `vocab.txt`.
const PIECES_MAX: usize = 1 << 22;

/// Longer words are unknown, as in transformers.
const WORD_MAX_CHARACTERS: usize = 100;

const UNKNOWN: &str = "[UNK]";
const BEGIN: &str = "[CLS]";
const END: &str = "[SEP]";

/// What `tokenizer_config.json` says of a `vocab.txt`, with the defaults of transformers' `BertTokenizer`.
#[derive(Deserialize, Default)]
struct Manner {
    do_lower_case: Option<bool>,
    strip_accents: Option<bool>,
    tokenize_chinese_chars: Option<bool>,
}

/// Reads the tokenizer of a checkpoint whose vectors are for `vocabulary` tokens.
pub(crate) fn tokenizer(files: &Files, vocabulary: usize) -> Result<Tokenizer, LoadError> {
    let from_pieces = !files.has(TOKENIZER) && files.has(VOCABULARY);
    let (name, tokenizer) = if from_pieces {
        (VOCABULARY, word_pieces(files)?)
    } else {
        (TOKENIZER, read_tokenizer(files)?)
    };
    let most = most_token(&tokenizer).unwrap_or(0);
    if most as usize >= vocabulary {
        let detail = format!("it has a token {most}, but the model's vocabulary is {vocabulary}");
        return Err(LoadError::corrupt(&files.path(name), detail));
    }
    Ok(tokenizer)
}

/// A piece of a word a line, the number of the line its id (Devlin et al. 2018).
fn word_pieces(files: &Files) -> Result<Tokenizer, LoadError> {
    let path = files.path(VOCABULARY);
    let corrupt = |detail: String| LoadError::corrupt(&path, detail);
    let text = String::from_utf8(files.read(VOCABULARY, JSON_MAX_BYTES)?)
        .map_err(|error| corrupt(error.to_string()))?;
    let manner: Manner = if files.has(TOKENIZER_CONFIG) {
        files.json(TOKENIZER_CONFIG)?
    } else {
        Manner::default()
    };
    if text.lines().nth(PIECES_MAX).is_some() {
        return Err(corrupt(format!("it has more than {PIECES_MAX} pieces")));
    }
    let lines = text.lines().zip(0u32..);
    let pieces: BTreeMap<&str, u32> = lines.map(|(piece, id)| (piece.trim_end(), id)).collect();
    let of = |token: &str| {
        let id = pieces.get(token).copied();
        id.ok_or_else(|| corrupt(format!("it has no {token}")))
    };
    let (begin, end) = (of(BEGIN)?, of(END)?);
    of(UNKNOWN)?;
    let special = ["[PAD]", UNKNOWN, BEGIN, END, "[MASK]"].into_iter();
    let special = special.filter_map(|token| Some((token, *pieces.get(token)?)));
    let added = special.map(|(content, id)| {
        json!({
            "id": id, "content": content, "special": true, "normalized": false,
            "single_word": false, "lstrip": false, "rstrip": false,
        })
    });
    let whole = json!({
        "version": "1.0",
        "added_tokens": added.collect::<Vec<_>>(),
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": true,
            "handle_chinese_chars": manner.tokenize_chinese_chars.unwrap_or(true),
            "strip_accents": manner.strip_accents,
            "lowercase": manner.do_lower_case.unwrap_or(true),
        },
        "pre_tokenizer": { "type": "BertPreTokenizer" },
        "post_processor": { "type": "BertProcessing", "sep": [END, end], "cls": [BEGIN, begin] },
        "model": {
            "type": "WordPiece", "vocab": pieces, "unk_token": UNKNOWN,
            "continuing_subword_prefix": "##", "max_input_chars_per_word": WORD_MAX_CHARACTERS,
        },
    });
    parse_tokenizer(&path, whole.to_string().as_bytes())
}
