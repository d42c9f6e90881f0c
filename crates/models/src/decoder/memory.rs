//! What a decoder takes of its device's memory, from its configuration alone.

use candle_core::Device;
use engine::model::BLOCK_TOKENS;
use engine::{Need, STEP_MAX_TOKENS};
use kernels::PagedCache;

use super::attention::{ATTENTION_ROWS, has_half_cache};
use super::config::DecoderConfig;
use super::lora::reserved_bytes;
use super::source::Source;
use super::{CACHE_PRECISION, SEQUENCES};
use crate::device::float_type;
use crate::fit::Fit;
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

/// Positions that the cache holds for all sequences together, where one window is shorter: some 25
/// short conversations at once. A longer window needs no more, as one that fills it is rare.
const SHARED_TOKENS: usize = 8 * 1024;
/// Positions without which a cache is of little use; with less memory than for them a load is refused.
const LEAST_TOKENS: usize = 2 * 1024;
/// The cache of a long window, which is seldom used, leaves this part of all memory to weights and
/// to other models.
const LEFT_BY_CACHE: u64 = 2;

/// What the need depends on beside the length of the cache.
struct Shape<'a> {
    config: &'a DecoderConfig,
    weights_bytes: u64,
    /// Of a number of the activations, and of a cache in full precision.
    number_bytes: usize,
    /// Whether keys and values are in half precision and read in place.
    half_cache: bool,
}

/// The need of a checkpoint; its header and configuration are read, its weights are not. A machine's
/// memory that is too small for the whole window gets a shorter cache.
pub(crate) fn need(files: &Files, device: &Device, fit: Fit) -> Result<Need, LoadError> {
    let (source, config) = Source::open(files)?;
    let shape = Shape::new(&source, &config, device);
    Ok(shape.need(shape.blocks(fit), fit))
}

/// Blocks of the KV cache. Their memory is taken only when they are first used, and is set aside
/// from the start: a sequence that has begun always ends.
pub(crate) fn cache_blocks(
    source: &Source,
    config: &DecoderConfig,
    device: &Device,
    fit: Fit,
) -> usize {
    Shape::new(source, config, device).blocks(fit)
}

impl<'a> Shape<'a> {
    fn new(source: &Source, config: &'a DecoderConfig, device: &Device) -> Self {
        let dtype = float_type(device, source.elements());
        Self {
            config,
            weights_bytes: source.weights_bytes(device, dtype),
            number_bytes: dtype.size_in_bytes(),
            half_cache: has_half_cache(CACHE_PRECISION, device, dtype),
        }
    }

    /// The longest sequence that will be asked for.
    fn window(&self, fit: Fit) -> usize {
        let asked = fit.window.map_or(usize::MAX, |window| window as usize);
        self.config.window.min(asked).max(1)
    }

    /// As many as one window or many short sequences need, as far as the memory goes.
    fn blocks(&self, fit: Fit) -> usize {
        let window = self.window(fit);
        let shared = SHARED_TOKENS.min(window.saturating_mul(SEQUENCES));
        let most = window.max(shared).div_ceil(BLOCK_TOKENS);
        let least = most.min(LEAST_TOKENS / BLOCK_TOKENS);
        let Some(memory) = fit.memory_bytes else {
            return most;
        };
        let fits = |blocks: usize| {
            let need = self.need(blocks, fit);
            need.cache_bytes <= memory / LEFT_BY_CACHE && need.total_bytes() <= memory
        };
        // The largest that fits; the need grows with the blocks.
        let (mut low, mut high) = (least, most);
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            if fits(middle) {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        low
    }

    fn need(&self, blocks: usize, fit: Fit) -> Need {
        let (config, number_bytes) = (self.config, self.number_bytes);
        let key_width = config.key_width();
        let cache_rows = blocks * BLOCK_TOKENS;
        // No sequence is longer than the cache.
        let length = self.window(fit).min(cache_rows);
        let block = if self.half_cache {
            PagedCache::block_bytes(config.kv_heads, config.head_size)
        } else {
            2 * BLOCK_TOKENS * key_width * number_bytes
        };
        let cache = config.layers * blocks * block;
        let rows = STEP_MAX_TOKENS
            * (HIDDEN_VECTORS * config.hidden
                + 2 * (config.query_width() + key_width)
                + INNER_VECTORS * config.intermediate)
            * number_bytes;
        // A cache that is read in place needs neither.
        let length = if self.half_cache { 0 } else { length };
        let scores = SCORE_COPIES * config.heads * ATTENTION_ROWS * length * size_of::<f32>();
        let gathered = GATHERED * length * key_width * number_bytes;
        let logits = LOGIT_COPIES * SEQUENCES * config.vocabulary * size_of::<f32>();
        let adapters = if fit.adapters {
            reserved_bytes(config)
        } else {
            0
        };
        Need {
            weights_bytes: self.weights_bytes + adapters,
            cache_bytes: cache as u64,
            activation_bytes: (rows + scores.max(logits) + gathered) as u64,
        }
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
                causal: true,
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
        let shape = |config| Shape {
            config,
            weights_bytes: 97_000_000,
            number_bytes: 4,
            half_cache: false,
        };
        let smollm = shape(&config);
        let free = Fit::default();
        let need = smollm.need(smollm.blocks(free), free);
        let token = 2 * 30 * 3 * 64 * 4;
        assert_eq!(need.cache_bytes, token * 8192, "one window");
        let scores = 9 * 128 * 8192 * 4;
        assert!(
            (2 * scores..5 * scores).contains(&need.activation_bytes),
            "{need}"
        );
        let half = Shape {
            half_cache: true,
            ..shape(&config)
        };
        let less = half.need(half.blocks(free), free);
        assert_eq!(less.cache_bytes, need.cache_bytes / 2);
        assert!(
            less.activation_bytes < need.activation_bytes,
            "no scores are stored"
        );
        let blocks = |shape: &Shape<'_>, window, memory_bytes| {
            let fit = Fit {
                window: Some(window),
                memory_bytes,
                ..Fit::default()
            };
            let blocks = shape.blocks(fit);
            (blocks * BLOCK_TOKENS, shape.need(blocks, fit).total_bytes())
        };
        assert_eq!(blocks(&smollm, 2824, None).0, 8192, "many short ones");
        assert_eq!(blocks(&smollm, 100, None).0, 6400, "all sequences are full");
        let long = DecoderConfig {
            window: 131_072,
            ..config.clone()
        };
        let long = shape(&long);
        assert_eq!(blocks(&long, u32::MAX, None).0, 131_072, "one window fits");
        assert_eq!(blocks(&long, 60_000, None).0, 60_000);
        // Less memory, a shorter cache: as long as half of the memory takes, or what is left of it.
        let memory = 2_000_000_000;
        let (tokens, bytes) = blocks(&long, 60_000, Some(memory));
        let half = (memory / 2 / token) as usize;
        assert!(tokens <= half && tokens + BLOCK_TOKENS > half, "{tokens}");
        assert!(bytes <= memory);
        let (tokens, bytes) = blocks(&smollm, 8192, Some(280_000_000));
        assert!((2500..3000).contains(&tokens), "{tokens}");
        assert!((270_000_000..=280_000_000).contains(&bytes), "{bytes}");
        // With too little there is a need that is refused.
        assert_eq!(blocks(&smollm, 8192, Some(1)).0, LEAST_TOKENS);
    }
}
