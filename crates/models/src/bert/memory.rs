//! What a BERT takes of its device's memory, from its configuration alone.

use engine::Need;

use super::config::BertConfig;
use super::{BUDGET_TOKENS, PADDING_MAX_TOKENS};
use crate::checkpoint::Checkpoint;
use crate::load::{Files, LoadError};

/// Vectors as wide as the residual stream that a layer holds at once: rows, queries, keys, values,
/// attended rows, their sums and norms.
const HIDDEN_VECTORS: u128 = 8;
/// Vectors as wide as the feed-forward layer: before and after the activation.
const INNER_VECTORS: u128 = 2;
/// Copies of the attention scores: products, scaled, masked, softmax.
const SCORE_COPIES: u128 = 4;

/// The need of a checkpoint; its header and configuration are read, its weights are not. Arithmetic
/// is in float32 on every device.
pub(crate) fn need(files: &Files) -> Result<Need, LoadError> {
    let config = BertConfig::from_json(files)?;
    let elements = Checkpoint::open(files)?.elements();
    // Wide integers: a configuration may say what no file could hold.
    let [window, heads, hidden, inner] = [
        config.max_position_embeddings,
        config.num_attention_heads,
        config.hidden_size,
        config.intermediate_size,
    ]
    .map(|size| size as u128);
    // A batch of the budget with its padding, or one job that is longer and runs alone.
    let rows = window.max((BUDGET_TOKENS + PADDING_MAX_TOKENS) as u128);
    let numbers = HIDDEN_VECTORS * hidden + INNER_VECTORS * inner + SCORE_COPIES * heads * window;
    let activation_bytes = rows * numbers * size_of::<f32>() as u128;
    Ok(Need {
        weights_bytes: elements * size_of::<f32>() as u64,
        cache_bytes: 0,
        activation_bytes: u64::try_from(activation_bytes).unwrap_or(u64::MAX),
    })
}
