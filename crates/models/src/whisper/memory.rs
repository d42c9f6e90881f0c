//! What a Whisper takes of its device's memory, from its configuration alone.

use candle_core::Device;
use engine::Need;

use super::config::{Config, ENCODER_POSITIONS};
use super::model::{LOGITS_TOGETHER, places};
use super::network::{Places, WINDOWS_TOGETHER};
use crate::audio::mel::FRAMES;
use crate::audio::silero::Silero;
use crate::checkpoint::Checkpoint;
use crate::load::{Files, LoadError};
use crate::quality::Quality;

/// Vectors as wide as the encoder that a layer holds at once on flat rows: hidden, normed, projected three
/// times, queries, keys, values, attended rows, their sums, and quantised rows.
const FLAT_HIDDEN_VECTORS: usize = 11;
/// The same of tensors; the convolution before the layers, which works on twice the positions, holds fewer.
const HIDDEN_VECTORS: usize = 8;
/// Vectors as wide as the feed-forward layer: before and after the activation.
const INNER_VECTORS: usize = 2;
/// Rows of convolutions on flat rows, in widths: three taps of both, and what comes of them.
const CONVOLUTION_VECTORS: usize = 6;
/// Copies of the encoder's attention scores: products, softmax.
const SCORE_COPIES: usize = 2;
/// Copies of the logits: on the device and on the host.
const LOGIT_COPIES: usize = 2;

/// Bytes of one transcript's cache: keys and values in half precision on flat rows, and the keys of the
/// heads of alignment in single; tensors have all in single.
pub(super) fn cache_bytes(config: &Config) -> usize {
    let positions = config.max_target_positions + ENCODER_POSITIONS;
    2 * config.decoder_layers * positions * config.d_model * size_of::<f32>()
}

/// Bytes of the keys and values of one transcript's tokens, in single precision.
pub(super) fn own_cache_bytes(config: &Config) -> usize {
    2 * config.decoder_layers * config.max_target_positions * config.d_model * size_of::<f32>()
}

/// The need of a checkpoint and of the detector of voice, which may join it; its header and configuration are read, its weights are not. On the CPU the
/// layers keep their floats, or eight bits and a scale of half precision for 32 of them; other devices
/// compute in float32.
pub(crate) fn need(files: &Files, device: &Device, quality: Quality) -> Result<Need, LoadError> {
    let config = Config::load(files)?;
    let checkpoint = Checkpoint::open(files)?;
    let elements = checkpoint.elements();
    let float = size_of::<f32>();
    let Places { slots, more } = places(&config);
    // Half precision on flat rows.
    let own_cache = own_cache_bytes(&config) / if device.is_cpu() { 2 } else { 1 };
    let (weights_bytes, encoder) = if device.is_cpu() {
        let convolutions = (3 * config.d_model * (config.num_mel_bins + config.d_model)) as u64;
        let positions = (ENCODER_POSITIONS + config.max_target_positions) * config.d_model;
        let floats = (convolutions + positions as u64).min(elements);
        let layers = elements - floats;
        let layers = match quality {
            Quality::Exact => layers * u64::from(checkpoint.bytes_per_element()),
            Quality::Fast => layers * 34 / 32,
        };
        let vectors = FLAT_HIDDEN_VECTORS * config.d_model + INNER_VECTORS * config.encoder_ffn_dim;
        let convolved = FRAMES * CONVOLUTION_VECTORS * config.d_model;
        (
            floats * float as u64 + layers,
            ENCODER_POSITIONS * vectors + convolved,
        )
    } else {
        let vectors = HIDDEN_VECTORS * config.d_model + INNER_VECTORS * config.encoder_ffn_dim;
        let scores = SCORE_COPIES * config.encoder_attention_heads * ENCODER_POSITIONS;
        (
            elements * float as u64,
            ENCODER_POSITIONS * (WINDOWS_TOGETHER * vectors + scores),
        )
    };
    // A first pass has two rows of each session; beams have a row each.
    let rows = (2 * slots + more).max(LOGITS_TOGETHER);
    let logits = LOGIT_COPIES * rows * config.vocab_size;
    Ok(Need {
        weights_bytes,
        cache_bytes: (slots * cache_bytes(&config) + more * own_cache) as u64,
        activation_bytes: ((encoder + logits) * float + Silero::need_bytes()) as u64,
    })
}
