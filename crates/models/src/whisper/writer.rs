//! From tokens to timed segments.

use std::sync::Arc;

use engine::model::Writer;
use tasks::{Finish, Transcribe, TranscribeEvent, Usage};

use super::vocabulary::Vocabulary;

/// The language of a checkpoint that was trained on English alone.
const ENGLISH: &str = "en";

/// Writes one transcript.
pub(super) struct TranscriptWriter {
    vocabulary: Arc<Vocabulary>,
    /// Length of the audio in seconds; no time is later.
    duration: f32,
    language: String,
    /// The latest timestamp, in seconds: where the open segment starts.
    start: f32,
    /// Tokens of the open segment.
    text: Vec<u32>,
}

impl TranscriptWriter {
    pub(super) fn new(vocabulary: Arc<Vocabulary>, duration: f32) -> Self {
        Self {
            vocabulary,
            duration,
            language: ENGLISH.into(),
            start: 0.0,
            text: Vec::new(),
        }
    }

    /// Ends the open segment; one without words is no segment.
    fn close(&mut self, end: f32, out: &mut Vec<TranscribeEvent>) {
        let tokens = std::mem::take(&mut self.text);
        let text = self.vocabulary.text(&tokens).unwrap_or_else(|error| {
            tracing::error!(%error, "a segment of text tokens could not be decoded");
            String::new()
        });
        if !text.trim().is_empty() {
            out.push(TranscribeEvent::Segment {
                start: self.start,
                end,
                text,
                words: Vec::new(),
                decoding: None,
            });
        }
    }
}

impl Writer<Transcribe> for TranscriptWriter {
    fn token(&mut self, token: u32, out: &mut Vec<TranscribeEvent>) -> Option<Finish> {
        if token == self.vocabulary.end {
            return Some(Finish::Stop);
        }
        if let Some(seconds) = self.vocabulary.seconds(token) {
            let seconds = seconds.min(self.duration);
            self.close(seconds, out);
            self.start = seconds;
        } else if token < self.vocabulary.end {
            self.text.push(token);
        } else if let Some(code) = self.vocabulary.language(token) {
            code.clone_into(&mut self.language);
        }
        None
    }

    fn finish(&mut self, _: Finish, _: Usage, out: &mut Vec<TranscribeEvent>) {
        // Words after the last timestamp last to the end of the audio.
        self.close(self.duration, out);
        out.push(TranscribeEvent::Done {
            duration: self.duration,
            duration_after_vad: self.duration,
            language: std::mem::take(&mut self.language),
            language_probability: 1.0,
        });
    }
}
