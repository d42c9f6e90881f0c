//! What a BERT takes of its device's memory, from its configuration alone.

use candle_core::Device;
use engine::Need;

use super::config::BertConfig;
use super::tensors::PADDING_MAX_TOKENS;
use crate::checkpoint::Checkpoint;
use crate::encoder::BUDGET_TOKENS;
use crate::fit::Fit;
use crate::load::{Files, LoadError};
use crate::quality::Quality;

/// Vectors as wide as the residual stream that a layer holds at once: rows, queries, keys, values,
/// attended rows, their sums and norms.
const HIDDEN_VECTORS: u128 = 8;
/// The same on flat rows, with quantised rows and the keys and values of a text in half precision.
const FLAT_HIDDEN_VECTORS: u128 = 12;
/// Vectors as wide as the feed-forward layer: before and after the activation.
const INNER_VECTORS: u128 = 2;
/// Copies of the attention scores: products, scaled, masked, softmax.
const SCORE_COPIES: u128 = 4;

/// The need of a checkpoint; its header and configuration are read, its weights are not. On the CPU
/// words and layers keep their floats, or layers have eight bits and a scale of half precision for 32
/// of them, and positions are in float32; other devices compute in float32.
pub(crate) fn need(files: &Files, device: &Device, fit: Fit) -> Result<Need, LoadError> {
    let config = BertConfig::from_json(files)?;
    let checkpoint = Checkpoint::open(files)?;
    // Wide integers: a configuration may say what no file could hold.
    let [positions, heads, hidden, inner, vocabulary, types] = [
        config.positions,
        config.heads,
        config.hidden,
        config.inner,
        config.vocabulary,
        config.types,
    ]
    .map(|size| size as u128);
    let window = fit.window.map_or(usize::MAX, |window| window as usize);
    let window = config.window().min(window) as u128;
    let float = size_of::<f32>() as u128;
    let elements = u128::from(checkpoint.elements());
    let (words, tables) = (vocabulary * hidden, (positions + types) * hidden);
    let layers = elements.saturating_sub(words + tables);
    let (weights_bytes, numbers) = if device.is_cpu() {
        let stored = u128::from(checkpoint.bytes_per_element());
        let layer_bytes = match fit.quality {
            Quality::Exact => layers * stored,
            Quality::Fast => layers * 34 / 32,
        };
        let numbers = FLAT_HIDDEN_VECTORS * hidden + INNER_VECTORS * inner;
        (words * stored + tables * float + layer_bytes, numbers)
    } else {
        let scores = SCORE_COPIES * heads * window;
        let numbers = HIDDEN_VECTORS * hidden + INNER_VECTORS * inner + scores;
        (elements * float, numbers)
    };
    // A batch of the budget with its padding, or one job that is longer and runs alone.
    let rows = window.max((BUDGET_TOKENS + PADDING_MAX_TOKENS) as u128);
    let bytes = |bytes: u128| u64::try_from(bytes).unwrap_or(u64::MAX);
    Ok(Need {
        weights_bytes: bytes(weights_bytes),
        cache_bytes: 0,
        activation_bytes: bytes(rows * numbers * float),
    })
}
