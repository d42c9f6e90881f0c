//! Leaves out where nobody speaks, by Silero's detector and the bounds of faster-whisper's filter.
//!
//! Facts of faster-whisper's `vad.py` (`get_speech_timestamps`, `SpeechTimestampsMap`) at its defaults: a
//! stretch begins with a window of probability 0.5, and ends where it falls below 0.35 and does not come back
//! to 0.5 before a window below 0.35 two seconds later; 0.4 s on both sides are kept.

use std::sync::Arc;

use super::decode::SAMPLE_RATE;
use super::silero::{Hearing, Silero, VOICE_WINDOW, WINDOWS_TOGETHER};

/// The probability from which on a window is voice.
const VOICE_MIN: f32 = 0.5;
/// The probability below which it is silence; what lies between goes on as what was before.
const SILENCE_BELOW: f32 = 0.35;
/// Silence that ends a stretch, in samples: 2 s.
const SILENCE: u64 = 2 * SAMPLE_RATE as u64;
/// What is kept on both sides of a stretch, in samples: 0.4 s.
const PAD: usize = SAMPLE_RATE as usize * 2 / 5;
/// How long it may be undecided whether silence ends a stretch, in samples; longer, it does. faster-whisper,
/// which has the whole sound in memory, waits for ever.
const UNDECIDED_MAX: u64 = 30 * SAMPLE_RATE as u64;

/// Samples that are judged together.
const TOGETHER: usize = WINDOWS_TOGETHER * VOICE_WINDOW;

/// Keeps the stretches of voice of a sound as it comes.
pub(crate) struct Voice {
    silero: Arc<Silero>,
    hearing: Hearing,
    /// Not yet judged.
    pending: Vec<f32>,
    cut: Cut,
}

impl Voice {
    pub(crate) fn new(silero: Arc<Silero>) -> Self {
        Self {
            silero,
            hearing: Hearing::default(),
            pending: Vec::new(),
            cut: Cut::default(),
        }
    }

    /// Takes samples and appends those that are kept to `out`.
    pub(crate) fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) {
        self.pending.extend_from_slice(samples);
        let whole = self.pending.len() / TOGETHER * TOGETHER;
        if whole > 0 {
            let rest = self.pending.split_off(whole);
            let samples = std::mem::replace(&mut self.pending, rest);
            self.judge(&samples, samples.len(), out);
        }
    }

    /// Takes the end.
    pub(crate) fn finish(&mut self, out: &mut Vec<f32>) {
        let mut rest = std::mem::take(&mut self.pending);
        let heard = rest.len();
        // A window of silence behind the end where there is no part of one.
        rest.resize((heard / VOICE_WINDOW + 1) * VOICE_WINDOW, 0.0);
        self.judge(&rest, heard, out);
        self.cut.finish(out);
    }

    /// Judges whole windows, of which so many samples are of the sound.
    fn judge(&mut self, samples: &[f32], heard: usize, out: &mut Vec<f32>) {
        let probabilities = self.silero.probabilities(&mut self.hearing, samples);
        let mut left = &samples[..heard];
        for probability in probabilities {
            let (window, rest) = left.split_at(left.len().min(VOICE_WINDOW));
            left = rest;
            self.cut.window(probability, window, out);
        }
    }

    /// Length in seconds of what was kept.
    pub(crate) fn kept_seconds(&self) -> f64 {
        self.cut.kept as f64 / f64::from(SAMPLE_RATE)
    }

    pub(crate) fn timeline(&self) -> &Timeline {
        &self.cut.timeline
    }
}

/// Where a sound is cut, by the probabilities of its windows.
#[derive(Default)]
struct Cut {
    /// What may be kept: before the first stretch or after one the last [`PAD`] samples, within one all since
    /// silence began.
    held: Vec<f32>,
    /// A stretch of voice goes on.
    is_open: bool,
    /// Where silence began within the stretch.
    silence: Option<u64>,
    /// Samples that came.
    position: u64,
    kept: u64,
    timeline: Timeline,
}

impl Cut {
    /// Takes the samples of a window; appends what is kept to `out`.
    fn window(&mut self, probability: f32, samples: &[f32], out: &mut Vec<f32>) {
        if probability >= VOICE_MIN {
            if !self.is_open {
                self.is_open = true;
                let start = self.position - self.held.len() as u64;
                self.timeline.begin(self.kept, start);
            }
            self.silence = None;
            self.keep(self.held.len(), out);
        } else if self.is_open {
            let is_silence = probability < SILENCE_BELOW;
            if is_silence {
                self.silence.get_or_insert(self.position);
            }
            let silent = self.silence.map_or(0, |begin| self.position - begin);
            if (is_silence && silent >= SILENCE) || silent >= UNDECIDED_MAX {
                self.keep(PAD, out);
                self.is_open = false;
                self.silence = None;
            }
        }
        self.held.extend_from_slice(samples);
        self.position += samples.len() as u64;
        if self.is_open && self.silence.is_none() {
            self.keep(self.held.len(), out);
        } else if !self.is_open {
            let extra = self.held.len().saturating_sub(PAD);
            self.held.drain(..extra);
        }
    }

    /// Takes the end, which belongs to a stretch that goes on.
    fn finish(&mut self, out: &mut Vec<f32>) {
        if self.is_open {
            self.keep(self.held.len(), out);
        }
        self.held.clear();
        self.is_open = false;
    }

    fn keep(&mut self, samples: usize, out: &mut Vec<f32>) {
        let samples = samples.min(self.held.len());
        out.extend(self.held.drain(..samples));
        self.kept += samples as u64;
    }
}

/// Where what was kept lies in the sound.
#[derive(Debug, Default)]
pub(crate) struct Timeline {
    /// Of each stretch, its first sample among the kept ones and in the sound.
    stretches: Vec<(u64, u64)>,
}

impl Timeline {
    fn begin(&mut self, kept: u64, at: u64) {
        self.stretches.push((kept, at));
    }

    /// What has to be added to a time in what was kept for that in the sound, in seconds. The end of something
    /// that ends where a stretch does belongs to that stretch.
    pub(crate) fn left_out(&self, seconds: f64, is_end: bool) -> f64 {
        let sample = (seconds * f64::from(SAMPLE_RATE)).round() as u64;
        let before = |kept: u64| {
            if is_end {
                kept < sample
            } else {
                kept <= sample
            }
        };
        let index = self.stretches.partition_point(|&(kept, _)| before(kept));
        let (kept, at) = match index.checked_sub(1) {
            Some(index) => self.stretches[index],
            None => self.stretches.first().copied().unwrap_or_default(),
        };
        (at as f64 - kept as f64) / f64::from(SAMPLE_RATE)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// What is kept of a sound of these probabilities, as `(start, end)` in samples of the sound.
    fn cut(probabilities: &[f32], length: usize) -> (Vec<(u64, u64)>, Cut) {
        let samples: Vec<f32> = (0..length).map(|sample| sample as f32).collect();
        let (mut cut, mut out, mut left) = (Cut::default(), Vec::new(), samples.as_slice());
        for &probability in probabilities {
            let (window, rest) = left.split_at(left.len().min(VOICE_WINDOW));
            left = rest;
            cut.window(probability, window, &mut out);
            assert!(cut.held.len() as u64 <= UNDECIDED_MAX + SILENCE);
        }
        cut.finish(&mut out);
        assert_eq!(out.len() as u64, cut.kept);
        let mut stretches: Vec<(u64, u64)> = Vec::new();
        for sample in out.into_iter().map(|sample| sample as u64) {
            match stretches.last_mut() {
                Some((_, end)) if *end == sample => *end += 1,
                _ => stretches.push((sample, sample + 1)),
            }
        }
        (stretches, cut)
    }

    /// By faster-whisper's own `get_speech_timestamps`, of the same probabilities.
    #[test]
    fn golden_stretches_are_those_of_faster_whisper() {
        let path = "/../../tests/golden/silero-vad/reference.json";
        let text = std::fs::read(format!("{}{path}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let golden: Value = serde_json::from_slice(&text).unwrap();
        let sounds = golden["sounds"].as_array().unwrap();
        for sound in sounds {
            let numbers = sound["probabilities"].as_array().unwrap().iter();
            let probabilities: Vec<f32> = numbers.map(|p| p.as_f64().unwrap() as f32).collect();
            let length = sound["samples"].as_u64().unwrap() as usize;
            let wanted = sound["stretches"].as_array().unwrap().iter();
            let wanted: Vec<_> = wanted
                .map(|pair| (pair[0].as_u64().unwrap(), pair[1].as_u64().unwrap()))
                .collect();
            let (ours, cut) = cut(&probabilities, length);
            assert_eq!(ours, wanted, "{}", sound["name"]);
            for time in sound["times"].as_array().unwrap() {
                let (kept, is_end) = (time[0].as_f64().unwrap(), time[1].as_bool().unwrap());
                let ours = kept + cut.timeline.left_out(kept, is_end);
                let wanted = time[2].as_f64().unwrap();
                assert!(
                    (ours - wanted).abs() <= 0.0051,
                    "{kept} {is_end}: {ours} for {wanted}"
                );
            }
        }
        assert!(sounds.len() > 6, "the file holds its sounds");
    }

    #[test]
    fn a_stretch_that_stays_undecided_ends() {
        let mut probabilities = vec![0.9; 40];
        probabilities.push(0.2);
        probabilities.resize(40 + 60 * 32, 0.4);
        let (ours, _) = cut(&probabilities, probabilities.len() * VOICE_WINDOW);
        assert_eq!(ours, [(0, (40 * VOICE_WINDOW + PAD) as u64)]);
    }
}
