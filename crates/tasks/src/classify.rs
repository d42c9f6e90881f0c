//! Text classification.

use crate::Task;

/// Text classification: a text in, a score for each label out.
pub struct Classify;

impl Task for Classify {
    type Request = ClassifyRequest;
    type Event = Classes;
    const NAME: &'static str = "Text Classification";
}

/// A text to classify.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassifyRequest {
    /// The text.
    pub text: String,
    /// The window in tokens; a longer text is cut.
    pub window: u32,
}

/// A label and its probability.
#[derive(Debug, Clone, PartialEq)]
pub struct Scored {
    /// The label.
    pub label: String,
    /// Its probability, 0 to 1.
    pub score: f32,
}

/// The scores of a text.
#[derive(Debug, Clone, PartialEq)]
pub struct Classes {
    /// Every label, in the order of the checkpoint; the scores sum to 1.
    pub scores: Vec<Scored>,
    /// Tokens that were read.
    pub tokens: u32,
    /// Tokens that were cut off.
    pub truncated: u32,
}
