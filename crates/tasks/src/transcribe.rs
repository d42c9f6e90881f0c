//! Automatic speech recognition.

use crate::Task;

/// Speech recognition: audio in, timed segments of text out.
pub struct Transcribe;

impl Task for Transcribe {
    type Request = TranscribeRequest;
    type Event = TranscribeEvent;
    const NAME: &'static str = "Automatic Speech Recognition";
}

/// Audio to transcribe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TranscribeRequest {
    /// A whole file as it came (WAV, MP3, FLAC, OGG, M4A); decoded off the device thread.
    pub audio: Vec<u8>,
}

/// A piece of the answer.
#[derive(Debug, Clone, PartialEq)]
pub enum TranscribeEvent {
    /// A stretch of speech.
    Segment {
        /// Seconds from the start of the audio.
        start: f32,
        /// Seconds from the start of the audio.
        end: f32,
        /// Its text, leading space kept.
        text: String,
    },
    /// The last event.
    Done {
        /// Length of the audio in seconds.
        duration: f32,
        /// The language as an ISO 639-1 code, as detected or as the checkpoint knows only one.
        language: String,
    },
}
