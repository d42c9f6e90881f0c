//! Text to speech: base64 in JSON of the class `tts-melotts`, sound as it is made of `tts-aura-*`.

use std::io;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream::unfold;
use serde::Serialize;
use serde_json::Value;
use tasks::{Failure, Speak, SpeakEvent, SpeakRequest};

use super::answer::{Answer, Content};
use super::fields::{given, number, text, unserved};
use super::job::{Job, ended_early};
use super::raw::to_base64;
use super::sound::{Encoder, Encoding, Format};
use super::{Call, neurons};
use crate::blocking::blocking;
use crate::errors::{Refusal, RequestId};

/// Characters of one request: some minutes of speech.
const TEXT_MAX_CHARACTERS: usize = 5_000;

/// Samples that are kept until all are there: half an hour at 48 kHz.
const SPEECH_MAX_SAMPLES: usize = 48_000 * 1800;

/// The languages of `tts-melotts`.
const MELO_LANGUAGES: &[&str] = &["en", "fr", "es", "zh", "ja", "ko"];
/// Bits a second of its files.
const MELO_BIT_RATE: u32 = 64_000;

/// Samples a second that can be asked for.
const SAMPLE_RATES: &[u32] = &[8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000];
/// Bits a second of MP3 that can be asked for; the last one is the default.
const BIT_RATES: &[u32] = &[32_000, 48_000];

/// Answers a validated input.
pub(super) async fn answer(call: Call<'_>, input: &Value) -> Result<Answer, Refusal> {
    match call.card.schema_class.as_str() {
        "tts-melotts" => melotts(call, input).await,
        class => aura(call, input, class).await,
    }
}

/// A text of bounded length.
fn spoken(input: &Value, name: &str) -> Result<(String, usize), Refusal> {
    let text = text(&input[name], name)?;
    let characters = text.chars().count();
    if characters > TEXT_MAX_CHARACTERS {
        return Err(Refusal::Upstream(format!(
            "{name} is {characters} characters long: at most {TEXT_MAX_CHARACTERS} are taken"
        )));
    }
    Ok((text, characters))
}

async fn melotts(call: Call<'_>, input: &Value) -> Result<Answer, Refusal> {
    #[derive(Serialize)]
    struct Output {
        audio: String,
    }
    let Call { app, card, .. } = call;
    let (text, _) = spoken(input, "prompt")?;
    let language = input["lang"].as_str().unwrap_or_default().to_lowercase();
    if !MELO_LANGUAGES.contains(&language.as_str()) {
        return Err(Failure::BadInput(format!("there is no language {language}")).into());
    }
    let request = SpeakRequest {
        text,
        speaker: None,
        language: Some(language),
        sample_rate: None,
    };
    let mut job = Job::submit::<Speak>(app, card, request).await?;
    let mut samples = Vec::new();
    let sample_rate = loop {
        match job.next().await?.ok_or_else(|| ended_early(card))? {
            SpeakEvent::Sound(more) if samples.len() + more.len() > SPEECH_MAX_SAMPLES => {
                let text = format!("{}: more than {SPEECH_MAX_SAMPLES} samples", card.name);
                return Err(Failure::Internal(text).into());
            }
            SpeakEvent::Sound(more) => samples.extend(more),
            SpeakEvent::Done { sample_rate } => break sample_rate,
        }
    };
    let seconds = samples.len() as f32 / sample_rate.max(1) as f32;
    let encode = move || {
        let format = Format {
            encoding: Encoding::Mp3(MELO_BIT_RATE),
            is_wav: false,
            sample_rate,
        };
        let mut encoder = format.encoder()?;
        let mut file = encoder.push(&samples)?;
        file.extend(encoder.finish()?);
        Content::json(&Output {
            audio: to_base64(&file),
        })
    };
    Ok(Answer {
        content: blocking("encoding sound", encode).await?,
        served: job.served().clone(),
        cost: neurons::of_audio(card.neurons, seconds),
        truncated: 0,
    })
}

async fn aura(call: Call<'_>, input: &Value, class: &str) -> Result<Answer, Refusal> {
    let Call { app, card, id, .. } = call;
    let (text, characters) = spoken(input, "text")?;
    let format = format(input)?;
    let request = SpeakRequest {
        text,
        speaker: input["speaker"].as_str().map(str::to_owned),
        language: Some(if class.ends_with("-es") { "es" } else { "en" }.into()),
        sample_rate: Some(format.sample_rate),
    };
    let mut job = Job::submit::<Speak>(app, card, request).await?;
    let first = job.next().await?.ok_or_else(|| ended_early(card))?;
    let served = job.served().clone();
    let speech = Speech {
        job,
        first: Some(first),
        encoder: Some(format.encoder()?),
        sample_rate: format.sample_rate,
        id,
    };
    Ok(Answer {
        content: Content::File {
            content_type: format.content_type(),
            body: speech.body(),
        },
        served,
        cost: neurons::of_characters(card.neurons, characters).into(),
        truncated: 0,
    })
}

/// The format that is asked for. What depends on the encoding, and the defaults, are Deepgram's own.
#[allow(clippy::float_cmp)] // whole numbers, as they came
fn format(input: &Value) -> Result<Format, Failure> {
    let name = input["encoding"].as_str().unwrap_or("mp3");
    let bad = |what: String| Failure::BadInput(format!("{what} with the encoding {name}"));
    let bit_rate = number(input, "bit_rate");
    let (encoding, default_rate) = match name {
        "mp3" => {
            let asked = bit_rate.unwrap_or(f64::from(BIT_RATES[BIT_RATES.len() - 1]));
            let known = BIT_RATES.iter().find(|rate| f64::from(**rate) == asked);
            let known = known.ok_or_else(|| bad(format!("bit_rate is {asked}")))?;
            (Encoding::Mp3(*known), 22_050)
        }
        "linear16" => (Encoding::Linear16, 24_000),
        "mulaw" => (Encoding::Mulaw, 8_000),
        "alaw" => (Encoding::Alaw, 8_000),
        "flac" => (Encoding::Flac, 24_000),
        other => return Err(unserved(&format!("encoding {other}"))),
    };
    if bit_rate.is_some() && name != "mp3" {
        return Err(bad("bit_rate cannot be chosen".into()));
    }
    let asked = number(input, "sample_rate").unwrap_or(f64::from(default_rate));
    let sample_rate = SAMPLE_RATES.iter().find(|rate| f64::from(**rate) == asked);
    let sample_rate = *sample_rate.ok_or_else(|| bad(format!("sample_rate is {asked}")))?;
    let is_raw = matches!(
        encoding,
        Encoding::Linear16 | Encoding::Mulaw | Encoding::Alaw
    );
    let is_wav = match given(input, "container").and_then(Value::as_str) {
        None => is_raw,
        Some("none") => false,
        Some("wav") if is_raw => true,
        Some(other) => return Err(bad(format!("container is {other}"))),
    };
    Ok(Format {
        encoding,
        is_wav,
        sample_rate,
    })
}

/// Speech that is still being made.
struct Speech {
    job: Job<SpeakEvent>,
    /// The event that was awaited before the answer began.
    first: Option<SpeakEvent>,
    /// `None` when the last byte has left.
    encoder: Option<Encoder>,
    /// What the encoder was told.
    sample_rate: u32,
    id: RequestId,
}

impl Speech {
    /// The sound as it is made. Dropping it cancels the job; a failure in the middle breaks the
    /// connection off.
    fn body(self) -> Body {
        Body::from_stream(unfold(self, async |mut speech| {
            let piece = speech.next().await.transpose()?;
            let piece = piece.map(Bytes::from).map_err(|failure| {
                speech.encoder = None;
                tracing::error!("speech was broken off: {failure} ({})", speech.id);
                io::Error::other(failure)
            });
            Some((piece, speech))
        }))
    }

    async fn next(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        while let Some(mut encoder) = self.encoder.take() {
            let event = match self.first.take() {
                Some(event) => Some(event),
                None => self.job.next().await?,
            };
            let bytes = match event {
                Some(SpeakEvent::Sound(samples)) => {
                    let (bytes, encoder) = blocking("encoding sound", move || {
                        let bytes = encoder.push(&samples)?;
                        Ok((bytes, encoder))
                    })
                    .await?;
                    self.encoder = Some(encoder);
                    bytes
                }
                Some(SpeakEvent::Done { sample_rate }) if sample_rate == self.sample_rate => {
                    blocking("encoding sound", move || encoder.finish()).await?
                }
                Some(SpeakEvent::Done { sample_rate }) => {
                    let asked = self.sample_rate;
                    return Err(Failure::Internal(format!(
                        "the model spoke at {sample_rate} samples a second, not at {asked}"
                    )));
                }
                None => {
                    return Err(Failure::Internal(
                        "the speech ended without its last event".into(),
                    ));
                }
            };
            if !bytes.is_empty() {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }
}
