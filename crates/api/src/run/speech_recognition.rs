//! Automatic speech recognition of the class `asr-whisper`.

use serde::Serialize;
use serde_json::{Map, Value};
use tasks::{Failure, Transcribe, TranscribeEvent, TranscribeOptions, TranscribeRequest};

use super::answer::{Answer, Content};
use super::input::Input;
use super::job::{Job, ended_early};
use super::{Call, neurons};
use crate::errors::Refusal;

/// A stretch of speech.
#[derive(Debug)]
struct Segment {
    start: f32,
    end: f32,
    text: String,
}

/// Answers a validated input.
pub(super) async fn answer(call: Call<'_>, input: Input) -> Result<Answer, Refusal> {
    let Call { app, card, .. } = call;
    let mut job = Job::submit::<Transcribe>(app, card, read(input)?).await?;
    let mut segments = Vec::new();
    let seconds = loop {
        match job.next().await?.ok_or_else(|| ended_early(card))? {
            TranscribeEvent::Segment {
                start, end, text, ..
            } => {
                segments.push(Segment { start, end, text });
            }
            TranscribeEvent::Done { duration, .. } => break duration,
        }
    };
    call.meter().audio(seconds);
    Ok(Answer {
        content: write(&segments)?,
        served: job.served().clone(),
        neurons: neurons::of_audio(card.neurons, seconds),
        truncated: 0,
    })
}

fn read(input: Input) -> Result<TranscribeRequest, Failure> {
    let audio = match input.binary {
        Some(binary) => binary.bytes.into(),
        None => match &input.fields["audio"] {
            Value::Array(numbers) => numbers.iter().map(byte).collect::<Result<_, _>>()?,
            Value::Object(numbers) => indexed(numbers)?,
            _ => return Err(Failure::BadInput("audio is no list of bytes".into())),
        },
    };
    Ok(TranscribeRequest {
        audio,
        options: TranscribeOptions::default(),
    })
}

/// The bytes of a typed array as `JSON.stringify` writes it: `{"0":82,"1":73,...}`.
fn indexed(numbers: &Map<String, Value>) -> Result<Vec<u8>, Failure> {
    let mut bytes = numbers
        .iter()
        .map(|(key, number)| match key.parse::<usize>() {
            Ok(index) => Ok((index, byte(number)?)),
            Err(_) => Err(Failure::BadInput("audio has a key that is no index".into())),
        })
        .collect::<Result<Vec<_>, _>>()?;
    bytes.sort_unstable_by_key(|(index, _)| *index);
    Ok(bytes.into_iter().map(|(_, byte)| byte).collect())
}

fn byte(number: &Value) -> Result<u8, Failure> {
    number
        .as_f64()
        .filter(|number| (0.0..=255.0).contains(number) && number.fract() == 0.0)
        .map(|number| number as u8)
        .ok_or_else(|| Failure::BadInput("audio has an item that is no byte".into()))
}

fn write(segments: &[Segment]) -> Result<Content, Failure> {
    #[derive(Serialize)]
    struct Output<'a> {
        text: &'a str,
        word_count: usize,
        vtt: String,
    }
    let text: String = segments
        .iter()
        .map(|segment| segment.text.as_str())
        .collect();
    let text = text.trim();
    Content::json(&Output {
        text,
        word_count: text.split_whitespace().count(),
        vtt: vtt(segments),
    })
}

/// The segments as WebVTT, one cue each.
fn vtt(segments: &[Segment]) -> String {
    let cues: Vec<_> = segments
        .iter()
        .filter(|segment| !segment.text.trim().is_empty())
        .map(|Segment { start, end, text }| {
            format!("{} --> {}\n{}", stamp(*start), stamp(*end), text.trim())
        })
        .collect();
    format!("WEBVTT\n\n{}", cues.join("\n\n"))
}

/// A time as the small Whisper models of the service stamp it: no minutes below one minute, and
/// hundredths of a second written as thousandths.
fn stamp(seconds: f32) -> String {
    let hundredths = (f64::from(seconds.max(0.0)) * 100.0).round() as u64;
    let (whole, thousandths) = (hundredths / 100, hundredths % 100 * 10);
    let (hours, minutes, seconds) = (whole / 3600, whole / 60 % 60, whole % 60);
    if hours > 0 {
        format!("{hours:02}:{minutes:02}:{seconds:02}.{thousandths:03}")
    } else if minutes > 0 {
        format!("{minutes:02}:{seconds:02}.{thousandths:03}")
    } else {
        format!("{seconds:02}.{thousandths:03}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_grow_with_the_time() {
        for (seconds, text) in [
            (0.0, "00.000"),
            (0.98, "00.980"),
            (5.234, "05.230"),
            (59.999, "01:00.000"),
            (83.5, "01:23.500"),
            (3661.25, "01:01:01.250"),
            (f32::NAN, "00.000"),
        ] {
            assert_eq!(stamp(seconds), text);
        }
    }
}
