//! The encoder on flat rows for the CPU: the texts of a batch follow each other without padding.
//!
//! After transformers' `modeling_bert.py`: word, type and position vectors, then layers of attention
//! and feed-forward, each added to its input and normalised (Devlin et al. 2018; the norm comes
//! last).

use kernels::{
    Activations, Attention, Backend, CACHE_BLOCK_POSITIONS, Gate, NoBlock, PagedCache, Queries,
    gated, layer_norm,
};

use super::config::BertConfig;
use super::names::{NORM, POSITIONS, WORDS};
use crate::checkpoint::Checkpoint;
use crate::dense::Dense;
use crate::encoder::{EncoderWork, Words};
use crate::load::LoadError;
use crate::quality::Quality;

/// The encoder.
#[derive(Debug)]
pub(super) struct FlatBert {
    hidden: usize,
    heads: usize,
    epsilon: f32,
    gate: Gate,
    words: Words,
    /// `[positions, hidden]`, from the first token's on.
    positions: Vec<f32>,
    /// Of the first text's tokens and of the second's, `[2, hidden]`; a family without types has zeros.
    types: [Vec<f32>; 2],
    norm: Norm,
    layers: Vec<Layer>,
    /// Keys and values of one text in one layer; used again for the next.
    cache: PagedCache,
    blocks: Vec<u32>,
    rows: Buffers,
}

#[derive(Debug)]
struct Norm {
    weight: Vec<f32>,
    bias: Vec<f32>,
}

#[derive(Debug)]
struct Layer {
    /// Queries, keys and values of a row side by side.
    query_key_value: Dense,
    output: Dense,
    attention_norm: Norm,
    inner: Dense,
    outer: Dense,
    norm: Norm,
}

/// Used again by each pass.
#[derive(Debug, Default)]
struct Buffers {
    hidden: Vec<f32>,
    projected: Vec<f32>,
    queries: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
    attended: Vec<f32>,
    inner: Vec<f32>,
    sums: Vec<f32>,
    activations: Activations,
}

impl FlatBert {
    /// Reads a checkpoint that [`BertConfig::check`] has passed.
    pub(super) fn read(
        checkpoint: &Checkpoint,
        config: &BertConfig,
        quality: Quality,
    ) -> Result<Self, LoadError> {
        let (hidden, names) = (config.hidden, config.names);
        let prefix = config.prefix(checkpoint);
        let named = |name: &str| format!("{prefix}{name}");
        let table = |name: &str, rows: usize| {
            checkpoint.floats(&named(&format!("{name}.weight")), &[rows, hidden])
        };
        let words = Words::read(
            checkpoint,
            &named(&format!("{WORDS}.weight")),
            [config.vocabulary, hidden],
        )?;
        let mut positions = table(POSITIONS, config.positions)?;
        positions.drain(..config.first_position * hidden);
        let types = match names.types {
            Some(name) => table(name, config.types)?,
            None => vec![0.0; hidden],
        };
        let last = types.len().min(2 * hidden) - hidden;
        let types = [
            types[..hidden].to_vec(),
            types[last..last + hidden].to_vec(),
        ];
        let norm = |name: &str| -> Result<Norm, LoadError> {
            let name = named(name);
            Ok(Norm {
                weight: checkpoint.floats(&format!("{name}.weight"), &[hidden])?,
                bias: checkpoint.floats(&format!("{name}.bias"), &[hidden])?,
            })
        };
        let layer = |index: usize| -> Result<Layer, LoadError> {
            let within = |name: &str| format!("{}.{index}.{name}", names.layers);
            let dense = |parts: &[&str], outputs, inputs| {
                let parts: Vec<_> = parts
                    .iter()
                    .map(|name| (named(&within(name)), outputs))
                    .collect();
                Dense::read(checkpoint, &parts, inputs, quality)
            };
            let inner = config.inner;
            Ok(Layer {
                query_key_value: dense(&[names.query, names.key, names.value], hidden, hidden)?,
                output: dense(&[names.attended], hidden, hidden)?,
                attention_norm: norm(&within(names.attention_norm))?,
                inner: dense(&[names.inner], inner, hidden)?,
                outer: dense(&[names.outer], hidden, inner)?,
                norm: norm(&within(names.norm))?,
            })
        };
        let blocks = config.window().div_ceil(CACHE_BLOCK_POSITIONS);
        let heads = config.heads;
        Ok(Self {
            hidden,
            heads,
            epsilon: config.epsilon as f32,
            gate: config.gate(),
            norm: norm(NORM)?,
            layers: (0..config.layers).map(layer).collect::<Result<_, _>>()?,
            cache: PagedCache::new(blocks, heads, hidden / heads),
            blocks: (0..blocks as u32).collect(),
            words,
            positions,
            types,
            rows: Buffers::default(),
        })
    }

    /// The last layer's vectors of all texts, `[tokens of all, hidden]`. The companion has checked
    /// the ids, and that no text is longer than there are positions.
    pub(super) fn forward(&mut self, texts: &[EncoderWork]) -> Result<&[f32], NoBlock> {
        let hidden = self.hidden;
        let sums = &mut self.rows.sums;
        sums.clear();
        for text in texts {
            let positions = self.positions.chunks_exact(hidden);
            for ((place, &token), position) in text.tokens.iter().enumerate().zip(positions) {
                let first = sums.len();
                self.words.append(token, sums);
                let of_type = &self.types[usize::from(place >= text.second)];
                for ((sum, of_type), at) in sums[first..].iter_mut().zip(of_type).zip(position) {
                    *sum = (*sum + of_type) + at;
                }
            }
        }
        self.rows.hidden.resize(sums.len(), 0.0);
        self.norm.apply(sums, &mut self.rows.hidden, self.epsilon);
        for layer in 0..self.layers.len() {
            self.attend(layer, texts)?;
            self.feed_forward(layer);
        }
        Ok(&self.rows.hidden)
    }

    /// `hidden = norm(hidden + attention(hidden))`.
    fn attend(&mut self, layer: usize, texts: &[EncoderWork]) -> Result<(), NoBlock> {
        let (hidden, layer) = (self.hidden, &self.layers[layer]);
        let rows = &mut self.rows;
        layer
            .query_key_value
            .forward(&rows.hidden, &mut rows.projected, &mut rows.activations);
        for part in [&mut rows.queries, &mut rows.keys, &mut rows.values] {
            part.clear();
        }
        for row in rows.projected.chunks_exact(3 * hidden) {
            rows.queries.extend_from_slice(&row[..hidden]);
            rows.keys.extend_from_slice(&row[hidden..2 * hidden]);
            rows.values.extend_from_slice(&row[2 * hidden..]);
        }
        rows.attended.resize(rows.hidden.len(), 0.0);
        let attention = Attention {
            heads: self.heads,
            scale: ((hidden / self.heads) as f32).powf(-0.5),
            soft_cap: None,
            causal: false,
            window: None,
            sinks: None,
        };
        let mut first = 0;
        for text in texts {
            let part = first..first + text.tokens.len() * hidden;
            first = part.end;
            self.cache.write(
                &rows.keys[part.clone()],
                &rows.values[part.clone()],
                0,
                &self.blocks,
            )?;
            let queries = Queries {
                rows: &rows.queries[part.clone()],
                start: 0,
                blocks: &self.blocks,
            };
            let out = &mut rows.attended[part];
            attention.run(&self.cache, queries, out, Backend::best())?;
        }
        layer
            .output
            .forward(&rows.attended, &mut rows.sums, &mut rows.activations);
        add(&mut rows.sums, &rows.hidden);
        layer
            .attention_norm
            .apply(&rows.sums, &mut rows.hidden, self.epsilon);
        Ok(())
    }

    /// `hidden = norm(hidden + outer(gate(inner(hidden))))`.
    fn feed_forward(&mut self, layer: usize) {
        let (layer, rows) = (&self.layers[layer], &mut self.rows);
        layer
            .inner
            .forward(&rows.hidden, &mut rows.inner, &mut rows.activations);
        gated(self.gate, &mut rows.inner, None, Backend::best());
        layer
            .outer
            .forward(&rows.inner, &mut rows.sums, &mut rows.activations);
        add(&mut rows.sums, &rows.hidden);
        layer.norm.apply(&rows.sums, &mut rows.hidden, self.epsilon);
    }
}

impl Norm {
    fn apply(&self, rows: &[f32], out: &mut [f32], epsilon: f32) {
        let weights = (self.weight.as_slice(), Some(self.bias.as_slice()));
        layer_norm(rows, weights, epsilon, out, Backend::best());
    }
}

fn add(sums: &mut [f32], others: &[f32]) {
    for (sum, other) in sums.iter_mut().zip(others) {
        *sum += other;
    }
}
