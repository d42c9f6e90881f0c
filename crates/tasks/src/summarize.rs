//! Summarization.

use crate::Task;

/// Summarization: a long text in, a short one out.
pub struct Summarize;

impl Task for Summarize {
    type Request = SummarizeRequest;
    type Event = Summary;
    const NAME: &'static str = "Summarization";
}

/// A text to summarize.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SummarizeRequest {
    /// The text.
    pub text: String,
    /// The most tokens of the summary.
    pub max_tokens: u32,
    /// The window in tokens; a longer text is cut.
    pub window: u32,
}

/// The short text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The text.
    pub text: String,
    /// Tokens read.
    pub prompt_tokens: u32,
    /// Tokens written.
    pub completion_tokens: u32,
    /// Tokens of the input that were cut off.
    pub truncated: u32,
}
