//! What these encoders take of the memory, from their configuration alone.

use engine::Need;
use kernels::{CACHE_BLOCK_POSITIONS, PagedCache};

use super::Shape;
use crate::checkpoint::Checkpoint;
use crate::encoder::BUDGET_TOKENS;
use crate::fit::Fit;
use crate::load::{Files, LoadError};
use crate::quality::Quality;

/// Vectors as wide as the residual stream that a layer holds at once: rows, normed, added, and rows in
/// eight bits.
const HIDDEN_VECTORS: u128 = 4;
/// Vectors as wide as the queries: projected, apart, turned, attended.
const QUERY_VECTORS: u128 = 4;
/// The same of keys and of values.
const KEY_VECTORS: u128 = 6;
/// Vectors as wide as the feed-forward: gate, up, and the gate in eight bits.
const INNER_VECTORS: u128 = 3;

/// The need of a checkpoint; its headers and configurations are read, its weights are not. Words keep
/// their floats, and so do layers, or they have eight bits and a scale of half precision for 32 of
/// them.
pub(crate) fn need(files: &Files, fit: Fit) -> Result<Need, LoadError> {
    let Shape {
        config,
        modules,
        window,
        ..
    } = Shape::read(files, fit)?;
    let checkpoint = Checkpoint::open(files)?;
    let float = size_of::<f32>() as u128;
    let stored = u128::from(checkpoint.bytes_per_element());
    let words = config.vocabulary as u128 * config.hidden as u128;
    let layers = u128::from(checkpoint.elements()).saturating_sub(words);
    let layer_bytes = match fit.quality {
        Quality::Exact => layers * stored,
        Quality::Fast => layers * 34 / 32,
    };
    let after = u128::from(modules.elements()) * float;
    let numbers = HIDDEN_VECTORS * config.hidden as u128
        + QUERY_VECTORS * config.query_width() as u128
        + KEY_VECTORS * config.key_width() as u128
        + INNER_VECTORS * config.intermediate as u128;
    // A batch of the budget, or one job that is longer and runs alone.
    let rows = window.max(BUDGET_TOKENS) as u128;
    let blocks = window.div_ceil(CACHE_BLOCK_POSITIONS) as u128;
    let block = PagedCache::block_bytes(config.kv_heads, config.head_size) as u128;
    let bytes = |bytes: u128| u64::try_from(bytes).unwrap_or(u64::MAX);
    Ok(Need {
        weights_bytes: bytes(words * stored + layer_bytes + after),
        cache_bytes: bytes(blocks * block),
        activation_bytes: bytes(rows * numbers * float),
    })
}
