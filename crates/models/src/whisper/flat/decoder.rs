//! The decoder on flat rows: rows of many transcripts follow each other, attention is each one's own.

use std::ops::Range;

use kernels::{
    Attention, Backend, CACHE_BLOCK_POSITIONS, FloatLinear, NoBlock, PagedCache, Queries,
};

use super::layer::{Buffers, FeedForward, LayerReader, SelfAttention, to_all};
use super::linear::{Linear, Norm, add};
use crate::checkpoint::Checkpoint;
use crate::load::LoadError;
use crate::quality::Quality;
use crate::whisper::align::Scores;
use crate::whisper::config::{Config, ENCODER_POSITIONS, Head};
use crate::whisper::network::{Part, Places};

/// Blocks of what one transcript heard.
const HEARD_BLOCKS: usize = ENCODER_POSITIONS.div_ceil(CACHE_BLOCK_POSITIONS);

#[derive(Debug)]
pub(super) struct Decoder {
    width: usize,
    heads: usize,
    /// `[vocabulary, width]`; also projects to logits.
    tokens: Linear,
    /// `[window, width]`.
    positions: Vec<f32>,
    layers: Vec<Layer>,
    norm: Norm,
    /// Blocks of one transcript's own tokens.
    own_blocks: usize,
    alignment: Vec<Head>,
    /// Of each slot, the keys of the sound in each head of `alignment`, `[ENCODER_POSITIONS, head width]`.
    heard_keys: Vec<Vec<Vec<f32>>>,
    rows: Buffers,
}

#[derive(Debug)]
struct Layer {
    own: SelfAttention,
    heard_norm: Norm,
    heard_query: Linear,
    /// Keys and values side by side.
    heard: Linear,
    heard_output: Linear,
    feed_forward: FeedForward,
    /// Keys and values of the tokens of all transcripts.
    own_cache: PagedCache,
    /// Keys and values of the sound of all slots.
    heard_cache: PagedCache,
}

impl Decoder {
    pub(super) fn read(
        checkpoint: &Checkpoint,
        config: &Config,
        alignment: &[Head],
        places: Places,
        quality: Quality,
    ) -> Result<Self, LoadError> {
        const PREFIX: &str = "model.decoder";
        let (width, heads) = (config.d_model, config.decoder_attention_heads);
        let own_blocks = config.max_target_positions.div_ceil(CACHE_BLOCK_POSITIONS);
        let cache = |blocks: usize| PagedCache::new(blocks, heads, width / heads);
        let layer = |index: usize| -> Result<Layer, LoadError> {
            let reader = LayerReader {
                checkpoint,
                prefix: format!("{PREFIX}.layers.{index}."),
                width,
                inner: config.decoder_ffn_dim,
                quality,
            };
            Ok(Layer {
                own: reader.self_attention()?,
                heard_norm: reader.norm("encoder_attn_layer_norm")?,
                heard_query: reader.square(&[("encoder_attn.q_proj", true)])?,
                heard: reader.square(&[
                    ("encoder_attn.k_proj", false),
                    ("encoder_attn.v_proj", true),
                ])?,
                heard_output: reader.square(&[("encoder_attn.out_proj", true)])?,
                feed_forward: reader.feed_forward()?,
                own_cache: cache(places.caches() * own_blocks),
                heard_cache: cache(places.slots * HEARD_BLOCKS),
            })
        };
        Ok(Self {
            width,
            heads,
            tokens: Linear::read(
                checkpoint,
                &format!("{PREFIX}."),
                &[("embed_tokens", false)],
                (config.vocab_size, width),
                quality,
            )?,
            positions: checkpoint.floats(
                &format!("{PREFIX}.embed_positions.weight"),
                &[config.max_target_positions, width],
            )?,
            layers: (0..config.decoder_layers)
                .map(layer)
                .collect::<Result<_, _>>()?,
            norm: Norm::read(checkpoint, &format!("{PREFIX}.layer_norm"), width)?,
            own_blocks,
            alignment: alignment.to_vec(),
            heard_keys: vec![Vec::new(); places.slots],
            rows: Buffers::default(),
        })
    }

    /// Keeps the keys and values of encoder states `[ENCODER_POSITIONS, width]` for a slot.
    pub(super) fn listen(&mut self, slot: usize, states: &[f32]) -> Result<(), NoBlock> {
        let (width, head_width, rows) = (self.width, self.width / self.heads, &mut self.rows);
        let blocks = blocks(slot, HEARD_BLOCKS);
        let mut kept = vec![Vec::new(); self.alignment.len()];
        for (index, layer) in self.layers.iter_mut().enumerate() {
            layer
                .heard
                .forward(states, &mut rows.projected, &mut rows.activations);
            rows.keys.clear();
            rows.values.clear();
            for row in rows.projected.chunks_exact(2 * width) {
                rows.keys.extend_from_slice(&row[..width]);
                rows.values.extend_from_slice(&row[width..]);
            }
            layer
                .heard_cache
                .write(&rows.keys, &rows.values, 0, &blocks)?;
            for (head, kept) in self.alignment.iter().zip(&mut kept) {
                if head.layer == index {
                    let first = head.head * head_width;
                    for row in rows.keys.chunks_exact(width) {
                        kept.extend_from_slice(&row[first..first + head_width]);
                    }
                }
            }
        }
        self.heard_keys[slot] = kept;
        Ok(())
    }

    /// One pass over all rows of `parts`; their logits `[wanted.len(), vocabulary]` of the rows `wanted`.
    pub(super) fn forward(
        &mut self,
        parts: &[Part<'_>],
        wanted: &[usize],
    ) -> Result<Vec<f32>, NoBlock> {
        self.run(parts, |_, _| {})?;
        Ok(self.logits(wanted))
    }

    /// One pass over a part, and what its heads of alignment make of the first `positions` of the sound.
    /// The logits of its rows are those of [`Decoder::logits`] until the next pass.
    pub(super) fn scores(&mut self, part: Part<'_>, positions: usize) -> Result<Scores, NoBlock> {
        let (heads, slot) = (self.alignment.clone(), part.slot);
        let (width, head_width) = (self.width, self.width / self.heads);
        let mut queries = vec![Vec::new(); heads.len()];
        self.run(&[part], |layer, rows| {
            for (head, kept) in heads.iter().zip(&mut queries) {
                if head.layer == layer {
                    let first = head.head * head_width;
                    for row in rows.chunks_exact(width) {
                        kept.extend_from_slice(&row[first..first + head_width]);
                    }
                }
            }
        })?;
        let rows = part.tokens.len();
        let size = rows * positions;
        let mut values = vec![0.0; heads.len() * size];
        let scale = (head_width as f32).powf(-0.5);
        let heard = self.heard_keys[slot].iter().zip(&mut queries);
        for (out, (keys, queries)) in values.chunks_exact_mut(size).zip(heard) {
            for value in queries.iter_mut() {
                *value *= scale;
            }
            let keys = keys.get(..positions * head_width).ok_or(NoBlock {
                position: positions,
            })?;
            FloatLinear::from_floats(keys, positions, head_width).multiply(
                queries,
                out,
                Backend::best(),
            );
        }
        Ok(Scores {
            values,
            rows,
            positions,
        })
    }

    /// Makes the first positions of a cache of tokens those of another.
    pub(super) fn copy(&mut self, from: usize, to: usize, positions: usize) -> Result<(), NoBlock> {
        let count = positions.div_ceil(CACHE_BLOCK_POSITIONS);
        let (from, to) = (blocks(from, self.own_blocks), blocks(to, self.own_blocks));
        for layer in &mut self.layers {
            for (from, to) in from.iter().zip(&to).take(count) {
                layer.own_cache.copy(*from, *to)?;
            }
        }
        Ok(())
    }

    /// All layers over all rows; `heard` is shown each layer's queries to the sound.
    fn run(
        &mut self,
        parts: &[Part<'_>],
        mut heard: impl FnMut(usize, &[f32]),
    ) -> Result<(), NoBlock> {
        self.embed(parts);
        let spans = spans(parts, self.width);
        for index in 0..self.layers.len() {
            self.attend_to_own(index, parts, &spans)?;
            self.attend_to_heard(index, parts, &spans, &mut heard)?;
            self.layers[index].feed_forward.forward(&mut self.rows);
        }
        Ok(())
    }

    fn embed(&mut self, parts: &[Part<'_>]) {
        let width = self.width;
        let rows: usize = parts.iter().map(|part| part.tokens.len()).sum();
        self.rows.hidden.resize(rows * width, 0.0);
        let mut places = self.rows.hidden.chunks_exact_mut(width);
        for part in parts {
            let positions = self.positions[part.start * width..].chunks_exact(width);
            for ((&token, position), place) in part.tokens.iter().zip(positions).zip(&mut places) {
                self.tokens.row(token as usize, place);
                add(place, position);
            }
        }
    }

    fn attend_to_own(
        &mut self,
        index: usize,
        parts: &[Part<'_>],
        spans: &[Range<usize>],
    ) -> Result<(), NoBlock> {
        let (layer, rows) = (&mut self.layers[index], &mut self.rows);
        layer.own.project(rows);
        let attention = Attention {
            causal: true,
            ..to_all(self.heads, self.width)
        };
        for (part, span) in parts.iter().zip(spans) {
            let blocks = blocks(part.cache, self.own_blocks);
            let (keys, values) = (&rows.keys[span.clone()], &rows.values[span.clone()]);
            layer.own_cache.write(keys, values, part.start, &blocks)?;
            let queries = Queries {
                rows: &rows.queries[span.clone()],
                start: part.start,
                blocks: &blocks,
            };
            let out = &mut rows.attended[span.clone()];
            attention.run(&layer.own_cache, queries, out, Backend::best())?;
        }
        rows.add_attended(&layer.own.output);
        Ok(())
    }

    fn attend_to_heard(
        &mut self,
        index: usize,
        parts: &[Part<'_>],
        spans: &[Range<usize>],
        heard: &mut impl FnMut(usize, &[f32]),
    ) -> Result<(), NoBlock> {
        let (layer, rows) = (&self.layers[index], &mut self.rows);
        layer.heard_norm.forward(&rows.hidden, &mut rows.normed);
        layer
            .heard_query
            .forward(&rows.normed, &mut rows.queries, &mut rows.activations);
        heard(index, &rows.queries);
        rows.attended.resize(rows.queries.len(), 0.0);
        let attention = to_all(self.heads, self.width);
        for (part, span) in parts.iter().zip(spans) {
            let queries = Queries {
                rows: &rows.queries[span.clone()],
                // The rows stand at the end, so that they see all positions.
                start: ENCODER_POSITIONS - part.tokens.len(),
                blocks: &blocks(part.slot, HEARD_BLOCKS),
            };
            let out = &mut rows.attended[span.clone()];
            attention.run(&layer.heard_cache, queries, out, Backend::best())?;
        }
        rows.add_attended(&layer.heard_output);
        Ok(())
    }

    /// Logits of rows of the last pass.
    pub(super) fn logits(&mut self, wanted: &[usize]) -> Vec<f32> {
        let (width, rows) = (self.width, &mut self.rows);
        rows.sums.clear();
        for &row in wanted {
            rows.sums
                .extend_from_slice(&rows.hidden[row * width..][..width]);
        }
        self.norm.forward(&rows.sums, &mut rows.normed);
        let mut logits = Vec::new();
        self.tokens
            .forward(&rows.normed, &mut logits, &mut rows.activations);
        logits
    }
}

/// The blocks of a slot that has `count` of them.
fn blocks(slot: usize, count: usize) -> Vec<u32> {
    let first = (slot * count) as u32;
    (first..first + count as u32).collect()
}

/// Where the rows of each part lie.
fn spans(parts: &[Part<'_>], width: usize) -> Vec<Range<usize>> {
    let mut first = 0;
    parts
        .iter()
        .map(|part| {
            let span = first..first + part.tokens.len() * width;
            first = span.end;
            span
        })
        .collect()
}
