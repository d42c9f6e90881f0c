//! Voice activity: whether a speaker has finished.

use crate::Task;

/// End of turn: audio in, whether its speaker has finished out.
pub struct Turn;

impl Task for Turn {
    type Request = TurnRequest;
    type Event = TurnEnd;
    const NAME: &'static str = "Voice Activity Detection";
}

/// How the samples of raw audio are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SampleFormat {
    /// Unsigned bytes.
    Uint8,
    /// Single precision, little-endian.
    Float32,
    /// Double precision, little-endian.
    Float64,
}

/// Audio to listen to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TurnRequest {
    /// A whole file, or raw samples of one channel at 16 kHz.
    pub audio: Vec<u8>,
    /// What raw samples look like; `None`: `audio` is a file.
    pub samples: Option<SampleFormat>,
}

/// Whether the speaker has finished.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TurnEnd {
    /// How sure the model is that the turn is complete, 0 to 1.
    pub probability: f32,
    /// Length of the audio in seconds.
    pub seconds: f32,
}
