//! What a model heard: segments and words with their times, and the subtitles made of them.

use serde::Serialize;
use tasks::{Decoding, Served, Transcribe, TranscribeEvent, TranscribeRequest, Word};

use super::Call;
use super::fields::rounded;
use super::job::{Job, ended_early};
use crate::errors::Refusal;

/// Places behind the point of a time in seconds.
const TIME_PLACES: i32 = 2;

/// A stretch of speech.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) start: f32,
    pub(super) end: f32,
    /// The leading space is kept.
    pub(super) text: String,
    /// Empty where the model times no words.
    pub(super) words: Vec<Word>,
    pub(super) decoding: Option<Decoding>,
}

/// Everything that a model heard.
#[derive(Debug)]
pub(super) struct Transcript {
    pub(super) segments: Vec<Segment>,
    pub(super) duration: f32,
    pub(super) duration_after_vad: f32,
    pub(super) language: String,
    pub(super) language_probability: f32,
    pub(super) served: Served,
}

/// A word with its times, as the wire has it.
#[derive(Debug, Serialize)]
pub(super) struct Timed<'a> {
    word: &'a str,
    start: f64,
    end: f64,
}

impl<'a> Timed<'a> {
    /// A word with its leading space.
    pub(super) fn whole(word: &'a Word) -> Self {
        Self {
            word: &word.word,
            start: time(word.start),
            end: time(word.end),
        }
    }

    /// A word alone.
    pub(super) fn bare(word: &'a Word) -> Self {
        Self {
            word: word.word.trim(),
            ..Self::whole(word)
        }
    }
}

/// A time as answers write it.
pub(super) fn time(seconds: f32) -> f64 {
    rounded(f64::from(seconds), TIME_PLACES)
}

impl Transcript {
    /// Transcribes audio.
    ///
    /// # Errors
    /// What the engine or the model says.
    pub(super) async fn of(call: Call<'_>, request: TranscribeRequest) -> Result<Self, Refusal> {
        let Call { app, card, .. } = call;
        let mut job = Job::submit::<Transcribe>(app, card, request).await?;
        let mut segments = Vec::new();
        loop {
            match job.next().await?.ok_or_else(|| ended_early(card))? {
                TranscribeEvent::Segment {
                    start,
                    end,
                    text,
                    words,
                    decoding,
                } => segments.push(Segment {
                    start,
                    end,
                    text,
                    words,
                    decoding,
                }),
                TranscribeEvent::Nothing { .. } => {}
                TranscribeEvent::Done {
                    duration,
                    duration_after_vad,
                    language,
                    language_probability,
                } => {
                    return Ok(Self {
                        segments,
                        duration,
                        duration_after_vad,
                        language,
                        language_probability,
                        served: job.served().clone(),
                    });
                }
            }
        }
    }

    /// The text of all segments.
    pub(super) fn text(&self) -> String {
        let texts = self.segments.iter().map(|segment| segment.text.as_str());
        texts.collect::<String>().trim().to_owned()
    }

    pub(super) fn words(&self) -> impl Iterator<Item = &Word> {
        self.segments.iter().flat_map(|segment| &segment.words)
    }

    /// The segments as WebVTT, one cue each.
    pub(super) fn vtt(&self, stamp: fn(f32) -> String) -> String {
        let spoken = self.segments.iter();
        let cues: Vec<_> = spoken
            .filter(|segment| !segment.text.trim().is_empty())
            .map(|segment| {
                let (start, end) = (stamp(segment.start), stamp(segment.end));
                format!("{start} --> {end}\n{}", segment.text.trim())
            })
            .collect();
        format!("WEBVTT\n\n{}", cues.join("\n\n"))
    }
}

/// A time as the small Whisper models of the service stamp it: no minutes below one minute.
pub(super) fn short_stamp(seconds: f32) -> String {
    stamp(seconds, false)
}

/// A time as the large Whisper model is taken to stamp it: minutes always, hours where there are.
pub(super) fn long_stamp(seconds: f32) -> String {
    stamp(seconds, true)
}

/// Hundredths of a second are written as thousandths.
fn stamp(seconds: f32, has_minutes: bool) -> String {
    let hundredths = (f64::from(seconds.max(0.0)) * 100.0).round() as u64;
    let (whole, thousandths) = (hundredths / 100, hundredths % 100 * 10);
    let (hours, minutes, seconds) = (whole / 3600, whole / 60 % 60, whole % 60);
    if hours > 0 {
        format!("{hours:02}:{minutes:02}:{seconds:02}.{thousandths:03}")
    } else if minutes > 0 || has_minutes {
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
        for (seconds, short, long) in [
            (0.0, "00.000", "00:00.000"),
            (0.98, "00.980", "00:00.980"),
            (5.234, "05.230", "00:05.230"),
            (59.999, "01:00.000", "01:00.000"),
            (83.5, "01:23.500", "01:23.500"),
            (3661.25, "01:01:01.250", "01:01:01.250"),
            (f32::NAN, "00.000", "00:00.000"),
        ] {
            assert_eq!(short_stamp(seconds), short);
            assert_eq!(long_stamp(seconds), long);
        }
    }
}
