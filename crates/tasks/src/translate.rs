//! Translation.

use crate::Task;

/// Translation: a text in one language in, the same in another out.
pub struct Translate;

impl Task for Translate {
    type Request = TranslateRequest;
    type Event = Translation;
    const NAME: &'static str = "Translation";
}

/// A text to translate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TranslateRequest {
    /// The text.
    pub text: String,
    /// The language of the text, as the model's own code (`en`, `eng_Latn`).
    pub source: String,
    /// The language wanted, as the model's own code.
    pub target: String,
}

/// A translated text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Translation {
    /// The text.
    pub text: String,
    /// Tokens read.
    pub prompt_tokens: u32,
    /// Tokens written.
    pub completion_tokens: u32,
}
