//! The shared half of a text encoder: a text or a pair of texts to tokens.

use engine::model::{BatchCompanion, Job};
use tasks::{
    Classify, ClassifyRequest, Embed, EmbedRequest, Failure, Overlong, Pooling, Rerank,
    RerankRequest,
};
use tokenizers::utils::truncation::{TruncationParams, truncate_encodings};
use tokenizers::{Encoding, PostProcessor};

use super::widening::WIDTH_MAX;
use crate::text::Tokenizer;

/// Prepares texts for an encoder.
pub struct EncoderCompanion {
    pub(crate) tokenizer: Tokenizer,
    /// Numbers of the vectors that the weights make.
    pub(crate) width: usize,
    /// Tokens that the weights read at once.
    pub(crate) window: usize,
    /// Put before each text that is embedded.
    pub(crate) prompt: String,
}

/// One text or pair, ready for the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncoderWork {
    /// Token ids, special ones included; at least one, at most the window.
    pub(crate) tokens: Vec<u32>,
    /// Where the tokens of the second type begin: those of the second text of a pair.
    pub(crate) second: usize,
    pub(crate) pooling: Pooling,
    /// The width of the answer; no less than the weights'.
    pub(crate) width: usize,
    /// Tokens that were cut off.
    pub(crate) truncated: u32,
}

impl EncoderWork {
    /// The token ids that the model reads.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    fn job(self) -> Job<Self> {
        let cost = self.tokens.len();
        Job { work: self, cost }
    }
}

impl EncoderCompanion {
    /// Prepares a text whose vector is asked for.
    ///
    /// # Errors
    /// [`Failure::Unavailable`] for a width that these weights cannot give, [`Failure::ContextExceeded`]
    /// for a text that is not to be cut, [`Failure::BadInput`] for one without tokens.
    pub fn embed(&self, request: EmbedRequest) -> Result<Job<EncoderWork>, Failure> {
        if !(self.width..=WIDTH_MAX).contains(&request.width) {
            return Err(Failure::Unavailable(format!(
                "these weights make vectors of {} numbers, which cannot become {}; choose other weights for this model",
                self.width, request.width
            )));
        }
        let text = if self.prompt.is_empty() {
            request.text
        } else {
            format!("{}{}", self.prompt, request.text)
        };
        let work = self.single(&text, self.window(request.window), request.overlong)?;
        let work = EncoderWork {
            pooling: request.pooling,
            width: request.width,
            ..work
        };
        Ok(work.job())
    }

    /// Prepares a query and a text that are judged together; a longer pair is cut.
    ///
    /// # Errors
    /// [`Failure::Unavailable`] where the window cannot hold a pair.
    pub fn rerank(&self, request: &RerankRequest) -> Result<Job<EncoderWork>, Failure> {
        let window = self.window(request.window);
        let work = self.pair(&request.query, &request.context, window)?;
        Ok(work.job())
    }

    /// Prepares a text that is classified; a longer one is cut.
    ///
    /// # Errors
    /// [`Failure::BadInput`] for a text without tokens.
    pub fn classify(&self, request: &ClassifyRequest) -> Result<Job<EncoderWork>, Failure> {
        let window = self.window(request.window);
        let work = self.single(&request.text, window, Overlong::Truncate)?;
        Ok(work.job())
    }

    fn window(&self, asked: u32) -> usize {
        self.window.min(asked as usize).max(1)
    }

    fn encode(&self, text: &str, special: bool) -> Result<Encoding, Failure> {
        let encoding = self.tokenizer.encode_fast(text, special);
        encoding.map_err(|error| not_tokens(&*error))
    }

    /// One text of one type; a longer one is cut where the special tokens of its end begin: the model
    /// was trained to see them.
    fn single(
        &self,
        text: &str,
        window: usize,
        overlong: Overlong,
    ) -> Result<EncoderWork, Failure> {
        let encoding = self.encode(text, true)?;
        let mut tokens = encoding.get_ids().to_vec();
        let whole = tokens.len();
        if whole == 0 {
            return Err(Failure::BadInput("the text has no tokens".to_owned()));
        }
        if whole > window {
            if overlong == Overlong::Refuse {
                return Err(Failure::ContextExceeded {
                    tokens: whole,
                    window,
                });
            }
            let special = encoding
                .get_special_tokens_mask()
                .iter()
                .rev()
                .take_while(|&&special| special == 1)
                .count();
            let special = special.min(window - 1);
            tokens.drain(window - special..whole - special);
        }
        Ok(EncoderWork {
            second: tokens.len(),
            truncated: (whole - tokens.len()) as u32,
            tokens,
            pooling: Pooling::Cls,
            width: self.width,
        })
    }

    /// Two texts with the special tokens of a pair; the longer one is cut first, from its end, as
    /// transformers does by default.
    fn pair(&self, first: &str, second: &str, window: usize) -> Result<EncoderWork, Failure> {
        let processor = self.tokenizer.get_post_processor();
        let added = processor.map_or(0, |processor| processor.added_tokens(true));
        let (first, second) = (self.encode(first, false)?, self.encode(second, false)?);
        let whole = first.len() + second.len() + added;
        let room = TruncationParams {
            max_length: window.saturating_sub(added),
            ..TruncationParams::default()
        };
        let pair = truncate_encodings(first, Some(second), &room)
            .and_then(|(first, second)| self.tokenizer.post_process(first, second, true));
        let pair = pair.map_err(|error| not_tokens(&*error))?;
        let tokens = pair.get_ids().to_vec();
        if tokens.is_empty() || tokens.len() > window {
            return Err(Failure::Unavailable(format!(
                "these weights cannot read a pair of texts in {window} tokens; choose other weights for this model"
            )));
        }
        let types = pair.get_type_ids();
        let second = types.iter().position(|&kind| kind != 0);
        Ok(EncoderWork {
            second: second.unwrap_or(tokens.len()),
            truncated: whole.saturating_sub(tokens.len()) as u32,
            tokens,
            pooling: Pooling::Cls,
            width: self.width,
        })
    }
}

fn not_tokens(error: &(dyn std::error::Error + Send + Sync)) -> Failure {
    Failure::BadInput(format!("the text cannot be made into tokens: {error}"))
}

impl BatchCompanion<Embed> for EncoderCompanion {
    type Work = EncoderWork;

    fn prepare(&self, request: EmbedRequest) -> Result<Job<EncoderWork>, Failure> {
        self.embed(request)
    }
}

impl BatchCompanion<Rerank> for EncoderCompanion {
    type Work = EncoderWork;

    fn prepare(&self, request: RerankRequest) -> Result<Job<EncoderWork>, Failure> {
        self.rerank(&request)
    }
}

impl BatchCompanion<Classify> for EncoderCompanion {
    type Work = EncoderWork;

    fn prepare(&self, request: ClassifyRequest) -> Result<Job<EncoderWork>, Failure> {
        self.classify(&request)
    }
}
