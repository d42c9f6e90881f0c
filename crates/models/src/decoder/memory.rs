//! What a decoder takes of its device's memory, from its configuration alone.

use candle_core::Device;
use engine::model::BLOCK_TOKENS;
use engine::{Need, STEP_MAX_TOKENS};

use super::attention::ATTENTION_ROWS;
use super::config::DecoderConfig;
use super::source::Source;
use super::{CACHE_TOKENS, SEQUENCES};
use crate::device::float_type;
use crate::load::{Files, LoadError};

/// Vectors as wide as the residual stream that a layer holds at once: rows, normed rows, attended
/// rows, their sums.
const HIDDEN_VECTORS: usize = 6;
/// Vectors as wide as the feed-forward layer: gate, its activation, up, their product.
const INNER_VECTORS: usize = 4;
/// Copies of the attention scores: products, masked, softmax.
const SCORE_COPIES: usize = 3;
/// Copies of the logits: on the device, in float32, on the host.
const LOGIT_COPIES: usize = 3;
/// Keys and values that are brought together from blocks that do not lie side by side.
const GATHERED: usize = 2;

impl DecoderConfig {
    /// Blocks of the KV cache.
    pub(crate) fn cache_blocks(&self) -> usize {
        CACHE_TOKENS.max(self.window).div_ceil(BLOCK_TOKENS)
    }
}

/// The need of a checkpoint; its header and configuration are read, its weights are not.
pub(crate) fn need(files: &Files, device: &Device) -> Result<Need, LoadError> {
    let (source, config) = Source::open(files)?;
    let dtype = float_type(device, source.elements());
    let weights_bytes = source.weights_bytes(device, dtype);
    Ok(of(&config, weights_bytes, dtype.size_in_bytes()))
}

fn of(config: &DecoderConfig, weights_bytes: u64, number_bytes: usize) -> Need {
    let key_width = config.key_width();
    let cache_rows = config.cache_blocks() * BLOCK_TOKENS;
    let cache = 2 * config.layers * cache_rows * key_width * number_bytes;
    let rows = STEP_MAX_TOKENS
        * (HIDDEN_VECTORS * config.hidden
            + 2 * (config.query_width() + key_width)
            + INNER_VECTORS * config.intermediate)
        * number_bytes;
    let scores = SCORE_COPIES * config.heads * ATTENTION_ROWS * config.window * size_of::<f32>();
    let gathered = GATHERED * config.window * key_width * number_bytes;
    let logits = LOGIT_COPIES * SEQUENCES * config.vocabulary * size_of::<f32>();
    Need {
        weights_bytes,
        cache_bytes: cache as u64,
        activation_bytes: (rows + scores.max(logits) + gathered) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decoder::{
        Activation, Attention, Block, Factors, FeedForward, Norm, NormKind, Rope, Scaling,
    };

    /// SmolLM2-135M: 30 layers with 3 key heads of 64, a window of 8192.
    #[test]
    fn the_need_of_a_known_model() {
        let config = DecoderConfig {
            vocabulary: 49_152,
            hidden: 576,
            intermediate: 1536,
            layers: 30,
            heads: 9,
            kv_heads: 3,
            head_size: 64,
            window: 8192,
            norm: Norm {
                kind: NormKind::RootMeanSquare,
                epsilon: 1e-5,
            },
            block: Block::Sequential,
            attention: Attention {
                scale: 0.125,
                input_bias: false,
                output_bias: false,
                head_norms: false,
                sinks: false,
                soft_cap: None,
            },
            rope: Rope {
                theta: 100_000.0,
                rotated: 64,
                scaling: Scaling::None,
            },
            local: None,
            feed_forward: FeedForward {
                activation: Activation::Silu,
                gated: true,
                bias: false,
            },
            experts: None,
            factors: Factors::default(),
            logit_cap: None,
            head_bias: false,
            tied_head: Some(true),
        };
        let need = of(&config, 538_060_032, 4);
        let token = 2 * 30 * 3 * 64 * 4;
        assert_eq!(need.cache_bytes, token * CACHE_TOKENS as u64);
        let scores = 9 * 128 * 8192 * 4;
        assert!(
            (2 * scores..5 * scores).contains(&need.activation_bytes),
            "{need}"
        );
        let long = DecoderConfig {
            window: 4 * CACHE_TOKENS,
            ..config
        };
        assert_eq!(
            of(&long, 1, 2).cache_bytes,
            token / 2 * 4 * CACHE_TOKENS as u64,
            "one window always fits"
        );
    }
}
