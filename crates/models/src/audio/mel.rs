//! Whisper's log-mel spectrogram.
//!
//! Radford et al. 2022, section 2.2, with the constants of the reference implementation
//! (openai/whisper, audio.py): frames of 25 ms every 10 ms under a periodic Hann window, reflected
//! at the ends, power spectrum, mel filters on Slaney's scale with Slaney's normalisation (Auditory
//! Toolbox, 1998; the default of librosa), logarithm, the 8 decades below the loudest bin, scaled.

use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{RealFftPlanner, RealToComplex};

use super::decode::SAMPLE_RATE;

/// Samples under the window.
pub(crate) const WINDOW_SAMPLES: usize = 400;
/// Samples from one frame to the next.
pub(crate) const HOP_SAMPLES: usize = 160;
/// Frequencies of a power spectrum.
const FREQUENCIES: usize = WINDOW_SAMPLES / 2 + 1;
/// Seconds that a Whisper encoder sees.
const CHUNK_SECONDS: u32 = 30;
/// Samples that a Whisper encoder sees.
const CHUNK_SAMPLES: usize = (CHUNK_SECONDS * SAMPLE_RATE) as usize;
/// Frames that a Whisper encoder sees.
pub(crate) const FRAMES: usize = CHUNK_SAMPLES / HOP_SAMPLES;
/// The least power that is told from silence.
const POWER_MIN: f32 = 1e-10;
/// Decades kept below the loudest bin.
const RANGE_DECADES: f32 = 8.0;

/// The features of one length of filter bank.
pub(crate) struct LogMel {
    filters: Vec<Filter>,
    window: Vec<f32>,
    transform: Arc<dyn RealToComplex<f32>>,
}

/// A triangle over neighbouring frequencies.
#[derive(Debug, Clone, PartialEq)]
struct Filter {
    first: usize,
    weights: Vec<f32>,
}

impl LogMel {
    /// A filter bank of `bins` triangles between 0 Hz and half the sample rate.
    pub(crate) fn new(bins: usize) -> Self {
        Self {
            filters: filter_bank(bins)
                .iter()
                .map(|row| Filter::new(row))
                .collect(),
            window: (0..WINDOW_SAMPLES)
                .map(|n| {
                    let turn = 2.0 * std::f64::consts::PI * n as f64 / WINDOW_SAMPLES as f64;
                    (0.5 - 0.5 * turn.cos()) as f32
                })
                .collect(),
            transform: RealFftPlanner::new().plan_fft_forward(WINDOW_SAMPLES),
        }
    }

    /// Filters.
    pub(crate) fn bins(&self) -> usize {
        self.filters.len()
    }

    /// Buffers for [`LogMel::frame`].
    pub(crate) fn scratch(&self) -> Scratch {
        Scratch {
            frame: self.transform.make_input_vec(),
            spectrum: self.transform.make_output_vec(),
            inner: self.transform.make_scratch_vec(),
        }
    }

    /// Logarithms (to base 10) of one frame's powers, one for each bin of `out`, from the
    /// [`WINDOW_SAMPLES`] samples around it. The error is a broken promise of the transform.
    pub(crate) fn frame(
        &self,
        heard: &[f32],
        scratch: &mut Scratch,
        out: &mut [f32],
    ) -> Result<(), String> {
        for ((place, sample), weight) in scratch.frame.iter_mut().zip(heard).zip(&self.window) {
            *place = sample * weight;
        }
        self.transform
            .process_with_scratch(
                &mut scratch.frame,
                &mut scratch.spectrum,
                &mut scratch.inner,
            )
            .map_err(|error| error.to_string())?;
        let mut power = [0.0; FREQUENCIES];
        for (out, value) in power.iter_mut().zip(&scratch.spectrum) {
            *out = Complex::norm_sqr(value);
        }
        for (place, filter) in out.iter_mut().zip(&self.filters) {
            *place = filter.apply(&power).max(POWER_MIN).log10();
        }
        Ok(())
    }

    /// Features of samples at 16 kHz, padded with silence or cut to 30 s: `[bins, FRAMES]`,
    /// row-major. The error is a broken promise of the transform.
    pub(crate) fn features(&self, samples: &[f32]) -> Result<Vec<f32>, String> {
        let padded = pad(samples);
        let bins = self.bins();
        let mut features = vec![0.0; bins * FRAMES];
        let mut scratch = self.scratch();
        let mut column = vec![0.0; bins];
        let mut loudest = f32::NEG_INFINITY;
        for index in 0..FRAMES {
            let heard = &padded[index * HOP_SAMPLES..][..WINDOW_SAMPLES];
            self.frame(heard, &mut scratch, &mut column)?;
            for (bin, &value) in column.iter().enumerate() {
                loudest = loudest.max(value);
                features[bin * FRAMES + index] = value;
            }
        }
        for value in &mut features {
            *value = scaled(*value, loudest);
        }
        Ok(features)
    }
}

/// What the encoder reads for a logarithm, where the loudest is `loudest`.
pub(crate) fn scaled(value: f32, loudest: f32) -> f32 {
    (value.max(loudest - RANGE_DECADES) + 4.0) / 4.0
}

/// Buffers that are used again for each frame.
pub(crate) struct Scratch {
    frame: Vec<f32>,
    spectrum: Vec<Complex<f32>>,
    inner: Vec<Complex<f32>>,
}

impl Filter {
    /// Keeps the span of a row that is not zero.
    fn new(row: &[f32]) -> Self {
        let first = row.iter().position(|&weight| weight != 0.0).unwrap_or(0);
        let end = row
            .iter()
            .rposition(|&weight| weight != 0.0)
            .map_or(0, |last| last + 1);
        Self {
            first,
            weights: row[first..end.max(first)].to_vec(),
        }
    }

    fn apply(&self, power: &[f32; FREQUENCIES]) -> f32 {
        power[self.first..]
            .iter()
            .zip(&self.weights)
            .map(|(power, weight)| power * weight)
            .sum()
    }
}

/// 30 s of samples with half a window more at each end: mirrored there, the edge not repeated.
fn pad(samples: &[f32]) -> Vec<f32> {
    const EDGE: usize = WINDOW_SAMPLES / 2;
    let kept = &samples[..samples.len().min(CHUNK_SAMPLES)];
    let mut padded = vec![0.0; CHUNK_SAMPLES + 2 * EDGE];
    padded[EDGE..EDGE + kept.len()].copy_from_slice(kept);
    for distance in 1..=EDGE {
        padded[EDGE - distance] = padded[EDGE + distance];
        let last = EDGE + CHUNK_SAMPLES - 1;
        padded[last + distance] = padded[last - distance];
    }
    padded
}

/// `bins` rows of [`FREQUENCIES`] weights.
fn filter_bank(bins: usize) -> Vec<Vec<f32>> {
    let nyquist = f64::from(SAMPLE_RATE) / 2.0;
    let top = hz_to_mel(nyquist);
    let edges: Vec<f64> = (0..bins + 2)
        .map(|edge| mel_to_hz(top * edge as f64 / (bins + 1) as f64))
        .collect();
    edges
        .windows(3)
        .map(|edge| {
            let (low, middle, high) = (edge[0], edge[1], edge[2]);
            // Slaney: each triangle has the same area.
            let height = 2.0 / (high - low);
            (0..FREQUENCIES)
                .map(|k| {
                    let hz = nyquist * k as f64 / (FREQUENCIES - 1) as f64;
                    let rising = (hz - low) / (middle - low);
                    let falling = (high - hz) / (high - middle);
                    (rising.min(falling).max(0.0) * height) as f32
                })
                .collect()
        })
        .collect()
}

/// Slaney's scale: 3 mel for each 200 Hz up to 1 kHz, above it 27 mel for each factor of 6.4.
const HZ_PER_MEL: f64 = 200.0 / 3.0;
const BREAK_HZ: f64 = 1_000.0;
const BREAK_MEL: f64 = BREAK_HZ / HZ_PER_MEL;

fn log_step() -> f64 {
    6.4_f64.ln() / 27.0
}

fn hz_to_mel(hz: f64) -> f64 {
    if hz < BREAK_HZ {
        hz / HZ_PER_MEL
    } else {
        BREAK_MEL + (hz / BREAK_HZ).ln() / log_step()
    }
}

fn mel_to_hz(mel: f64) -> f64 {
    if mel < BREAK_MEL {
        mel * HZ_PER_MEL
    } else {
        BREAK_HZ * ((mel - BREAK_MEL) * log_step()).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The filter banks of openai/whisper: `[bins, FREQUENCIES]`, little-endian F32.
    const GOLDEN: [(usize, &[u8]); 2] = [
        (
            80,
            include_bytes!("../../../../tests/golden/whisper/melfilters80.bytes"),
        ),
        (
            128,
            include_bytes!("../../../../tests/golden/whisper/melfilters128.bytes"),
        ),
    ];

    #[test]
    fn golden_filter_banks_are_those_of_the_reference_implementation() {
        for (bins, bytes) in GOLDEN {
            let wanted: Vec<f32> = bytes
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                .collect();
            let ours: Vec<f32> = filter_bank(bins).concat();
            assert_eq!(ours.len(), wanted.len());
            let largest = wanted.iter().copied().fold(0.0, f32::max);
            for (ours, wanted) in ours.iter().zip(&wanted) {
                assert!(
                    (ours - wanted).abs() <= 1e-6 * largest,
                    "{ours} is not {wanted}"
                );
            }
        }
    }

    #[test]
    fn silence_is_flat_and_audio_beyond_the_window_is_not_heard() {
        let mel = LogMel::new(80);
        let silence = mel.features(&[]).unwrap();
        assert_eq!(silence.len(), 80 * FRAMES);
        assert!(
            silence
                .iter()
                .all(|value| (value - (-10.0 + 4.0) / 4.0).abs() < 1e-6)
        );
        let mut long = vec![0.0; CHUNK_SAMPLES + 8_000];
        long[CHUNK_SAMPLES + WINDOW_SAMPLES..].fill(0.5);
        assert_eq!(mel.features(&long).unwrap(), silence);
    }
}
