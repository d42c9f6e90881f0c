//! What an inference costs in neurons.

use catalog::Rate;

const TOKENS_PER_RATE: f64 = 1_000_000.0;
const SECONDS_PER_RATE: f64 = 60.0;

/// Neurons of tokens read and written.
pub(super) fn of_tokens(rate: Option<Rate>, read: u64, written: u64) -> Option<f64> {
    let Some(Rate::Tokens { input, output, .. }) = rate else {
        return None;
    };
    let neurons = read as f64 * input + written as f64 * output.unwrap_or(0.0);
    Some(neurons / TOKENS_PER_RATE)
}

/// Neurons of a stretch of audio.
pub(super) fn of_audio(rate: Option<Rate>, seconds: f32) -> Option<f64> {
    match rate {
        Some(Rate::AudioMinute { minute, .. }) => {
            Some(f64::from(seconds) / SECONDS_PER_RATE * minute)
        }
        _ => None,
    }
}
