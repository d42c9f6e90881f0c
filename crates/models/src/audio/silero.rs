//! Silero's detector of voice: how likely it is that somebody speaks, for each 32 ms of a sound.
//!
//! Layout, names and sizes of the package silero-vad (`silero_vad_16k.safetensors`, and the module
//! `tinygrad_model` which reads it): a short-time Fourier transform as a product, four convolutions, a cell
//! of an LSTM (PyTorch's order of gates), a convolution of one tap. Golden test: `tests/golden_voice.rs`
//! with numbers of onnxruntime.

use engine::Need;
use kernels::{Backend, FloatLinear};

use crate::checkpoint::Checkpoint;
use crate::load::{Files, LoadError};

/// Samples of a window.
pub const VOICE_WINDOW: usize = 512;
/// Samples before a window that are seen with it.
const CONTEXT: usize = 64;
/// Samples behind a window that mirror its last ones.
const MIRRORED: usize = 64;
/// Samples of a frame of the transform, and from one frame to the next.
const FRAME: usize = 256;
const FRAME_STEP: usize = 128;
/// Frames of a window.
const FRAMES: usize = (CONTEXT + VOICE_WINDOW + MIRRORED - FRAME) / FRAME_STEP + 1;
/// Frequencies of a frame.
const FREQUENCIES: usize = FRAME / 2 + 1;
const TAPS: usize = 3;
/// Outputs of the last convolution, and numbers of a cell.
const CELL: usize = 128;
/// Input, forget, cell and output gate.
const GATES: usize = 4 * CELL;
/// Outputs, inputs and stride of each convolution; each frame has one neighbour of zeros at either end.
const CONVOLUTIONS: [(usize, usize, usize); 4] = [
    (128, FREQUENCIES, 1),
    (64, 128, 2),
    (64, 64, 2),
    (CELL, 64, 1),
];
/// Windows that go through the convolutions together.
pub(crate) const WINDOWS_TOGETHER: usize = 32;

/// The weights; who listens has a [`Hearing`] of its own.
#[derive(Debug)]
pub struct Silero {
    /// `[2 * FREQUENCIES, FRAME]`: cosines, then sines.
    transform: FloatLinear,
    convolutions: Vec<Convolution>,
    /// Of what the convolutions give: `[GATES, CELL]`, with both biases of the cell.
    input: FloatLinear,
    bias: Vec<f32>,
    /// Of the cell's last answer: `[GATES, CELL]`.
    own: FloatLinear,
    last: Vec<f32>,
    last_bias: f32,
}

#[derive(Debug)]
struct Convolution {
    /// `[outputs, TAPS * inputs]`.
    weights: FloatLinear,
    bias: Vec<f32>,
    inputs: usize,
    stride: usize,
}

/// What a detector keeps of the sound that it has heard.
#[derive(Debug, Clone)]
pub struct Hearing {
    context: [f32; CONTEXT],
    answer: Vec<f32>,
    cell: Vec<f32>,
}

impl Default for Hearing {
    fn default() -> Self {
        Self {
            context: [0.0; CONTEXT],
            answer: vec![0.0; CELL],
            cell: vec![0.0; CELL],
        }
    }
}

impl Silero {
    /// Reads `model.safetensors` (F32).
    ///
    /// # Errors
    /// [`LoadError`] says what is missing or has another shape.
    pub fn load(files: &Files) -> Result<Self, LoadError> {
        let checkpoint = Checkpoint::open(files)?;
        let floats = |name: &str, shape: &[usize]| checkpoint.floats(name, shape);
        let transform = floats("stft_conv.weight", &[2 * FREQUENCIES, 1, FRAME])?;
        let matrix = |name: &str| -> Result<FloatLinear, LoadError> {
            let weights = floats(name, &[GATES, CELL])?;
            Ok(FloatLinear::from_floats(&weights, GATES, CELL))
        };
        let mut bias = floats("lstm_cell.bias_ih", &[GATES])?;
        for (sum, own) in bias.iter_mut().zip(floats("lstm_cell.bias_hh", &[GATES])?) {
            *sum += own;
        }
        let convolution =
            |(index, sizes): (usize, (usize, usize, usize))| -> Result<Convolution, LoadError> {
                let (outputs, inputs, stride) = sizes;
                let name = format!("conv{}", index + 1);
                let weights = floats(&format!("{name}.weight"), &[outputs, inputs, TAPS])?;
                let mut turned = Vec::with_capacity(weights.len());
                for filter in weights.chunks_exact(inputs * TAPS) {
                    for tap in 0..TAPS {
                        turned.extend(filter.iter().skip(tap).step_by(TAPS));
                    }
                }
                Ok(Convolution {
                    weights: FloatLinear::from_floats(&turned, outputs, TAPS * inputs),
                    bias: floats(&format!("{name}.bias"), &[outputs])?,
                    inputs,
                    stride,
                })
            };
        Ok(Self {
            transform: FloatLinear::from_floats(&transform, 2 * FREQUENCIES, FRAME),
            convolutions: CONVOLUTIONS
                .into_iter()
                .enumerate()
                .map(convolution)
                .collect::<Result<_, LoadError>>()?,
            input: matrix("lstm_cell.weight_ih")?,
            bias,
            own: matrix("lstm_cell.weight_hh")?,
            last: floats("final_conv.weight", &[1, CELL, 1])?,
            last_bias: floats("final_conv.bias", &[1])?.iter().sum(),
        })
    }

    /// What a set of weights takes; its shapes are checked, its numbers are not read.
    pub(crate) fn need(files: &Files) -> Result<Need, LoadError> {
        let checkpoint = Checkpoint::open(files)?;
        checkpoint.check("stft_conv.weight", &[2 * FREQUENCIES, 1, FRAME])?;
        let weights_bytes = checkpoint.elements() * size_of::<f32>() as u64;
        Ok(Need {
            weights_bytes,
            cache_bytes: 0,
            activation_bytes: (Self::need_bytes() as u64).saturating_sub(weights_bytes),
        })
    }

    /// Bytes of the weights and of what a pass of [`WINDOWS_TOGETHER`] windows holds.
    pub(crate) fn need_bytes() -> usize {
        let convolved = CONVOLUTIONS.map(|(outputs, inputs, _)| (TAPS * inputs + 1) * outputs);
        let weights = 2 * FREQUENCIES * FRAME + convolved.iter().sum::<usize>() + 2 * GATES * CELL;
        let rows = FRAMES * (FRAME + (3 + TAPS) * FREQUENCIES + CELL) + GATES;
        size_of::<f32>() * (weights + WINDOWS_TOGETHER * rows)
    }

    /// The probability of voice in each of some windows, `[windows, VOICE_WINDOW]` samples at 16 kHz which
    /// follow on those before.
    pub fn probabilities(&self, hearing: &mut Hearing, samples: &[f32]) -> Vec<f32> {
        let backend = Backend::best();
        let mut probabilities = Vec::with_capacity(samples.len() / VOICE_WINDOW);
        for samples in samples.chunks(WINDOWS_TOGETHER * VOICE_WINDOW) {
            let windows = samples.len() / VOICE_WINDOW;
            if windows == 0 {
                break;
            }
            let mut rows = self.magnitudes(hearing, samples);
            for convolution in &self.convolutions {
                rows = convolution.forward(&rows, windows);
            }
            let mut gates = vec![0.0; windows * GATES];
            self.input.multiply(&rows, &mut gates, backend);
            let mut own = vec![0.0; GATES];
            for gates in gates.chunks_exact(GATES) {
                self.own.multiply(&hearing.answer, &mut own, backend);
                hearing.step(gates, &own, &self.bias);
                let answer = hearing.answer.iter().zip(&self.last);
                let sum: f32 = answer
                    .map(|(answer, weight)| answer.max(0.0) * weight)
                    .sum();
                probabilities.push(sigmoid(sum + self.last_bias));
            }
        }
        probabilities
    }

    /// How loud each frequency is in each frame, `[windows * FRAMES, FREQUENCIES]`.
    fn magnitudes(&self, hearing: &mut Hearing, samples: &[f32]) -> Vec<f32> {
        let mut frames = Vec::with_capacity(samples.len() / VOICE_WINDOW * FRAMES * FRAME);
        for window in samples.chunks_exact(VOICE_WINDOW) {
            let mut seen = [0.0; CONTEXT + VOICE_WINDOW + MIRRORED];
            seen[..CONTEXT].copy_from_slice(&hearing.context);
            seen[CONTEXT..CONTEXT + VOICE_WINDOW].copy_from_slice(window);
            let (heard, mirrored) = seen.split_at_mut(CONTEXT + VOICE_WINDOW);
            // The last sample is the mirror, and not seen twice.
            for (place, sample) in mirrored.iter_mut().zip(heard.iter().rev().skip(1)) {
                *place = *sample;
            }
            for start in (0..=seen.len() - FRAME).step_by(FRAME_STEP) {
                frames.extend_from_slice(&seen[start..start + FRAME]);
            }
            hearing
                .context
                .copy_from_slice(&window[VOICE_WINDOW - CONTEXT..]);
        }
        let mut spectrum = vec![0.0; frames.len() / FRAME * 2 * FREQUENCIES];
        self.transform
            .multiply(&frames, &mut spectrum, Backend::best());
        let mut magnitudes = Vec::with_capacity(spectrum.len() / 2);
        for frame in spectrum.chunks_exact(2 * FREQUENCIES) {
            let (cosines, sines) = frame.split_at(FREQUENCIES);
            let parts = cosines.iter().zip(sines);
            magnitudes.extend(parts.map(|(cosine, sine)| (cosine * cosine + sine * sine).sqrt()));
        }
        magnitudes
    }
}

impl Convolution {
    /// Frames `[windows, frames, inputs]` to `[windows, frames / stride, outputs]`, nothing below zero.
    fn forward(&self, rows: &[f32], windows: usize) -> Vec<f32> {
        let frames = rows.len() / windows / self.inputs;
        let mut taps = Vec::new();
        for window in rows.chunks_exact(frames * self.inputs) {
            for middle in (0..frames).step_by(self.stride) {
                for tap in 0..TAPS {
                    match (middle + tap)
                        .checked_sub(TAPS / 2)
                        .filter(|frame| *frame < frames)
                    {
                        Some(frame) => {
                            taps.extend_from_slice(&window[frame * self.inputs..][..self.inputs]);
                        }
                        None => taps.resize(taps.len() + self.inputs, 0.0),
                    }
                }
            }
        }
        let mut out = vec![0.0; taps.len() / (TAPS * self.inputs) * self.bias.len()];
        self.weights.multiply(&taps, &mut out, Backend::best());
        for row in out.chunks_exact_mut(self.bias.len()) {
            for (value, bias) in row.iter_mut().zip(&self.bias) {
                *value = (*value + bias).max(0.0);
            }
        }
        out
    }
}

impl Hearing {
    /// One step of the cell: its gates are the sums of three parts, `[GATES]` each.
    fn step(&mut self, input: &[f32], own: &[f32], bias: &[f32]) {
        let gate = |kind: usize, at: usize| {
            let at = kind * CELL + at;
            input[at] + own[at] + bias[at]
        };
        for at in 0..CELL {
            let cell =
                sigmoid(gate(1, at)) * self.cell[at] + sigmoid(gate(0, at)) * gate(2, at).tanh();
            self.cell[at] = cell;
            self.answer[at] = sigmoid(gate(3, at)) * cell.tanh();
        }
    }
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}
