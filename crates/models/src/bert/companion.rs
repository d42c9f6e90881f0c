//! The shared half of an embedding model: text to tokens.

use engine::model::{BatchCompanion, Job};
use tasks::{Embed, EmbedRequest, Failure, Overlong, Pooling};
use tokenizers::Tokenizer;

use super::config::BertConfig;
use super::widening::WIDTH_MAX;
use crate::load::{Files, LoadError};
use crate::text::read_tokenizer;

/// Prepares texts for a BERT.
pub struct BertCompanion {
    tokenizer: Tokenizer,
    hidden: usize,
    window: usize,
}

/// One text, ready for the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BertWork {
    /// Token ids, special ones included; at least one, at most the window.
    pub(crate) tokens: Vec<u32>,
    pub(crate) pooling: Pooling,
    /// The width of the answer; no less than the weights'.
    pub(crate) width: usize,
    /// Tokens that were cut off.
    pub(crate) truncated: u32,
}

impl BertWork {
    /// The token ids that the model reads.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }
}

impl BertCompanion {
    pub(crate) fn load(files: &Files, config: &BertConfig) -> Result<Self, LoadError> {
        let tokenizer = read_tokenizer(files)?;
        let most = tokenizer.get_vocab(true).into_values().max().unwrap_or(0);
        if most as usize >= config.vocab_size {
            let detail = format!(
                "it has a token {most}, but the model's vocabulary is {}",
                config.vocab_size
            );
            return Err(LoadError::corrupt(&files.path("tokenizer.json"), detail));
        }
        Ok(Self {
            tokenizer,
            hidden: config.hidden_size,
            window: config.max_position_embeddings,
        })
    }
}

impl BatchCompanion<Embed> for BertCompanion {
    type Work = BertWork;

    fn prepare(&self, request: EmbedRequest) -> Result<Job<BertWork>, Failure> {
        if !(self.hidden..=WIDTH_MAX).contains(&request.width) {
            return Err(Failure::Unavailable(format!(
                "these weights make vectors of {} numbers, which cannot become {}; choose other weights for this model",
                self.hidden, request.width
            )));
        }
        let window = self.window.min(request.window as usize).max(1);
        let encoding = self
            .tokenizer
            .encode_fast(request.text, true)
            .map_err(|error| {
                Failure::BadInput(format!("the text cannot be made into tokens: {error}"))
            })?;
        let mut tokens = encoding.get_ids().to_vec();
        let whole = tokens.len();
        if whole == 0 {
            return Err(Failure::BadInput("the text has no tokens".to_owned()));
        }
        if whole > window {
            if request.overlong == Overlong::Refuse {
                return Err(Failure::ContextExceeded {
                    tokens: whole,
                    window,
                });
            }
            // The special tokens at the end stay: the model was trained to see them.
            let special = encoding
                .get_special_tokens_mask()
                .iter()
                .rev()
                .take_while(|&&special| special == 1)
                .count();
            let special = special.min(window - 1);
            tokens.drain(window - special..whole - special);
        }
        let truncated = (whole - tokens.len()) as u32;
        let cost = tokens.len();
        Ok(Job {
            work: BertWork {
                tokens,
                pooling: request.pooling,
                width: request.width,
                truncated,
            },
            cost,
        })
    }
}
