//! Speech recognition: words that name the stub, evenly over the length of the sound; of silence, none.

use engine::Answer;
use engine::model::DirectModel;
use tasks::{Decoding, Failure, Transcribe, TranscribeEvent, TranscribeRequest, Word};

use super::{Stub, pieces, sound};

/// Where the request names no language.
const LANGUAGE: &str = "en";
/// How sure the stub is of a word, and of a language that it was not told.
const SURE: f32 = 0.99;

impl DirectModel<Transcribe> for Stub {
    fn answer(&self, request: TranscribeRequest) -> Result<Answer<TranscribeEvent>, Failure> {
        let options = request.options;
        let heard = sound::listen(request.audio)?;
        let seconds = heard.seconds;
        let segment = (!heard.is_silent).then(|| {
            let prefix = options.prefix.as_deref().unwrap_or_default();
            let text =
                format!("{prefix} This is a stub transcript of {seconds:.1} seconds of sound.");
            let words: Vec<&str> = text.split_whitespace().collect();
            let step = seconds / words.len() as f32;
            let word = |(index, word): (usize, &&str)| Word {
                word: format!(" {word}"),
                start: step * index as f32,
                end: (step * (index + 1) as f32).min(seconds),
                probability: SURE,
            };
            TranscribeEvent::Segment {
                start: 0.0,
                end: seconds,
                text: format!(" {}", words.join(" ")),
                words: if options.words {
                    words.iter().enumerate().map(word).collect()
                } else {
                    Vec::new()
                },
                decoding: Some(Decoding {
                    temperature: 0.0,
                    avg_logprob: -0.1,
                    compression_ratio: 1.1,
                    no_speech_prob: 0.01,
                }),
            }
        });
        let silent = heard.is_silent && options.vad_filter;
        let done = TranscribeEvent::Done {
            duration: seconds,
            duration_after_vad: if silent { 0.0 } else { seconds },
            language_probability: if options.language.is_some() {
                1.0
            } else {
                SURE
            },
            language: options.language.unwrap_or_else(|| LANGUAGE.into()),
        };
        Ok(pieces(segment.into_iter().chain([done])))
    }
}
