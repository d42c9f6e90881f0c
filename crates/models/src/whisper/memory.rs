//! What a Whisper takes of its device's memory, from its configuration alone.

use engine::Need;

use super::config::{Config, ENCODER_POSITIONS};
use super::decoder::Decoder;
use super::model::sequences;
use crate::checkpoint::Checkpoint;
use crate::load::{Files, LoadError};

/// Vectors as wide as the encoder that a layer holds at once; the convolution before it, which works
/// on twice the positions, holds fewer.
const HIDDEN_VECTORS: usize = 8;
/// Vectors as wide as the feed-forward layer: before and after the activation.
const INNER_VECTORS: usize = 2;
/// Copies of the encoder's attention scores: products, softmax.
const SCORE_COPIES: usize = 2;
/// Copies of the logits: on the device and on the host.
const LOGIT_COPIES: usize = 2;

/// The need of a checkpoint; its header and configuration are read, its weights are not. Arithmetic
/// is in float32 on every device.
pub(crate) fn need(files: &Files) -> Result<Need, LoadError> {
    let config = Config::load(files)?;
    let elements = Checkpoint::open(files)?.elements();
    let sequences = sequences(&config);
    let vectors = HIDDEN_VECTORS * config.d_model + INNER_VECTORS * config.encoder_ffn_dim;
    let scores = SCORE_COPIES * config.encoder_attention_heads * ENCODER_POSITIONS;
    let encoder = ENCODER_POSITIONS * (vectors + scores) * size_of::<f32>();
    let logits = LOGIT_COPIES * sequences * config.vocab_size * size_of::<f32>();
    Ok(Need {
        weights_bytes: elements * size_of::<f32>() as u64,
        cache_bytes: (sequences * Decoder::cache_bytes(&config)) as u64,
        activation_bytes: (encoder + logits) as u64,
    })
}
