//! A sound's features, window by window, in bounded memory.
//!
//! As openai/whisper's transcribe.py reads them: each frame is heard once, with silence behind the end;
//! the frames of a window are scaled by the loudest bin, and what lies behind the last frame is zero.
//! There the loudest bin is that of the whole sound; here it is that of all that was heard so far, as
//! the rest is not there yet.

use std::sync::Arc;

use super::decode::{AudioError, SAMPLE_RATE, Sound};
use super::mel::{FRAMES, HOP_SAMPLES, LogMel, Scratch, WINDOW_SAMPLES, scaled};
use super::silero::Silero;
use super::voice::{Timeline, Voice};

/// Frames a second.
pub(crate) const FRAMES_PER_SECOND: usize = SAMPLE_RATE as usize / HOP_SAMPLES;
/// A sample up to this is silence: two steps of 16 bits, what rounding and dithering make of nothing.
const SILENCE_MAX: f32 = 2.0 / 32_768.0;
/// Half a window: what a frame sees before its middle.
const EDGE: usize = WINDOW_SAMPLES / 2;

/// Up to 30 s of a sound.
pub(crate) struct Window {
    /// `[bins, FRAMES]`, row-major.
    pub(crate) features: Vec<f32>,
    /// Frames of sound; the rest is behind its end.
    pub(crate) frames: usize,
    /// Nothing in it is louder than rounding.
    pub(crate) is_silent: bool,
}

/// What came of listening for a window.
pub(crate) enum Next {
    Window(Window),
    /// Nothing but what the detector leaves out so far: to be asked for again, so that a long silence is
    /// read in pieces.
    Later,
    /// The sound is over.
    End,
}

impl Next {
    pub(crate) fn window(self) -> Option<Window> {
        match self {
            Self::Window(window) => Some(window),
            Self::Later | Self::End => None,
        }
    }
}

/// What came of listening for a frame.
#[derive(PartialEq)]
enum Frame {
    Heard,
    Later,
    End,
}

/// Samples that a detector is asked about while one window is waited for.
const JUDGED_MAX_SAMPLES: usize = 60 * SAMPLE_RATE as usize;

/// Listens to a sound.
pub(crate) struct Listener {
    sound: Sound,
    voice: Option<Voice>,
    mel: Arc<LogMel>,
    scratch: Scratch,
    /// Samples from [`Listener::base`] on.
    samples: Vec<f32>,
    /// Index of the first sample that is kept.
    base: usize,
    /// All samples, once the end is reached.
    total: Option<usize>,
    /// Logarithms `[frames, bins]` from frame `first` on.
    frames: Vec<f32>,
    /// The loudest sample of each of these.
    peaks: Vec<f32>,
    first: usize,
    loudest: f32,
    read: Vec<f32>,
    /// Samples that may still be read for the window at hand, where a detector judges them.
    budget: usize,
}

impl Listener {
    /// Listens to all of a sound, or to what a detector takes for voice.
    pub(crate) fn new(sound: Sound, mel: Arc<LogMel>, detector: Option<Arc<Silero>>) -> Self {
        Self {
            sound,
            voice: detector.map(Voice::new),
            scratch: mel.scratch(),
            mel,
            samples: Vec::new(),
            base: 0,
            total: None,
            frames: Vec::new(),
            peaks: Vec::new(),
            first: 0,
            loudest: f32::NEG_INFINITY,
            read: Vec::new(),
            budget: 0,
        }
    }

    /// The window from frame `seek` on. Frames before it are forgotten.
    ///
    /// # Errors
    /// [`AudioError`] says what is wrong with the sound.
    pub(crate) fn window(&mut self, seek: usize) -> Result<Next, AudioError> {
        self.budget = JUDGED_MAX_SAMPLES;
        let bins = self.mel.bins();
        let gone = seek.saturating_sub(self.first).min(self.peaks.len());
        self.frames.drain(..gone * bins);
        self.peaks.drain(..gone);
        self.first += gone;
        while self.first < seek || self.peaks.len() < FRAMES {
            match self.next_frame()? {
                Frame::Heard => {}
                Frame::Later => return Ok(Next::Later),
                Frame::End => break,
            }
            if self.first < seek {
                self.frames.clear();
                self.peaks.clear();
                self.first += 1;
            }
        }
        let count = self.peaks.len().min(FRAMES);
        if count == 0 {
            return Ok(Next::End);
        }
        let mut features = vec![0.0; bins * FRAMES];
        for (index, frame) in self.frames.chunks_exact(bins).take(count).enumerate() {
            for (bin, &value) in frame.iter().enumerate() {
                features[bin * FRAMES + index] = scaled(value, self.loudest);
            }
        }
        Ok(Next::Window(Window {
            features,
            frames: count,
            is_silent: self.peaks[..count].iter().all(|&peak| peak <= SILENCE_MAX),
        }))
    }

    /// Hears one more frame.
    fn next_frame(&mut self) -> Result<Frame, AudioError> {
        let index = self.first + self.peaks.len();
        let middle = index * HOP_SAMPLES;
        while self.total.is_none() && self.base + self.samples.len() < middle + WINDOW_SAMPLES {
            if self.voice.is_some() && self.budget == 0 {
                return Ok(Frame::Later);
            }
            self.read_more()?;
        }
        if self.total.is_some_and(|total| middle + HOP_SAMPLES > total) {
            return Ok(Frame::End);
        }
        let sample = |position: usize| {
            let index = position.checked_sub(self.base);
            index.and_then(|index| self.samples.get(index)).copied()
        };
        let mut heard = [0.0; WINDOW_SAMPLES];
        if let Some(part) = middle
            .checked_sub(EDGE + self.base)
            .and_then(|start| self.samples.get(start..start + WINDOW_SAMPLES))
        {
            heard.copy_from_slice(part);
        } else {
            // Mirrored before the start, silent behind the end.
            for (offset, place) in heard.iter_mut().enumerate() {
                let position = (middle + offset).abs_diff(EDGE);
                *place = sample(position).unwrap_or(0.0);
            }
        }
        let peak = heard[EDGE..EDGE + HOP_SAMPLES]
            .iter()
            .fold(0.0_f32, |peak, sample| peak.max(sample.abs()));
        let start = self.frames.len();
        self.frames.resize(start + self.mel.bins(), 0.0);
        let place = &mut self.frames[start..];
        self.mel
            .frame(&heard, &mut self.scratch, place)
            .map_err(AudioError::Internal)?;
        self.loudest = place.iter().copied().fold(self.loudest, f32::max);
        self.peaks.push(peak);
        // The next frame reads from half a window before its middle, the first two from the start.
        let needed = (middle + HOP_SAMPLES).saturating_sub(WINDOW_SAMPLES);
        if needed > self.base + FRAMES {
            self.samples.drain(..needed - self.base);
            self.base = needed;
        }
        Ok(Frame::Heard)
    }

    /// Reads a packet, or comes to the end.
    fn read_more(&mut self) -> Result<(), AudioError> {
        let more = match &mut self.voice {
            None => self.sound.read(&mut self.samples)?,
            Some(voice) => {
                self.read.clear();
                let more = self.sound.read(&mut self.read)?;
                self.budget = self.budget.saturating_sub(self.read.len());
                voice.push(&self.read, &mut self.samples);
                if !more {
                    voice.finish(&mut self.samples);
                }
                more
            }
        };
        if !more {
            self.total = Some(self.base + self.samples.len());
        }
        Ok(())
    }

    /// Length in seconds of the sound that was read so far: at the end, of all.
    pub(crate) fn seconds(&self) -> f64 {
        self.sound.seconds()
    }

    /// The same without what was left out.
    pub(crate) fn seconds_heard(&self) -> f64 {
        match &self.voice {
            None => self.seconds(),
            Some(voice) => voice.kept_seconds(),
        }
    }

    /// Where the kept stretches of voice lie in the sound, if any were left out.
    pub(crate) fn timeline(&self) -> Option<&Timeline> {
        self.voice.as_ref().map(Voice::timeline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of 16-bit samples at 16 kHz.
    fn wav(samples: impl ExactSizeIterator<Item = i16>) -> Vec<u8> {
        let bytes = 2 * samples.len() as u32;
        let mut file = b"RIFF".to_vec();
        file.extend((36 + bytes).to_le_bytes());
        file.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
        file.extend(16_000_u32.to_le_bytes());
        file.extend(32_000_u32.to_le_bytes());
        file.extend(b"\x02\0\x10\0data");
        file.extend(bytes.to_le_bytes());
        file.extend(samples.flat_map(i16::to_le_bytes));
        file
    }

    fn listener(file: Vec<u8>) -> Listener {
        let sound = Sound::open(file, 100_000).unwrap();
        Listener::new(sound, Arc::new(LogMel::new(80)), None)
    }

    fn noise(samples: usize) -> impl ExactSizeIterator<Item = i16> {
        (0..samples)
            .map(|n| ((n as u64).wrapping_mul(6_364_136_223_846_793_005) >> 50) as i16 - 8192)
    }

    #[test]
    fn a_window_is_what_the_whole_sound_gives_there() {
        let samples: Vec<f32> = noise(480_000).map(|s| f32::from(s) / 32_768.0).collect();
        let whole = LogMel::new(80).features(&samples).unwrap();
        let mut heard = listener(wav(noise(480_000)));
        let first = heard.window(0).unwrap().window().unwrap();
        assert_eq!((first.frames, first.is_silent), (3_000, false));
        // The last frame mirrors there and is followed by silence here.
        for (frame, wanted) in first.features.chunks(3_000).zip(whole.chunks(3_000)) {
            for (ours, wanted) in frame[..2_998].iter().zip(wanted) {
                assert!((ours - wanted).abs() < 2e-3, "{ours} is not {wanted}");
            }
        }
        let later = heard.window(1_234).unwrap().window().unwrap();
        assert_eq!(later.frames, 3_000 - 1_234);
        assert_eq!(later.features[..100], first.features[1_234..1_334]);
        assert!(
            later.features[later.frames..3_000]
                .iter()
                .all(|&value| value == 0.0)
        );
        assert!(matches!(heard.window(3_000).unwrap(), Next::End));
    }

    #[test]
    fn two_hours_of_silence_are_heard_in_the_memory_of_a_window() {
        let mut heard = listener(wav(std::iter::repeat_n(1, 2 * 3_600 * 16_000)));
        let mut seek = 0;
        while let Some(window) = heard.window(seek).unwrap().window() {
            assert!(window.is_silent);
            seek += window.frames;
            assert!(heard.samples.len() < 40_000 && heard.peaks.len() <= 3_000);
        }
        assert_eq!(seek, 2 * 3_600 * 100);
        assert!((heard.seconds() - 7_200.0).abs() < 1e-9);
    }

    #[test]
    fn a_sound_beyond_the_limit_is_refused_when_its_end_is_not_in_sight() {
        let sound = Sound::open(wav(noise(60 * 16_000)), 59).unwrap();
        let mut heard = Listener::new(sound, Arc::new(LogMel::new(80)), None);
        assert_eq!(
            heard
                .window(0)
                .unwrap()
                .window()
                .map(|window| window.frames),
            Some(3_000)
        );
        let Err(AudioError::TooLong { length, .. }) = heard.window(3_000) else {
            panic!("heard to its end")
        };
        assert_eq!(length, "60.0 s long");
    }
}
