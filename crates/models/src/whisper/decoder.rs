//! The decoder over a ragged batch: rows of many transcripts in one tensor, attention for each.

use std::ops::Range;

use candle_core::{DType, Device, Result, Tensor};

use super::config::{Config, ENCODER_POSITIONS, Head};
use super::layers::{Attention, FeedForward, Norm, Weights, attend, joined};
use super::network::Part;
use crate::load::LoadError;

pub(super) struct Decoder {
    /// `[vocabulary, width]`; also projects to logits.
    embed_tokens: Tensor,
    /// `[window, width]`.
    embed_positions: Tensor,
    layers: Vec<DecoderLayer>,
    layer_norm: Norm,
    cache: CacheSize,
    device: Device,
}

struct DecoderLayer {
    self_attn_layer_norm: Norm,
    self_attn: Attention,
    encoder_attn_layer_norm: Norm,
    encoder_attn: Attention,
    final_layer_norm: Norm,
    feed_forward: FeedForward,
}

/// `[heads, window, width of a head]`.
#[derive(Clone, Copy)]
struct CacheSize {
    heads: usize,
    window: usize,
    head_width: usize,
}

/// Keys and values of one transcript's tokens, filled as they come: for each layer
/// `[heads, window, head width]`.
pub(super) struct OwnCache(Vec<(Tensor, Tensor)>);

impl OwnCache {
    /// One with memory of its own.
    pub(super) fn copy(&self) -> Result<Self> {
        let copy = |(keys, values): &(Tensor, Tensor)| Ok((keys.copy()?, values.copy()?));
        Ok(Self(self.0.iter().map(copy).collect::<Result<_>>()?))
    }
}

/// Keys and values of the encoder's states of one window: for each layer
/// `[heads, ENCODER_POSITIONS, head width]`.
pub(super) struct HeardCache(Vec<(Tensor, Tensor)>);

/// Both caches of a transcript.
type Caches<'a> = (&'a OwnCache, &'a HeardCache);

/// The heads whose scores are wanted, and over how many positions of the sound.
type Wanted<'a> = Option<(&'a [Head], usize)>;

/// Rows and cache of one transcript within a pass.
struct Span<'a> {
    rows: Range<usize>,
    /// Position of the first row.
    start: usize,
    own: &'a OwnCache,
    heard: &'a HeardCache,
}

impl Decoder {
    pub(super) fn load(weights: &Weights, config: &Config) -> std::result::Result<Self, LoadError> {
        let width = config.d_model;
        let heads = config.decoder_attention_heads;
        Ok(Self {
            embed_tokens: weights.tensor("embed_tokens.weight", &[config.vocab_size, width])?,
            embed_positions: weights.tensor(
                "embed_positions.weight",
                &[config.max_target_positions, width],
            )?,
            layers: (0..config.decoder_layers)
                .map(|index| DecoderLayer::load(&weights.pp("layers").pp(index), config))
                .collect::<std::result::Result<_, _>>()?,
            layer_norm: Norm::load(&weights.pp("layer_norm"), width)?,
            cache: CacheSize {
                heads,
                window: config.max_target_positions,
                head_width: width / heads,
            },
            device: weights.device().clone(),
        })
    }

    /// A cache for the tokens of one transcript.
    pub(super) fn own_cache(&self) -> Result<OwnCache> {
        let CacheSize {
            heads,
            window,
            head_width,
        } = self.cache;
        let empty = || Tensor::zeros((heads, window, head_width), DType::F32, &self.device);
        let layers = self.layers.iter().map(|_| Ok((empty()?, empty()?)));
        Ok(OwnCache(layers.collect::<Result<_>>()?))
    }

    /// For each window of encoder states `[windows * ENCODER_POSITIONS, width]` its keys and values.
    pub(super) fn listen(&self, states: &Tensor) -> Result<Vec<HeardCache>> {
        let windows = states.dim(0)? / ENCODER_POSITIONS;
        let mut caches: Vec<_> = (0..windows).map(|_| HeardCache(Vec::new())).collect();
        for layer in &self.layers {
            let (k, v) = layer.encoder_attn.keys_values(states)?;
            for (window, cache) in caches.iter_mut().enumerate() {
                let own = |rows: &Tensor| {
                    let first = window * ENCODER_POSITIONS;
                    let rows = rows.narrow(0, first, ENCODER_POSITIONS)?;
                    layer.encoder_attn.split(&rows)
                };
                cache.0.push((own(&k)?, own(&v)?));
            }
        }
        Ok(caches)
    }

    /// One pass over all rows of the parts, each with its cache. Positions must lie within the window and
    /// tokens within the vocabulary. Gives the rows `[rows, width]` behind the last layer, and the scores of
    /// wanted heads.
    pub(super) fn forward(
        &self,
        parts: &[Part<'_>],
        caches: &[Caches<'_>],
        wanted: Wanted<'_>,
    ) -> Result<(Tensor, Vec<f32>)> {
        let mut first = 0;
        let spans: Vec<_> = parts
            .iter()
            .zip(caches)
            .map(|(part, (own, heard))| {
                let rows = first..first + part.tokens.len();
                first = rows.end;
                Span {
                    rows,
                    start: part.start,
                    own,
                    heard,
                }
            })
            .collect();
        let positions: Vec<u32> = spans
            .iter()
            .flat_map(|span| (span.start..span.start + span.rows.len()).map(|p| p as u32))
            .collect();
        let tokens: Vec<u32> = parts.iter().flat_map(|part| part.tokens).copied().collect();
        let tokens = Tensor::new(tokens, &self.device)?;
        let positions = Tensor::new(positions, &self.device)?;
        let mut x = self
            .embed_tokens
            .index_select(&tokens, 0)?
            .add(&self.embed_positions.index_select(&positions, 0)?)?;
        let mut scores: Vec<Option<Vec<f32>>> =
            vec![None; wanted.map_or(0, |(heads, _)| heads.len())];
        for (index, layer) in self.layers.iter().enumerate() {
            x = layer.forward(&x, index, &spans, (wanted, &mut scores), &self.device)?;
        }
        Ok((x, scores.into_iter().flatten().flatten().collect()))
    }

    /// Logits `[wanted.len(), vocabulary]`, row-major, of some of [`Decoder::forward`]'s rows.
    pub(super) fn logits(&self, rows: &Tensor, wanted: &[usize]) -> Result<Vec<f32>> {
        let wanted: Vec<u32> = wanted.iter().map(|&row| row as u32).collect();
        let x = rows.index_select(&Tensor::new(wanted, &self.device)?, 0)?;
        self.layer_norm
            .forward(&x)?
            .matmul(&self.embed_tokens.t()?)?
            .flatten_all()?
            .to_vec1()
    }
}

impl DecoderLayer {
    fn load(weights: &Weights, config: &Config) -> std::result::Result<Self, LoadError> {
        let width = config.d_model;
        let heads = config.decoder_attention_heads;
        Ok(Self {
            self_attn_layer_norm: Norm::load(&weights.pp("self_attn_layer_norm"), width)?,
            self_attn: Attention::load(&weights.pp("self_attn"), width, heads)?,
            encoder_attn_layer_norm: Norm::load(&weights.pp("encoder_attn_layer_norm"), width)?,
            encoder_attn: Attention::load(&weights.pp("encoder_attn"), width, heads)?,
            final_layer_norm: Norm::load(&weights.pp("final_layer_norm"), width)?,
            feed_forward: FeedForward::load(weights, width, config.decoder_ffn_dim)?,
        })
    }

    /// `index` is the layer's own, to find its share of each cache.
    fn forward(
        &self,
        x: &Tensor,
        index: usize,
        parts: &[Span<'_>],
        (wanted, scores): (Wanted<'_>, &mut [Option<Vec<f32>>]),
        device: &Device,
    ) -> Result<Tensor> {
        let normed = self.self_attn_layer_norm.forward(x)?;
        let q = self.self_attn.queries(&normed)?;
        let (k, v) = self.self_attn.keys_values(&normed)?;
        let attended = each(parts, |part, rows| {
            let (keys, values) = &part.own.0[index];
            let take = |x: &Tensor| self.self_attn.split(&x.narrow(0, rows.start, rows.len())?);
            keys.slice_set(&take(&k)?, 1, part.start)?;
            values.slice_set(&take(&v)?, 1, part.start)?;
            let seen = part.start + rows.len();
            let mask = (rows.len() > 1)
                .then(|| causal_mask(part.start, rows.len(), device))
                .transpose()?;
            let (keys, values) = (keys.narrow(1, 0, seen)?, values.narrow(1, 0, seen)?);
            attend(&take(&q)?, &keys, &values, mask.as_ref())
        })?;
        let x = (x + self.self_attn.output(&attended)?)?;

        let q = self
            .encoder_attn
            .queries(&self.encoder_attn_layer_norm.forward(&x)?)?;
        if let (Some((heads, positions)), [part]) = (wanted, parts) {
            let (q, (keys, _)) = (self.encoder_attn.split(&q)?, &part.heard.0[index]);
            for (head, scores) in heads.iter().zip(scores) {
                if head.layer == index {
                    let keys = keys.get(head.head)?.narrow(0, 0, positions)?;
                    let found = q.get(head.head)?.matmul(&keys.t()?)?;
                    *scores = Some(found.flatten_all()?.to_vec1()?);
                }
            }
        }
        let attended = each(parts, |part, rows| {
            let (keys, values) = &part.heard.0[index];
            let q = self
                .encoder_attn
                .split(&q.narrow(0, rows.start, rows.len())?)?;
            attend(&q, keys, values, None)
        })?;
        let x = (x + self.encoder_attn.output(&attended)?)?;
        let normed = self.final_layer_norm.forward(&x)?;
        x + self.feed_forward.forward(&normed)?
    }
}

/// Runs `attention` for each part and puts the rows back together.
fn each(
    parts: &[Span<'_>],
    attention: impl Fn(&Span<'_>, Range<usize>) -> Result<Tensor>,
) -> Result<Tensor> {
    let rows: Vec<_> = parts
        .iter()
        .map(|part| attention(part, part.rows.clone()))
        .collect::<Result<_>>()?;
    joined(rows)
}

/// `[rows, start + rows]`: each row sees the positions up to its own.
fn causal_mask(start: usize, rows: usize, device: &Device) -> Result<Tensor> {
    let seen = start + rows;
    let mask: Vec<f32> = (0..rows)
        .flat_map(|row| {
            (0..seen).map(move |p| {
                if p <= start + row {
                    0.0
                } else {
                    f32::NEG_INFINITY
                }
            })
        })
        .collect();
    Tensor::from_vec(mask, (rows, seen), device)
}
