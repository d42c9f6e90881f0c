//! Where somebody speaks, by loudness: a threshold above the noise, with the bounds of faster-whisper's
//! filter (2 s of silence end a stretch, 0.4 s around it are kept). Not a neural detector: loud noise
//! counts as voice.

use super::decode::SAMPLE_RATE;

/// Samples whose loudness is judged together: 30 ms.
const HOP: usize = SAMPLE_RATE as usize * 30 / 1_000;
/// Silence that ends a stretch of voice, in hops.
const SILENCE_HOPS: usize = 2_000 / 30;
/// What is kept on both sides of a stretch, in hops.
const PAD_HOPS: usize = 400 / 30;
/// The quietest voice, as the root of its mean power: -50 dB of full scale.
const VOICE_MIN: f32 = 0.003;
/// How much louder than the noise a voice is.
const OVER_NOISE: f32 = 3.0;
/// By what the noise is taken to grow in a hop where it was not heard: about 1.4 dB a second.
const NOISE_GROWTH: f32 = 1.005;
/// The loudest noise that voice is told from.
const NOISE_MAX: f32 = 0.03;

/// Keeps the stretches of voice of a sound as it comes.
pub(crate) struct Voice {
    /// Of the current hop, not yet judged.
    pending: Vec<f32>,
    /// Silence behind a stretch, or before the first: kept until it is known what follows.
    held: Vec<f32>,
    /// A stretch of voice goes on.
    is_open: bool,
    noise: f32,
    /// Samples judged.
    position: u64,
    kept: u64,
    timeline: Timeline,
}

impl Default for Voice {
    fn default() -> Self {
        Self {
            pending: Vec::new(),
            held: Vec::new(),
            is_open: false,
            noise: VOICE_MIN / OVER_NOISE,
            position: 0,
            kept: 0,
            timeline: Timeline::default(),
        }
    }
}

impl Voice {
    /// Takes samples and appends those that are kept to `out`.
    pub(crate) fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) {
        self.pending.extend_from_slice(samples);
        let pending = std::mem::take(&mut self.pending);
        let hops = pending.chunks_exact(HOP);
        self.pending.extend_from_slice(hops.remainder());
        for hop in hops {
            self.judge(hop, out);
        }
    }

    /// Takes the end.
    pub(crate) fn finish(&mut self, out: &mut Vec<f32>) {
        let rest = std::mem::take(&mut self.pending);
        if !rest.is_empty() {
            self.judge(&rest, out);
        }
        if self.is_open {
            let padded = self.held.len().min(PAD_HOPS * HOP);
            out.extend_from_slice(&self.held[..padded]);
            self.kept += padded as u64;
        }
        self.held.clear();
        self.is_open = false;
    }

    fn judge(&mut self, hop: &[f32], out: &mut Vec<f32>) {
        let power: f32 = hop.iter().map(|sample| sample * sample).sum();
        let level = (power / hop.len() as f32).sqrt();
        let is_voice = level > VOICE_MIN.max(OVER_NOISE * self.noise);
        self.noise = if level < self.noise {
            level.max(VOICE_MIN / OVER_NOISE / 10.0)
        } else {
            (self.noise * NOISE_GROWTH).min(NOISE_MAX)
        };
        self.position += hop.len() as u64;
        if is_voice {
            if !self.is_open {
                let start = self.position - (hop.len() + self.held.len()) as u64;
                self.timeline.begin(self.kept, start);
                self.is_open = true;
            }
            out.extend_from_slice(&self.held);
            out.extend_from_slice(hop);
            self.kept += (self.held.len() + hop.len()) as u64;
            self.held.clear();
            return;
        }
        self.held.extend_from_slice(hop);
        if self.is_open && self.held.len() >= SILENCE_HOPS * HOP {
            let padded = PAD_HOPS * HOP;
            out.extend_from_slice(&self.held[..padded]);
            self.kept += padded as u64;
            self.held.drain(..padded);
            self.is_open = false;
        }
        if !self.is_open {
            let extra = self.held.len().saturating_sub(PAD_HOPS * HOP);
            self.held.drain(..extra);
        }
    }

    /// Length in seconds of what was kept.
    pub(crate) fn kept_seconds(&self) -> f64 {
        self.kept as f64 / f64::from(SAMPLE_RATE)
    }

    pub(crate) fn timeline(&self) -> &Timeline {
        &self.timeline
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

    /// The time in the sound of a time in what was kept, in seconds. The end of something that ends where
    /// a stretch does belongs to that stretch.
    pub(crate) fn original(&self, seconds: f64, is_end: bool) -> f64 {
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
        seconds + (at as f64 - kept as f64) / f64::from(SAMPLE_RATE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stretches of (seconds, loudness) as samples.
    fn sound(stretches: &[(f32, f32)]) -> Vec<f32> {
        let mut samples = Vec::new();
        for &(seconds, loudness) in stretches {
            let count = (seconds * SAMPLE_RATE as f32) as usize;
            samples.extend((0..count).map(|n| (n as f32 * 0.2).sin() * loudness));
        }
        samples
    }

    fn kept(samples: &[f32]) -> (f64, Voice) {
        let (mut voice, mut out) = (Voice::default(), Vec::new());
        for packet in samples.chunks(1_152) {
            voice.push(packet, &mut out);
        }
        voice.finish(&mut out);
        assert_eq!(out.len() as u64, voice.kept);
        (out.len() as f64 / 16_000.0, voice)
    }

    #[test]
    fn silence_and_steady_noise_are_left_out_and_short_pauses_stay() {
        assert!(kept(&sound(&[(5.0, 0.0)])).0 < 0.01);
        assert!(kept(&sound(&[(5.0, 0.001)])).0 < 0.01);
        let spoken = [
            (4.0, 0.0),
            (1.0, 0.2),
            (1.0, 0.0),
            (1.0, 0.2),
            (6.0, 0.0),
            (1.0, 0.2),
        ];
        let (seconds, voice) = kept(&sound(&spoken));
        // Two stretches: 3 s and 1 s, with 0.39 s on both sides, but none behind the end.
        assert!(
            (seconds - (3.0 + 1.0 + 3.0 * 0.39)).abs() < 0.1,
            "{seconds}"
        );
        let timeline = voice.timeline();
        assert!((timeline.original(0.39, false) - 4.0).abs() < 0.05);
        assert!((timeline.original(3.39, true) - 7.0).abs() < 0.05);
        assert!((timeline.original(seconds, true) - 14.0).abs() < 0.05);
        assert!((timeline.original(seconds - 1.0, false) - 13.0).abs() < 0.05);
    }
}
