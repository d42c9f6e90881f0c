//! The layers of Gemma 3 and Qwen 3 on flat rows for the CPU: the texts of a batch follow each other
//! without padding.
//!
//! The shape is a decoder's: norms before (Gemma: and after) attention and feed-forward, rotary positions,
//! norms of the heads, a gated feed-forward. Gemma's tokens see later ones, too, and most of its layers
//! no further than a window on both sides. After transformers' `modeling_gemma3.py` and
//! `modeling_qwen3.py`.

use kernels::{
    Activations, Attention, Backend, CACHE_BLOCK_POSITIONS, Gate, NoBlock, PagedCache, Queries,
    gated, rms_norm,
};

use crate::checkpoint::Checkpoint;
use crate::decoder::{Activation, Block, DecoderConfig, Layout, Rotation};
use crate::dense::Dense;
use crate::encoder::{EncoderWork, Words};
use crate::load::LoadError;
use crate::quality::Quality;

/// The encoder.
#[derive(Debug)]
pub(super) struct FlatLayers {
    config: DecoderConfig,
    gate: Gate,
    words: Words,
    layers: Vec<Layer>,
    norm: Vec<f32>,
    rotation: Rotation,
    /// Of the layers with a window.
    local_rotation: Option<Rotation>,
    /// Keys and values of one text in one layer; used again for the next.
    cache: PagedCache,
    blocks: Vec<u32>,
    rows: Buffers,
}

#[derive(Debug)]
struct Layer {
    attention_norm: Vec<f32>,
    /// Of what attention adds (Gemma).
    attention_post_norm: Option<Vec<f32>>,
    /// Queries, keys and values of a row side by side.
    query_key_value: Dense,
    query_norm: Vec<f32>,
    key_norm: Vec<f32>,
    output: Dense,
    feed_forward_norm: Vec<f32>,
    /// Of what the feed-forward adds (Gemma).
    feed_forward_post_norm: Option<Vec<f32>>,
    gate: Dense,
    up: Dense,
    down: Dense,
    /// The window of a layer that has one.
    window: Option<usize>,
}

/// Used again by each pass.
#[derive(Debug, Default)]
struct Buffers {
    hidden: Vec<f32>,
    normed: Vec<f32>,
    projected: Vec<f32>,
    queries: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
    turned: Vec<f32>,
    attended: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    sums: Vec<f32>,
    activations: Activations,
}

/// Sines and cosines of all positions of the longest text, `[positions, half a head]` each.
struct Turns {
    half: usize,
    sines: Vec<f32>,
    cosines: Vec<f32>,
}

/// Names of tensors: a checkpoint of the model alone has no `model.` before them.
struct Names<'a> {
    checkpoint: &'a Checkpoint,
    layout: &'static Layout,
    is_alone: bool,
}

impl<'a> Names<'a> {
    fn new(checkpoint: &'a Checkpoint, layout: &'static Layout) -> Self {
        let is_alone = !checkpoint.has(&format!("{}.weight", layout.embedding));
        Self {
            checkpoint,
            layout,
            is_alone,
        }
    }

    fn named(&self, name: &str) -> String {
        let alone = name.strip_prefix("model.").filter(|_| self.is_alone);
        alone.unwrap_or(name).to_owned()
    }

    fn within(&self, layer: usize, name: &str) -> String {
        self.named(&format!("{}.{layer}.{name}", self.layout.layers))
    }

    fn norm(&self, name: &str, size: usize) -> Result<Vec<f32>, LoadError> {
        let mut weight = self.checkpoint.floats(&format!("{name}.weight"), &[size])?;
        for weight in &mut weight {
            *weight += self.layout.norm_offset as f32;
        }
        Ok(weight)
    }
}

impl FlatLayers {
    /// Reads the layers; what a configuration asks for beyond them has been refused.
    pub(super) fn read(
        checkpoint: &Checkpoint,
        (config, layout): (DecoderConfig, &'static Layout),
        window: usize,
        quality: Quality,
    ) -> Result<Self, LoadError> {
        let names = Names::new(checkpoint, layout);
        let words = Words::read(
            checkpoint,
            &format!("{}.weight", names.named(layout.embedding)),
            [config.vocabulary, config.hidden],
        )?;
        let layers = (0..config.layers)
            .map(|layer| Layer::read(&names, &config, layer, quality))
            .collect::<Result<_, _>>()?;
        let blocks = window.div_ceil(CACHE_BLOCK_POSITIONS);
        Ok(Self {
            gate: match config.feed_forward.activation {
                Activation::GeluTanh => Gate::GeluTanh,
                Activation::GeluErf => Gate::GeluErf,
                _ => Gate::Silu,
            },
            words,
            layers,
            norm: names.norm(&names.named(layout.final_norm), config.hidden)?,
            rotation: Rotation::new(&config.rope),
            local_rotation: config
                .local
                .as_ref()
                .map(|local| Rotation::new(&local.rope)),
            cache: PagedCache::new(blocks, config.kv_heads, config.head_size),
            blocks: (0..blocks as u32).collect(),
            rows: Buffers::default(),
            config,
        })
    }

    /// The normed vectors of the last layer of all texts, `[tokens of all, hidden]`. The companion has
    /// checked the ids, and that no text is longer than the window.
    pub(super) fn forward(&mut self, texts: &[EncoderWork]) -> Result<&[f32], NoBlock> {
        let rows = &mut self.rows.hidden;
        rows.clear();
        for token in texts.iter().flat_map(|text| &text.tokens) {
            self.words.append(*token, rows);
        }
        if let Some(factor) = self.config.factors.embedding {
            for value in rows.iter_mut() {
                *value *= factor as f32;
            }
        }
        let longest = texts.iter().map(|text| text.tokens.len()).max();
        let turns = |rotation: &Rotation| {
            let (sines, cosines) = rotation.turns(0..longest.unwrap_or(0));
            let half = self.config.head_size / 2;
            Turns {
                half,
                sines,
                cosines,
            }
        };
        let all = turns(&self.rotation);
        let local = self.local_rotation.as_ref().map(turns);
        for layer in 0..self.layers.len() {
            let turns = match (&local, self.layers[layer].window) {
                (Some(local), Some(_)) => local,
                _ => &all,
            };
            self.attend(layer, texts, turns)?;
            self.feed_forward(layer);
        }
        let epsilon = self.config.norm.epsilon as f32;
        let Buffers { hidden, normed, .. } = &mut self.rows;
        norm(hidden, &self.norm, epsilon, normed);
        Ok(normed)
    }

    /// `hidden += attention(norm(hidden))`, with a norm of what is added where the layer has one.
    fn attend(
        &mut self,
        layer: usize,
        texts: &[EncoderWork],
        turns: &Turns,
    ) -> Result<(), NoBlock> {
        let (config, layer, rows) = (&self.config, &self.layers[layer], &mut self.rows);
        let epsilon = config.norm.epsilon as f32;
        norm(
            &rows.hidden,
            &layer.attention_norm,
            epsilon,
            &mut rows.normed,
        );
        layer
            .query_key_value
            .forward(&rows.normed, &mut rows.projected, &mut rows.activations);
        let (width, key_width) = (config.query_width(), config.key_width());
        for part in [&mut rows.queries, &mut rows.keys, &mut rows.values] {
            part.clear();
        }
        for row in rows.projected.chunks_exact(width + 2 * key_width) {
            rows.queries.extend_from_slice(&row[..width]);
            rows.keys.extend_from_slice(&row[width..width + key_width]);
            rows.values.extend_from_slice(&row[width + key_width..]);
        }
        for (part, weight, width) in [
            (&mut rows.queries, &layer.query_norm, width),
            (&mut rows.keys, &layer.key_norm, key_width),
        ] {
            norm(part, weight, epsilon, &mut rows.turned);
            std::mem::swap(part, &mut rows.turned);
            turns.turn(part, width, texts);
        }
        rows.attended.resize(rows.queries.len(), 0.0);
        let attention = Attention {
            heads: config.heads,
            scale: config.attention.scale as f32,
            soft_cap: None,
            causal: config.attention.causal,
            window: layer.window,
            sinks: None,
        };
        let mut first = 0;
        for text in texts {
            let last = first + text.tokens.len();
            let lines = first * key_width..last * key_width;
            self.cache.write(
                &rows.keys[lines.clone()],
                &rows.values[lines],
                0,
                &self.blocks,
            )?;
            let lines = first * width..last * width;
            let queries = Queries {
                rows: &rows.queries[lines.clone()],
                start: 0,
                blocks: &self.blocks,
            };
            let out = &mut rows.attended[lines];
            attention.run(&self.cache, queries, out, Backend::best())?;
            first = last;
        }
        layer
            .output
            .forward(&rows.attended, &mut rows.sums, &mut rows.activations);
        rows.add(layer.attention_post_norm.as_deref(), epsilon);
        Ok(())
    }

    /// `hidden += down(gate(norm(hidden)) * up(norm(hidden)))`, with a norm of what is added where the
    /// layer has one.
    fn feed_forward(&mut self, layer: usize) {
        let (layer, rows) = (&self.layers[layer], &mut self.rows);
        let epsilon = self.config.norm.epsilon as f32;
        norm(
            &rows.hidden,
            &layer.feed_forward_norm,
            epsilon,
            &mut rows.normed,
        );
        layer
            .gate
            .forward(&rows.normed, &mut rows.gate, &mut rows.activations);
        layer
            .up
            .forward(&rows.normed, &mut rows.up, &mut rows.activations);
        gated(self.gate, &mut rows.gate, Some(&rows.up), Backend::best());
        layer
            .down
            .forward(&rows.gate, &mut rows.sums, &mut rows.activations);
        rows.add(layer.feed_forward_post_norm.as_deref(), epsilon);
    }
}

impl Layer {
    fn read(
        names: &Names<'_>,
        config: &DecoderConfig,
        layer: usize,
        quality: Quality,
    ) -> Result<Self, LoadError> {
        let layout = names.layout;
        let (hidden, inner) = (config.hidden, config.intermediate);
        let (queries, keys) = (config.query_width(), config.key_width());
        let norm = |name: &str, size| names.norm(&names.within(layer, name), size);
        let sandwiched = config.block == Block::Sandwiched;
        let post = |name: &str| sandwiched.then(|| norm(name, hidden)).transpose();
        let dense = |parts: &[(&str, usize)], inputs| {
            let parts: Vec<_> = parts
                .iter()
                .map(|(name, outputs)| (names.within(layer, name), *outputs))
                .collect();
            Dense::read(names.checkpoint, &parts, inputs, quality)
        };
        let projections = [
            (layout.query, queries),
            (layout.key, keys),
            (layout.value, keys),
        ];
        Ok(Self {
            attention_norm: norm(layout.attention_norm, hidden)?,
            attention_post_norm: post(layout.attention_post_norm)?,
            query_key_value: dense(&projections, hidden)?,
            query_norm: norm(layout.query_norm, config.head_size)?,
            key_norm: norm(layout.key_norm, config.head_size)?,
            output: dense(&[(layout.output, hidden)], queries)?,
            feed_forward_norm: norm(layout.feed_forward_norm, hidden)?,
            feed_forward_post_norm: post(layout.feed_forward_post_norm)?,
            gate: dense(&[(layout.feed_forward.gate, inner)], hidden)?,
            up: dense(&[(layout.feed_forward.up, inner)], hidden)?,
            down: dense(&[(layout.feed_forward.down, hidden)], inner)?,
            window: config.local(layer).map(|local| local.window),
        })
    }
}

impl Buffers {
    /// `hidden += sums`, or their norm.
    fn add(&mut self, post_norm: Option<&[f32]>, epsilon: f32) {
        let sums = match post_norm {
            Some(weight) => {
                norm(&self.sums, weight, epsilon, &mut self.normed);
                &self.normed
            }
            None => &self.sums,
        };
        for (value, sum) in self.hidden.iter_mut().zip(sums) {
            *value += sum;
        }
    }
}

impl Turns {
    /// Rotates each head of `[tokens of all texts, width]` by the position of its token (Su et al.
    /// 2021), halves of a head paired.
    fn turn(&self, rows: &mut [f32], width: usize, texts: &[EncoderWork]) {
        let half = self.half;
        let positions = texts.iter().flat_map(|text| 0..text.tokens.len());
        for (row, position) in rows.chunks_exact_mut(width).zip(positions) {
            let place = position * half..(position + 1) * half;
            let (sines, cosines) = (&self.sines[place.clone()], &self.cosines[place]);
            for head in row.chunks_exact_mut(2 * half) {
                let (low, high) = head.split_at_mut(half);
                for ((low, high), (sine, cosine)) in
                    low.iter_mut().zip(high).zip(sines.iter().zip(cosines))
                {
                    let (x, y) = (*low, *high);
                    *low = x * cosine - y * sine;
                    *high = y * cosine + x * sine;
                }
            }
        }
    }
}

/// A norm of each run of `weight.len()` numbers, in place of what `out` held.
fn norm(rows: &[f32], weight: &[f32], epsilon: f32, out: &mut Vec<f32>) {
    out.resize(rows.len(), 0.0);
    rms_norm(rows, weight, epsilon, out, Backend::best());
}
