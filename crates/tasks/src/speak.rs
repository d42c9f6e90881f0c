//! Text to speech.

use crate::Task;

/// Text to speech: a text in, sound out, piece by piece.
pub struct Speak;

impl Task for Speak {
    type Request = SpeakRequest;
    type Event = SpeakEvent;
    const NAME: &'static str = "Text-to-Speech";
}

/// A text to speak.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpeakRequest {
    /// The text.
    pub text: String,
    /// A voice of the model; `None`: its own.
    pub speaker: Option<String>,
    /// The language of the text; `None`: the model's own.
    pub language: Option<String>,
    /// Samples a second that are wanted; `None`: the model's own.
    pub sample_rate: Option<u32>,
}

/// A piece of the answer.
#[derive(Debug, Clone, PartialEq)]
pub enum SpeakEvent {
    /// Samples of one channel, -1 to 1, that follow those before.
    Sound(Vec<f32>),
    /// The last event.
    Done {
        /// Samples a second.
        sample_rate: u32,
    },
}
