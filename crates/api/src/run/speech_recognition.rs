//! Automatic speech recognition: the classes `asr-*`.

use serde::Serialize;
use serde_json::Value;
use tasks::{Failure, TranscribeOptions, TranscribeRequest};

use super::answer::{Answer, Content};
use super::fields::{number, rounded};
use super::input::Input;
use super::transcript::{Segment, Timed, Transcript, long_stamp, short_stamp, time};
use super::{Call, neurons, raw, sound, speech_options};
use crate::errors::Refusal;

/// Places behind the point of a probability.
const CONFIDENCE_PLACES: i32 = 4;
/// The samples a second of raw audio whose caller does not say.
const RAW_SAMPLE_RATE: f64 = 16_000.0;

/// How a transcript is dressed.
type Write = fn(&Transcript) -> Result<Content, Failure>;

/// Answers a validated input.
pub(super) async fn answer(call: Call<'_>, mut input: Input) -> Result<Answer, Refusal> {
    let card = call.card;
    let class = card.schema_class.as_str();
    let (options, write): (_, Write) = match class {
        "asr-whisper" => (words(), whisper),
        "asr-whisper-turbo" => (speech_options::turbo(&input.fields)?, turbo),
        "asr-nova-3" => (speech_options::nova(&input.fields)?, nova),
        "asr-nemotron-speech" => (TranscribeOptions::default(), nemotron),
        _ => {
            let text = format!(
                "{} answers over a WebSocket only, which this version of hearth does not serve",
                card.name
            );
            return Err(Failure::Unsupported(text).into());
        }
    };
    let text = if class == "asr-whisper" {
        raw::Text::Binary // its schema wants a list, so that no string comes this far
    } else {
        raw::Text::Base64
    };
    let audio = raw::take_required(&mut input, "audio", text).await?;
    let audio = if class == "asr-nemotron-speech" && input.fields["encoding"] == "linear16" {
        wav(&input.fields, &audio.bytes)?
    } else {
        audio.bytes.into()
    };
    let heard = Transcript::of(call, TranscribeRequest { audio, options }).await?;
    Ok(Answer {
        content: write(&heard)?,
        cost: neurons::of_audio(card.neurons, heard.duration),
        served: heard.served,
        truncated: 0,
    })
}

fn words() -> TranscribeOptions {
    TranscribeOptions {
        words: true,
        ..TranscribeOptions::default()
    }
}

/// Raw samples of 16 bits as a file.
fn wav(input: &Value, samples: &[u8]) -> Result<Vec<u8>, Failure> {
    let rate = number(input, "sample_rate").unwrap_or(RAW_SAMPLE_RATE);
    let channels = number(input, "channels").unwrap_or(1.0);
    if !(1.0..=f64::from(sound::SAMPLE_RATE_MAX)).contains(&rate)
        || !(1.0..=8.0).contains(&channels)
    {
        let text = format!("{channels} channels of {rate} samples a second");
        return Err(Failure::BadInput(text));
    }
    Ok(sound::wav_of_pcm(rate as u32, channels as u16, samples))
}

fn whisper(heard: &Transcript) -> Result<Content, Failure> {
    #[derive(Serialize)]
    struct Output<'a> {
        text: &'a str,
        word_count: usize,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        words: Vec<Timed<'a>>,
        vtt: String,
    }
    let text = heard.text();
    Content::json(&Output {
        text: &text,
        word_count: text.split_whitespace().count(),
        words: heard.words().map(Timed::bare).collect(),
        vtt: heard.vtt(short_stamp),
    })
}

/// The names are those of faster-whisper.
fn turbo(heard: &Transcript) -> Result<Content, Failure> {
    #[derive(Serialize)]
    struct Information<'a> {
        language: &'a str,
        language_probability: f32,
        duration: f32,
        duration_after_vad: f32,
    }
    #[derive(Serialize)]
    struct Stretch<'a> {
        start: f64,
        end: f64,
        text: &'a str,
        temperature: f32,
        avg_logprob: f32,
        compression_ratio: f32,
        no_speech_prob: f32,
        words: Vec<Timed<'a>>,
    }
    fn stretch(segment: &Segment) -> Stretch<'_> {
        let decoding = segment.decoding.unwrap_or_default();
        Stretch {
            start: time(segment.start),
            end: time(segment.end),
            text: &segment.text,
            temperature: decoding.temperature,
            avg_logprob: decoding.avg_logprob,
            compression_ratio: decoding.compression_ratio,
            no_speech_prob: decoding.no_speech_prob,
            words: segment.words.iter().map(Timed::whole).collect(),
        }
    }
    #[derive(Serialize)]
    struct Output<'a> {
        transcription_info: Information<'a>,
        text: &'a str,
        word_count: usize,
        segments: Vec<Stretch<'a>>,
        vtt: String,
    }
    let text = heard.text();
    Content::json(&Output {
        transcription_info: Information {
            language: &heard.language,
            language_probability: heard.language_probability,
            duration: heard.duration,
            duration_after_vad: heard.duration_after_vad,
        },
        text: &text,
        word_count: text.split_whitespace().count(),
        segments: heard.segments.iter().map(stretch).collect(),
        vtt: heard.vtt(long_stamp),
    })
}

/// One channel with one alternative.
fn nova(heard: &Transcript) -> Result<Content, Failure> {
    #[derive(Serialize)]
    struct Sure<'a> {
        #[serde(flatten)]
        word: Timed<'a>,
        confidence: f64,
    }
    #[derive(Serialize)]
    struct Alternative<'a> {
        transcript: &'a str,
        confidence: f64,
        words: Vec<Sure<'a>>,
    }
    #[derive(Serialize)]
    struct Channel<'a> {
        alternatives: [Alternative<'a>; 1],
    }
    #[derive(Serialize)]
    struct Results<'a> {
        channels: [Channel<'a>; 1],
    }
    #[derive(Serialize)]
    struct Output<'a> {
        results: Results<'a>,
    }
    let sure = |word: &'_ tasks::Word| rounded(f64::from(word.probability), CONFIDENCE_PLACES);
    let words: Vec<_> = heard
        .words()
        .map(|word| Sure {
            word: Timed::bare(word),
            confidence: sure(word),
        })
        .collect();
    let transcript = heard.text();
    Content::json(&Output {
        results: Results {
            channels: [Channel {
                alternatives: [Alternative {
                    transcript: &transcript,
                    confidence: rounded(confidence(heard), CONFIDENCE_PLACES),
                    words,
                }],
            }],
        },
    })
}

/// How sure the model is of a whole: the mean over its words or, where it times none, what the
/// tokens of its segments come to on average.
fn confidence(heard: &Transcript) -> f64 {
    let mean = |numbers: Vec<f64>| {
        let count = numbers.len().max(1) as f64;
        numbers.iter().sum::<f64>() / count
    };
    let words: Vec<_> = heard
        .words()
        .map(|word| f64::from(word.probability))
        .collect();
    if !words.is_empty() {
        return mean(words);
    }
    let decodings = heard.segments.iter().filter_map(|segment| segment.decoding);
    mean(
        decodings
            .map(|told| f64::from(told.avg_logprob).exp().min(1.0))
            .collect(),
    )
}

fn nemotron(heard: &Transcript) -> Result<Content, Failure> {
    #[derive(Serialize)]
    struct Output<'a> {
        text: &'a str,
        duration: f32,
    }
    Content::json(&Output {
        text: &heard.text(),
        duration: heard.duration,
    })
}
