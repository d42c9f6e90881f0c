//! The tokenizers library's tokenizer, with a byte-pair encoding of our own: the library's has each word twice, a string
//! each, in two maps, which is four times the memory.

mod merges;
mod pairs;
mod recent;
mod words;

use std::borrow::Cow;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer};
use tokenizers::{
    DecoderWrapper, Error, Model, ModelWrapper, NormalizerWrapper, PostProcessorWrapper,
    PreTokenizerWrapper, Token, TokenizerImpl,
};

pub(crate) use pairs::{Manner, Pairs};

use crate::load::LoadError;

/// A tokenizer.
pub(crate) type Tokenizer = TokenizerImpl<
    Encoding,
    NormalizerWrapper,
    PreTokenizerWrapper,
    PostProcessorWrapper,
    DecoderWrapper,
>;

/// How pieces of text become tokens.
#[derive(Debug, Clone)]
pub(crate) enum Encoding {
    /// Byte-pair encoding, but for what only the library has.
    Pairs(Box<Pairs>),
    /// The library's: word pieces, unigrams, and the other byte-pair encodings.
    Library(Box<ModelWrapper>),
}

impl Encoding {
    /// The word of an id that is no added token's.
    pub(super) fn word(&self, id: u32) -> Option<Cow<'_, str>> {
        match self {
            Self::Pairs(pairs) => pairs.word(id).map(Cow::Borrowed),
            Self::Library(model) => model.id_to_token(id).map(Cow::Owned),
        }
    }

    /// The largest id; `None` without tokens.
    fn most(&self) -> Option<u32> {
        match self {
            Self::Pairs(pairs) => pairs.most(),
            Self::Library(model) => model.get_vocab().into_values().max(),
        }
    }
}

impl From<ModelWrapper> for Encoding {
    fn from(model: ModelWrapper) -> Self {
        let pairs = match &model {
            ModelWrapper::BPE(model) => Pairs::of(model),
            _ => None,
        };
        pairs.map_or_else(
            || Self::Library(Box::new(model)),
            |pairs| Self::Pairs(Box::new(pairs)),
        )
    }
}

impl<'de> Deserialize<'de> for Encoding {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        ModelWrapper::deserialize(deserializer).map(Self::from)
    }
}

impl Model for Encoding {
    type Trainer = <ModelWrapper as Model>::Trainer;

    fn tokenize(&self, text: &str) -> Result<Vec<Token>, Error> {
        match self {
            Self::Pairs(pairs) => pairs.tokens(text),
            Self::Library(model) => model.tokenize(text),
        }
    }

    fn token_to_id(&self, word: &str) -> Option<u32> {
        match self {
            Self::Pairs(pairs) => pairs.id(word),
            Self::Library(model) => model.token_to_id(word),
        }
    }

    fn id_to_token(&self, id: u32) -> Option<String> {
        self.word(id).map(Cow::into_owned)
    }

    fn get_vocab(&self) -> HashMap<String, u32> {
        match self {
            Self::Pairs(pairs) => pairs.vocabulary(),
            Self::Library(model) => model.get_vocab(),
        }
    }

    fn get_vocab_size(&self) -> usize {
        match self {
            Self::Pairs(pairs) => pairs.distinct(),
            Self::Library(model) => model.get_vocab_size(),
        }
    }

    /// Checkpoints are read here and never written.
    fn save(&self, folder: &Path, prefix: Option<&str>) -> Result<Vec<PathBuf>, Error> {
        match self {
            Self::Pairs(_) => Err("byte-pair encodings are not written".into()),
            Self::Library(model) => model.save(folder, prefix),
        }
    }

    fn get_trainer(&self) -> Self::Trainer {
        match self {
            Self::Pairs(_) => tokenizers::models::bpe::BpeTrainer::default().into(),
            Self::Library(model) => model.get_trainer(),
        }
    }
}

/// A tokenizer in the words of a `tokenizer.json`, without padding and truncation; `path` is to blame.
pub(crate) fn parse_tokenizer(path: &Path, bytes: &[u8]) -> Result<Tokenizer, LoadError> {
    // The parser belongs to a library that was written for trusted files; a panic in it must not
    // take the thread that loads models along.
    let parsed = catch_unwind(AssertUnwindSafe(|| Tokenizer::from_bytes(bytes)))
        .map_err(|_| LoadError::corrupt(path, "the tokenizers library gave up on it"))?;
    let mut tokenizer = parsed.map_err(|error| LoadError::corrupt(path, error.to_string()))?;
    tokenizer.with_padding(None);
    tokenizer
        .with_truncation(None)
        .map_err(|error| LoadError::corrupt(path, error.to_string()))?;
    Ok(tokenizer)
}

/// The largest token id that a tokenizer makes; `None` without tokens.
pub(crate) fn most_token(tokenizer: &Tokenizer) -> Option<u32> {
    let added = tokenizer.get_added_vocabulary().get_vocab();
    added
        .values()
        .copied()
        .chain(tokenizer.get_model().most())
        .max()
}
