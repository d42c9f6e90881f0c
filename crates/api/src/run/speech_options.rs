//! How each class of speech recognition says how to listen.

use serde_json::Value;
use tasks::{Failure, TranscribeOptions};

use super::fields::{count, flag, given, number, unserved};

/// The most beams of a search.
const BEAMS_MAX: u32 = 64;

/// The inputs of `asr-nova-3` that ask for what no model here does. Those that are missing change
/// nothing in an answer of this server: the models write punctuation and numerals as they hear
/// them, nobody keeps the audio, and there is no socket.
const NOVA_FLAGS: &[&str] = &[
    "custom_topic_mode",
    "custom_topic",
    "custom_intent_mode",
    "custom_intent",
    "detect_entities",
    "diarize",
    "dictation",
    "filler_words",
    "keyterm",
    "keywords",
    "measurements",
    "multichannel",
    "paragraphs",
    "profanity_filter",
    "redact",
    "replace",
    "search",
    "sentiment",
    "topics",
    "utterances",
    "utt_split",
];

/// The options of `asr-whisper-turbo`, whose defaults the schema filled in.
///
/// # Errors
/// [`Failure::BadInput`] for a task or a search that there is not.
pub(super) fn turbo(input: &Value) -> Result<TranscribeOptions, Failure> {
    let task = text(input, "task").unwrap_or_default();
    let translate = match task.as_str() {
        "" | "transcribe" => false,
        "translate" => true,
        task => return Err(Failure::BadInput(format!("there is no task {task}"))),
    };
    let beam_size = count(input, "beam_size")?;
    if beam_size.is_some_and(|beams| beams > BEAMS_MAX) {
        let text = format!("beam_size is above {BEAMS_MAX}");
        return Err(Failure::BadInput(text));
    }
    let single = |name, default| number(input, name).map_or(default, |number| number as f32);
    let default = TranscribeOptions::default();
    Ok(TranscribeOptions {
        translate,
        language: text(input, "language"),
        vad_filter: flag(input, "vad_filter"),
        initial_prompt: text(input, "initial_prompt"),
        prefix: text(input, "prefix"),
        beam_size,
        condition_on_previous_text: flag(input, "condition_on_previous_text"),
        no_speech_threshold: single("no_speech_threshold", default.no_speech_threshold),
        compression_ratio_threshold: single(
            "compression_ratio_threshold",
            default.compression_ratio_threshold,
        ),
        log_prob_threshold: single("log_prob_threshold", default.log_prob_threshold),
        hallucination_silence_threshold: number(input, "hallucination_silence_threshold")
            .map(|seconds| seconds as f32),
        words: true,
    })
}

/// The options of `asr-nova-3`.
///
/// # Errors
/// [`Failure::Unsupported`] for what no model here does.
pub(super) fn nova(input: &Value) -> Result<TranscribeOptions, Failure> {
    for name in NOVA_FLAGS {
        match given(input, name) {
            None | Some(Value::Bool(false)) => {}
            Some(_) => return Err(unserved(name)),
        }
    }
    if input.get("mode").is_some_and(|mode| mode != "general") {
        return Err(unserved("mode"));
    }
    // A FLAC file says of itself all there is to know; raw samples say nothing.
    if input
        .get("encoding")
        .is_some_and(|encoding| encoding != "flac")
    {
        return Err(unserved("encoding (other than flac)"));
    }
    let language = text(input, "language").filter(|language| language != "multi");
    Ok(TranscribeOptions {
        // The part before the region: `en` of `en-US`.
        language: language.map(|tag| tag.split('-').next().unwrap_or_default().to_lowercase()),
        words: true,
        ..TranscribeOptions::default()
    })
}

fn text(input: &Value, name: &str) -> Option<String> {
    let text = input.get(name).and_then(Value::as_str);
    text.filter(|text| !text.is_empty()).map(str::to_owned)
}
