//! Text embeddings.

use crate::Task;

/// Text embeddings: one text in, one vector out. A request of many texts is many jobs.
pub struct Embed;

impl Task for Embed {
    type Request = EmbedRequest;
    type Event = Embedding;
    const NAME: &'static str = "Text Embeddings";
}

/// How token vectors become one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pooling {
    /// The mean of all tokens' vectors.
    Mean,
    /// The vector of the first token.
    Cls,
}

impl Pooling {
    /// The word of the wire.
    pub fn word(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::Cls => "cls",
        }
    }
}

/// What happens to a text longer than the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overlong {
    /// Cut it, and say so in the answer.
    Truncate,
    /// Refuse it with [`crate::Failure::ContextExceeded`].
    Refuse,
}

/// One text to embed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbedRequest {
    /// The text.
    pub text: String,
    /// How token vectors become one, where the weights leave the choice: those with a pooling of their
    /// own (sentence-transformers' `1_Pooling`) use that.
    pub pooling: Pooling,
    /// The vector's width that the card promises; narrower weights are mapped to it by a fixed
    /// matrix with orthonormal columns, which keeps every cosine.
    pub width: usize,
    /// The card's window in tokens; the effective one is the smaller of it and the weights'.
    pub window: u32,
    /// What happens to a longer text.
    pub overlong: Overlong,
}

/// The vector of one text.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedding {
    /// `width` numbers of unit length.
    pub vector: Vec<f32>,
    /// Tokens that were read, special ones included.
    pub tokens: u32,
    /// Tokens that were cut off, if any; told in a header.
    pub truncated: u32,
}
