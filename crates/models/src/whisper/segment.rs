//! What a window's transcript becomes: segments, in the times of the sound, without hallucinations.

use tasks::{Decoding, Failure, TranscribeEvent, Word};

use super::session::Shared;
use super::words::{Spoken, TimedWord, is_anomaly};
use crate::audio::listen::{FRAMES_PER_SECOND, Listener};
use crate::audio::mel::FRAMES;

/// What a hallucination may be off the border of its window, in seconds.
const BORDER_SECONDS: f64 = 2.0;

/// A segment of a window's transcript; times in seconds of what is heard.
pub(super) struct Segment {
    pub(super) start: f64,
    pub(super) end: f64,
    pub(super) tokens: Vec<u32>,
    /// How many of them are text.
    text_tokens: usize,
    pub(super) text: String,
    words: Vec<TimedWord>,
}

impl Segment {
    pub(super) fn of(
        shared: &Shared,
        tokens: Vec<u32>,
        (start, end): (f64, f64),
    ) -> Result<Self, Failure> {
        Ok(Self {
            start,
            end,
            text_tokens: tokens
                .iter()
                .filter(|&&token| token < shared.vocabulary.end)
                .count(),
            text: shared.text(&tokens)?,
            tokens,
            words: Vec::new(),
        })
    }

    pub(super) fn spoken(&mut self) -> Spoken<'_> {
        Spoken {
            start: &mut self.start,
            end: &mut self.end,
            tokens: self.text_tokens,
            words: &mut self.words,
        }
    }

    pub(super) fn last_word_end(&self) -> Option<f64> {
        self.words.last().map(|word| word.end)
    }

    /// The segment in the times of the sound; `None` where nothing of it lies within the sound.
    pub(super) fn event(
        self,
        listener: &Listener,
        is_last: bool,
        decoding: Decoding,
    ) -> Option<TranscribeEvent> {
        let latest = if is_last {
            listener.seconds()
        } else {
            f64::INFINITY
        };
        let left_out = |seconds: f64, is_end: bool| {
            let timeline = listener.timeline();
            timeline.map_or(0.0, |timeline| timeline.left_out(seconds, is_end))
        };
        let time = |seconds: f64, before: f64| (seconds + before).min(latest) as f32;
        let words: Vec<_> = self
            .words
            .iter()
            .map(|word| {
                // A word is of one stretch of voice, whatever its ends touch.
                let before = left_out(f64::midpoint(word.start, word.end), false);
                Word {
                    word: word.text.clone(),
                    start: time(word.start, before),
                    end: time(word.end, before),
                    probability: word.probability as f32,
                }
            })
            .collect();
        let (start, end) = match (listener.timeline(), words.as_slice()) {
            (Some(_), [first, ..]) => (first.start, words[words.len() - 1].end),
            _ => (
                time(self.start, left_out(self.start, false)),
                time(self.end, left_out(self.end, true)),
            ),
        };
        (start < end).then_some(TranscribeEvent::Segment {
            start,
            end,
            words,
            text: self.text,
            decoding: Some(decoding),
        })
    }
}

/// A window, for what is left out of it as a hallucination.
pub(super) struct Heard {
    pub(super) offset: f64,
    pub(super) frames: usize,
    pub(super) last_speech: f64,
}

impl Heard {
    pub(super) fn end(&self) -> f64 {
        self.offset + self.frames as f64 / FRAMES_PER_SECOND as f64
    }

    /// Takes out segments that look like hallucinations between silences longer than `threshold`; gives
    /// the frames to go on by, where that changes them.
    pub(super) fn leave_out(&self, segments: &mut Vec<Segment>, threshold: f64) -> Option<usize> {
        let frames = |seconds: f64| (seconds * FRAMES_PER_SECOND as f64).round().max(0.0) as usize;
        let first = segments.iter().find(|segment| !segment.words.is_empty());
        if let Some(first) = first.filter(|segment| is_anomaly(&segment.words)) {
            let gap = first.start - self.offset;
            if gap > threshold {
                segments.clear();
                return Some(frames(gap).min(self.frames));
            }
        }
        let mut last_end = self.last_speech;
        for index in 0..segments.len() {
            let segment = &segments[index];
            if segment.words.is_empty() {
                continue;
            }
            if is_anomaly(&segment.words) {
                let mut later = segments[index + 1..].iter();
                let next = later.find(|segment| !segment.words.is_empty());
                let next_start = next.map_or(self.end(), |next| next.words[0].start);
                let silence_before = segment.start - last_end > threshold
                    || segment.start < threshold
                    || segment.start - self.offset < BORDER_SECONDS;
                let silence_after = next_start - segment.end > threshold
                    || next.is_some_and(|next| is_anomaly(&next.words))
                    || self.end() - segment.end < BORDER_SECONDS;
                if silence_before && silence_after {
                    let is_last = self.frames < FRAMES && self.end() - segment.end < threshold;
                    let advance = if is_last {
                        self.frames
                    } else {
                        frames((segment.start - self.offset).max(1.0)).min(self.frames)
                    };
                    segments.truncate(index);
                    return Some(advance);
                }
            }
            last_end = segments[index].end;
        }
        None
    }
}
