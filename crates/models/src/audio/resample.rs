//! Another sample rate: by Fourier transform, with an anti-aliasing filter.

use rubato::audioadapter::Adapter;
use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler, WindowFunction};

/// Transforms a second: blocks of 125 ms keep the filter's edge within 1 % of the band.
const BLOCKS_PER_SECOND: usize = 8;

/// Mono samples at `from` Hz as samples at `to` Hz, of the same length in time.
///
/// The error is a broken promise of ours: rates and lengths were checked before.
pub(super) fn to_rate(samples: Vec<f32>, from: u32, to: u32) -> Result<Vec<f32>, String> {
    if from == to {
        return Ok(samples);
    }
    let (from, to) = (from as usize, to as usize);
    let block = (from / BLOCKS_PER_SECOND).max(1);
    let mut resampler = Fft::<f32>::new_custom(
        from,
        to,
        block,
        1,
        1,
        WindowFunction::BlackmanHarris2,
        FixedSync::Both,
    )
    .map_err(|error| error.to_string())?;
    let frames = samples.len();
    let input = InterleavedSlice::new(&samples, 1, frames).map_err(|error| error.to_string())?;
    let output = resampler
        .process_all(&input, frames, None)
        .map_err(|error| error.to_string())?;
    debug_assert_eq!(output.channels(), 1);
    Ok(output.take_data())
}
