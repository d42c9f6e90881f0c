//! Another sample rate: by Fourier transform, with an anti-aliasing filter, block by block.

use rubato::audioadapter::Adapter;
use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler, WindowFunction};

/// Transforms a second: blocks of 125 ms keep the filter's edge within 1 % of the band.
const BLOCKS_PER_SECOND: usize = 8;

/// Mono samples of one rate as samples of another, of the same length in time. Errors are broken
/// promises of ours: rates and lengths were checked before.
pub(super) struct Rate {
    from: u64,
    to: u64,
    /// `None` where the rates are the same.
    resampler: Option<Fft<f32>>,
    /// Samples that wait for their block to be full.
    pending: Vec<f32>,
    /// Samples of the filter's delay that are still to be left out.
    late: usize,
    taken: u64,
    given: u64,
}

impl Rate {
    pub(super) fn new(from: u32, to: u32) -> Result<Self, String> {
        let (rate, wanted) = (from as usize, to as usize);
        let resampler = if from == to {
            None
        } else {
            let block = (rate / BLOCKS_PER_SECOND).max(1);
            let window = WindowFunction::BlackmanHarris2;
            let made = Fft::<f32>::new_custom(rate, wanted, block, 1, 1, window, FixedSync::Both);
            Some(made.map_err(|error| error.to_string())?)
        };
        Ok(Self {
            from: u64::from(from),
            to: u64::from(to),
            late: resampler.as_ref().map_or(0, Resampler::output_delay),
            resampler,
            pending: Vec::new(),
            taken: 0,
            given: 0,
        })
    }

    /// Takes samples and appends what comes of them to `out`.
    pub(super) fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) -> Result<(), String> {
        self.taken += samples.len() as u64;
        if self.resampler.is_none() {
            out.extend_from_slice(samples);
            return Ok(());
        }
        self.pending.extend_from_slice(samples);
        self.run(out)
    }

    /// Appends what is left.
    pub(super) fn finish(&mut self, out: &mut Vec<f32>) -> Result<(), String> {
        let Some(resampler) = &self.resampler else {
            return Ok(());
        };
        let block = resampler.input_frames_next();
        let wanted = (self.taken * self.to).div_ceil(self.from);
        let start = out.len();
        let before = self.given;
        while self.given < wanted {
            let full = self.pending.len() / block * block + block;
            self.pending.resize(full, 0.0);
            self.run(out)?;
        }
        out.truncate(start + (wanted - before.min(wanted)) as usize);
        self.given = wanted;
        Ok(())
    }

    /// Runs the blocks that are full.
    fn run(&mut self, out: &mut Vec<f32>) -> Result<(), String> {
        let Some(resampler) = &mut self.resampler else {
            return Ok(());
        };
        let mut first = 0;
        loop {
            let block = resampler.input_frames_next();
            let Some(input) = self.pending.get(first..first + block) else {
                break;
            };
            let input =
                InterleavedSlice::new(input, 1, block).map_err(|error| error.to_string())?;
            let output = resampler
                .process(&input, None)
                .map_err(|error| error.to_string())?;
            debug_assert_eq!(output.channels(), 1);
            let samples = output.take_data();
            let late = self.late.min(samples.len());
            self.late -= late;
            self.given += (samples.len() - late) as u64;
            out.extend_from_slice(&samples[late..]);
            first += block;
        }
        self.pending.drain(..first);
        Ok(())
    }
}
