//! Automatic speech recognition.

use crate::Task;

/// Speech recognition: audio in, timed segments of text out.
pub struct Transcribe;

impl Task for Transcribe {
    type Request = TranscribeRequest;
    type Event = TranscribeEvent;
    const NAME: &'static str = "Automatic Speech Recognition";
}

/// How to listen. The names and defaults are those of the Workers AI contract's whisper classes. A
/// model that cannot do what is asked refuses it with [`crate::Failure::Unsupported`].
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::struct_excessive_bools)] // each is an option of the wire
pub struct TranscribeOptions {
    /// Translate into English.
    pub translate: bool,
    /// The spoken language, an ISO 639-1 code; `None`: it is detected.
    pub language: Option<String>,
    /// Leave stretches without speech out.
    pub vad_filter: bool,
    /// Text that the first window is read as following.
    pub initial_prompt: Option<String>,
    /// Text that the transcript begins with.
    pub prefix: Option<String>,
    /// Beams of the search; `None`: the model's own choice.
    pub beam_size: Option<u32>,
    /// Each window reads the text of the one before.
    pub condition_on_previous_text: bool,
    /// A window is silence above this probability of no speech.
    pub no_speech_threshold: f32,
    /// A window whose text compresses better than this is decoded again, hotter.
    pub compression_ratio_threshold: f32,
    /// A window whose tokens are less likely than this on average (natural logarithm) is decoded again.
    pub log_prob_threshold: f32,
    /// Silence in seconds around a segment above which it may be a hallucination.
    pub hallucination_silence_threshold: Option<f32>,
    /// Whether times of words are wanted.
    pub words: bool,
}

impl Default for TranscribeOptions {
    fn default() -> Self {
        Self {
            translate: false,
            language: None,
            vad_filter: false,
            initial_prompt: None,
            prefix: None,
            beam_size: None,
            condition_on_previous_text: true,
            no_speech_threshold: 0.6,
            compression_ratio_threshold: 2.4,
            log_prob_threshold: -1.0,
            hallucination_silence_threshold: None,
            words: false,
        }
    }
}

/// Audio to transcribe.
#[derive(Debug, Clone, PartialEq)]
pub struct TranscribeRequest {
    /// A whole file as it came (WAV, MP3, FLAC, OGG, M4A); decoded off the device thread.
    pub audio: Vec<u8>,
    /// How to listen.
    pub options: TranscribeOptions,
}

/// A word and when it was said, in seconds from the start of the audio.
#[derive(Debug, Clone, PartialEq)]
pub struct Word {
    /// The word, leading space kept.
    pub word: String,
    /// Its start.
    pub start: f32,
    /// Its end.
    pub end: f32,
    /// How sure the model is, 0 to 1.
    pub probability: f32,
}

/// How a segment was decoded.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Decoding {
    /// The temperature that gave the text.
    pub temperature: f32,
    /// The mean of its tokens' log-probabilities.
    pub avg_logprob: f32,
    /// Its text's length over that of the text compressed.
    pub compression_ratio: f32,
    /// The probability that nobody speaks.
    pub no_speech_prob: f32,
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
        /// Its words, where they were wanted and the model can time them.
        words: Vec<Word>,
        /// How it was decoded, where the model tells.
        decoding: Option<Decoding>,
    },
    /// A stretch was listened to in which nobody speaks: the job goes on.
    Nothing {
        /// Its end, in seconds from the start of what is heard.
        end: f32,
    },
    /// The last event.
    Done {
        /// Length of the audio in seconds.
        duration: f32,
        /// Length in seconds without the stretches that were left out.
        duration_after_vad: f32,
        /// The language as an ISO 639-1 code, as detected or as the checkpoint knows only one.
        language: String,
        /// How sure the model is of the language, 0 to 1.
        language_probability: f32,
    },
}
