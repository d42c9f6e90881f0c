//! A tokenizer from the metadata of a GGUF file (`tokenizer.ggml.*`).
//!
//! Two kinds: `gpt2`, byte-level BPE with merges (Radford et al. 2019), whose pre-tokeniser
//! `tokenizer.ggml.pre` names; and `llama`, SentencePiece's BPE, where the rank of a merge is the
//! score of its result (Kudo and Richardson 2018). The pre-tokenisers are those of llama.cpp's
//! `llama-vocab.cpp` and of the tokenizer.json files that Hugging Face serves for the same models.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokenizers::{AddedToken, DecoderWrapper, NormalizerWrapper, PreTokenizerWrapper};

use super::tokenizer::{Encoding, Manner, Pairs, Tokenizer};
use crate::gguf::Gguf;
use crate::load::LoadError;

/// The most tokens.
const TOKENS_MAX: usize = 1 << 22;
/// The longest token that merges are looked for in, in bytes. The search is quadratic in it.
const TOKEN_MAX_BYTES: usize = 512;

/// `tokenizer.ggml.token_type`, from llama.h.
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;

/// How Llama 3 cuts text before BPE.
const LLAMA3_PATTERN: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|",
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);

/// How Qwen 2 does: as Llama 3, but each digit is a piece.
const QWEN2_PATTERN: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|",
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);

/// How GPT-4o and GPT-OSS do: words begin with capitals.
const GPT4O_PATTERN: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|",
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);

/// The tokens of the metadata.
struct Tokens<'a> {
    texts: Vec<Cow<'a, str>>,
    types: Vec<i32>,
}

/// Builds the tokenizer; other kinds than the two are [`LoadError::Unsupported`].
pub(crate) fn tokenizer(gguf: &Gguf) -> Result<Tokenizer, LoadError> {
    let tokens = Tokens::read(gguf)?;
    let kind = gguf.text("tokenizer.ggml.model")?.unwrap_or_default();
    let mut tokenizer = match kind.as_ref() {
        "gpt2" => byte_level(gguf, &tokens)?,
        "llama" => sentence_piece(gguf, &tokens)?,
        other => {
            return Err(LoadError::unsupported(
                gguf.file(),
                format!("a tokenizer of kind {other:?}"),
            ));
        }
    };
    for (kind, special) in [(CONTROL, true), (USER_DEFINED, false)] {
        let added = tokens
            .of(kind)
            .map(|text| AddedToken::from(text.to_owned(), special).normalized(false));
        tokenizer.add_tokens(added).map_err(|error| {
            LoadError::corrupt(gguf.file(), format!("its added tokens: {error}"))
        })?;
    }
    Ok(tokenizer)
}

impl<'a> Tokens<'a> {
    fn read(gguf: &'a Gguf) -> Result<Self, LoadError> {
        let corrupt = |detail: String| LoadError::corrupt(gguf.file(), detail);
        let texts = gguf
            .texts("tokenizer.ggml.tokens")?
            .ok_or_else(|| corrupt("it holds no tokenizer".into()))?;
        if texts.is_empty() || texts.len() > TOKENS_MAX {
            return Err(corrupt(format!("its tokenizer has {} tokens", texts.len())));
        }
        let types = match gguf.integers("tokenizer.ggml.token_type")? {
            Some(types) if types.len() == texts.len() => types,
            Some(types) => {
                return Err(corrupt(format!(
                    "{} token types for {} tokens",
                    types.len(),
                    texts.len()
                )));
            }
            None => vec![NORMAL; texts.len()],
        };
        Ok(Self { texts, types })
    }

    fn of(&self, kind: i32) -> impl Iterator<Item = &str> {
        let pairs = self.texts.iter().zip(&self.types);
        pairs
            .filter(move |(_, found)| **found == kind)
            .map(|(text, _)| text.as_ref())
    }

    fn words(&self) -> impl ExactSizeIterator<Item = &str> + Clone {
        self.texts.iter().map(Cow::as_ref)
    }
}

fn byte_level(gguf: &Gguf, tokens: &Tokens<'_>) -> Result<Tokenizer, LoadError> {
    let mut pre = gguf.text("tokenizer.ggml.pre")?.unwrap_or_default();
    if pre.is_empty() {
        // Files from before the entry existed: the architecture says it.
        let family = gguf.text("general.architecture")?.unwrap_or_default();
        if family.starts_with("qwen") {
            pre = "qwen2".into();
        }
    }
    let bytes = |use_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex});
    let sequence =
        |first: Value, second: Value| json!({"type": "Sequence", "pretokenizers": [first, second]});
    let split = |pattern: &str| {
        let pattern = json!({"Regex": pattern});
        let split =
            json!({"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": false});
        sequence(split, bytes(false))
    };
    let (cut, whole_words) = match pre.as_ref() {
        "" | "default" | "gpt-2" => (bytes(true), false),
        "smollm" => (
            sequence(
                json!({"type": "Digits", "individual_digits": true}),
                bytes(true),
            ),
            false,
        ),
        "llama-bpe" | "llama3" | "llama-v3" => (split(LLAMA3_PATTERN), true),
        "qwen2" | "deepseek-r1-qwen" => (split(QWEN2_PATTERN), false),
        "gpt-4o" => (split(GPT4O_PATTERN), true),
        other => {
            return Err(LoadError::unsupported(
                gguf.file(),
                format!("a pre-tokeniser {other:?}"),
            ));
        }
    };
    let corrupt = |detail: String| LoadError::corrupt(gguf.file(), detail);
    let merges = gguf
        .texts("tokenizer.ggml.merges")?
        .ok_or_else(|| corrupt("its tokenizer has no merges".into()))?;
    let merges: Option<Vec<_>> = merges.iter().map(|merge| merge.split_once(' ')).collect();
    let merges = merges.ok_or_else(|| corrupt("one of its merges is not two tokens".into()))?;
    let manner = Manner {
        keeps_whole: whole_words,
        ..Manner::default()
    };
    let pairs = Pairs::new(tokens.words(), merges.into_iter(), manner)
        .map_err(|error| corrupt(format!("its tokenizer: {error}")))?;
    let mut tokenizer = Tokenizer::new(Encoding::Pairs(Box::new(pairs)));
    if ["qwen2", "deepseek-r1-qwen"].contains(&pre.as_ref()) {
        let composed = part::<NormalizerWrapper>(gguf, json!({"type": "NFC"}))?;
        tokenizer
            .with_normalizer(Some(composed))
            .map_err(|error| corrupt(format!("its tokenizer: {error}")))?;
    }
    tokenizer.with_pre_tokenizer(Some(part::<PreTokenizerWrapper>(gguf, cut)?));
    tokenizer.with_decoder(Some(part::<DecoderWrapper>(gguf, bytes(true))?));
    Ok(tokenizer)
}

fn sentence_piece(gguf: &Gguf, tokens: &Tokens<'_>) -> Result<Tokenizer, LoadError> {
    let corrupt = |detail: String| LoadError::corrupt(gguf.file(), detail);
    let scores = gguf.floats("tokenizer.ggml.scores")?.unwrap_or_default();
    if scores.len() != tokens.texts.len() {
        return Err(corrupt(format!(
            "{} scores for {} tokens",
            scores.len(),
            tokens.texts.len()
        )));
    }
    let unknown = gguf
        .integer("tokenizer.ggml.unknown_token_id")?
        .unwrap_or(0);
    let unknown = tokens
        .texts
        .get(unknown as usize)
        .ok_or_else(|| corrupt(format!("no token {unknown}")))?;
    let merges = merges_by_score(tokens, &scores);
    let manner = Manner {
        unknown: Some(unknown.clone().into_owned()),
        fuses_unknown: true,
        falls_back_to_bytes: true,
        ..Manner::default()
    };
    let pairs = Pairs::new(tokens.words(), merges.into_iter(), manner)
        .map_err(|error| corrupt(format!("its tokenizer: {error}")))?;
    let spaced = gguf
        .boolean("tokenizer.ggml.add_space_prefix")?
        .unwrap_or(true);
    let mut normalizers =
        vec![json!({"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"})];
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": "\u{2581}"}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if spaced {
        normalizers.insert(0, json!({"type": "Prepend", "prepend": "\u{2581}"}));
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    let normalizer = json!({"type": "Sequence", "normalizers": normalizers});
    let mut tokenizer = Tokenizer::new(Encoding::Pairs(Box::new(pairs)));
    tokenizer
        .with_normalizer(Some(part::<NormalizerWrapper>(gguf, normalizer)?))
        .map_err(|error| corrupt(format!("its tokenizer: {error}")))?;
    let decoder = json!({"type": "Sequence", "decoders": decoders});
    tokenizer.with_decoder(Some(part::<DecoderWrapper>(gguf, decoder)?));
    Ok(tokenizer)
}

/// Every way to make a token out of two others, best score first; among equals the earlier token,
/// and within one token the pair whose parts come earlier.
fn merges_by_score<'a>(tokens: &'a Tokens, scores: &[f32]) -> Vec<(&'a str, &'a str)> {
    let normal = |id: &usize| matches!(tokens.types[*id], NORMAL | USER_DEFINED);
    let ids: HashMap<&str, usize> = (0..tokens.texts.len())
        .filter(normal)
        .map(|id| (tokens.texts[id].as_ref(), id))
        .collect();
    let mut merges = Vec::new();
    for id in (0..tokens.texts.len()).filter(normal) {
        let text = tokens.texts[id].as_ref();
        if text.len() > TOKEN_MAX_BYTES {
            continue;
        }
        for (cut, _) in text.char_indices().skip(1) {
            let (left, right) = text.split_at(cut);
            if let (Some(left), Some(right)) = (ids.get(left), ids.get(right)) {
                merges.push((id, *left, *right));
            }
        }
    }
    merges.sort_by(|a, b| scores[b.0].total_cmp(&scores[a.0]).then_with(|| a.cmp(b)));
    let text = |id: usize| tokens.texts[id].as_ref();
    merges
        .into_iter()
        .map(|(_, left, right)| (text(left), text(right)))
        .collect()
}

/// A part of a tokenizer from its JSON form.
fn part<T: DeserializeOwned>(gguf: &Gguf, form: Value) -> Result<T, LoadError> {
    serde_json::from_value(form)
        .map_err(|error| LoadError::unsupported(gguf.file(), format!("its tokenizer: {error}")))
}
