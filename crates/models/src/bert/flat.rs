//! The encoder on flat rows for the CPU: the texts of a batch follow each other without padding.
//!
//! After transformers' `modeling_bert.py`: word, type and position vectors, then layers of attention
//! and feed-forward, each added to its input and normalised (Devlin et al. 2018; the norm comes
//! last).

use kernels::{Activations, Backend, Gate, LayerNorm, TextAttention, bias_gate};

use super::balance::balance;
use super::config::BertConfig;
use super::names::{NORM, POSITIONS, WORDS};
use crate::checkpoint::Checkpoint;
use crate::dense::Dense;
use crate::encoder::{EncoderWork, Words};
use crate::load::LoadError;
use crate::quality::Quality;

/// Rows that go through a feed-forward together: its widest rows then stay in the processor's second cache.
const ROWS_TOGETHER: usize = 96;
/// Rows of whole texts that go through a layer's attention together, for the same reason; or one text.
const TEXT_ROWS_TOGETHER: usize = 128;

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
    /// The same as the next layer wants it, where its inputs are balanced.
    balanced: Vec<f32>,
    /// Queries, keys and values of a row side by side.
    projected: Vec<f32>,
    attended: Vec<f32>,
    inner: Vec<f32>,
    sums: Vec<f32>,
    activations: Activations,
}

impl FlatBert {
    /// Reads a checkpoint that [`BertConfig::check`] has passed. Layers of eight bits are balanced by reading
    /// `texts` with the floats, one layer after the other.
    pub(super) fn read(
        checkpoint: &Checkpoint,
        config: &BertConfig,
        quality: Quality,
        texts: &[EncoderWork],
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
                Dense::read(checkpoint, &parts, inputs, Quality::Exact)
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
        let mut bert = Self {
            hidden,
            heads: config.heads,
            epsilon: config.epsilon as f32,
            gate: config.gate(),
            norm: norm(NORM)?,
            layers: Vec::with_capacity(config.layers),
            words,
            positions,
            types,
            rows: Buffers::default(),
        };
        if quality == Quality::Fast {
            bert.embed(texts);
        }
        for index in 0..config.layers {
            let read = layer(index)?;
            bert.layers.push(read);
            if quality == Quality::Fast {
                bert.balance(texts);
            }
        }
        bert.rows = Buffers::default();
        Ok(bert)
    }

    /// Brings the last layer, which has its floats, to eight bits, with the rows of `texts` that came to it;
    /// leaves what it made of them for the next.
    fn balance(&mut self, texts: &[EncoderWork]) {
        let Some(index) = self.layers.len().checked_sub(1) else {
            return;
        };
        let before = self.rows.hidden.clone();
        let (mut attended, mut inner) = (Vec::new(), Vec::new());
        let mut first = 0;
        for texts in together(texts) {
            first += self.attend(index, texts, first);
            attended.extend_from_slice(&self.rows.attended);
        }
        let between = self.rows.hidden.clone();
        let rows = between.len() / self.hidden;
        for first in (0..rows).step_by(ROWS_TOGETHER) {
            self.feed_forward(index, first..rows.min(first + ROWS_TOGETHER));
            inner.extend_from_slice(&self.rows.inner);
        }
        let Some(exact) = self.layers.pop() else {
            return;
        };
        self.layers.push(Layer {
            query_key_value: balance(exact.query_key_value, &before),
            output: balance(exact.output, &attended),
            attention_norm: exact.attention_norm,
            inner: balance(exact.inner, &between),
            outer: balance(exact.outer, &inner),
            norm: exact.norm,
        });
    }

    /// The vectors of words, types and positions, normalised.
    fn embed(&mut self, texts: &[EncoderWork]) {
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
        self.rows.hidden.clear();
        self.rows.hidden.resize(self.rows.sums.len(), 0.0);
        let first = self.layers.first().map(|layer| &layer.query_key_value);
        let all = 0..self.rows.sums.len();
        self.rows.add(all, &self.norm, &[], self.epsilon, first);
    }

    /// The last layer's vectors of all texts, `[tokens of all, hidden]`. The companion has checked
    /// the ids, and that no text is longer than there are positions.
    pub(super) fn forward(&mut self, texts: &[EncoderWork]) -> &[f32] {
        self.embed(texts);
        for layer in 0..self.layers.len() {
            let mut first = 0;
            for texts in together(texts) {
                let count = self.attend(layer, texts, first);
                let last = first + count;
                // Parts of one size: weights pass by for each.
                let part = count.div_ceil(count.div_ceil(ROWS_TOGETHER).max(1));
                while first < last {
                    let next = last.min(first + part);
                    self.feed_forward(layer, first..next);
                    first = next;
                }
            }
        }
        &self.rows.hidden
    }

    /// `hidden = norm(hidden + attention(hidden))` of some texts, whose rows begin at `first`; gives their number.
    fn attend(&mut self, index: usize, texts: &[EncoderWork], first: usize) -> usize {
        let (hidden, layer) = (self.hidden, &self.layers[index]);
        let rows = &mut self.rows;
        let count: usize = texts.iter().map(|text| text.tokens.len()).sum();
        let part = first * hidden..(first + count) * hidden;
        let balance = layer.query_key_value.balance();
        let inputs = match balance {
            Some(_) => &rows.balanced[part.clone()],
            None => &rows.hidden[part.clone()],
        };
        layer
            .query_key_value
            .product(inputs, &mut rows.projected, &mut rows.activations);
        rows.attended.resize(part.len(), 0.0);
        let attention = TextAttention {
            heads: self.heads,
            size: hidden / self.heads,
            scale: ((hidden / self.heads) as f32).powf(-0.5),
            bias: layer.query_key_value.bias(),
        };
        let mut first = 0;
        for text in texts {
            let part = first..first + text.tokens.len() * hidden;
            first = part.end;
            let projected = &rows.projected[3 * part.start..3 * part.end];
            let attended = &mut rows.attended[part];
            if balance.is_some() && text.tokens.len() <= TextAttention::ROUNDED_MAX_ROWS {
                attention.run_rounded(projected, attended, Backend::best());
            } else {
                attention.run(projected, attended, Backend::best());
            }
        }
        if let Some(balance) = layer.output.balance() {
            balance.apply(&mut rows.attended, Backend::best());
        }
        layer
            .output
            .product(&rows.attended, &mut rows.sums, &mut rows.activations);
        let (norm, bias) = (&layer.attention_norm, layer.output.bias());
        rows.add(part, norm, bias, self.epsilon, Some(&layer.inner));
        count
    }

    /// `hidden = norm(hidden + outer(gate(inner(hidden))))` of some rows.
    fn feed_forward(&mut self, index: usize, part: std::ops::Range<usize>) {
        let (layer, rows) = (&self.layers[index], &mut self.rows);
        let part = part.start * self.hidden..part.end * self.hidden;
        let inputs = match layer.inner.balance() {
            Some(_) => &rows.balanced[part.clone()],
            None => &rows.hidden[part.clone()],
        };
        layer
            .inner
            .product(inputs, &mut rows.inner, &mut rows.activations);
        bias_gate(
            self.gate,
            &mut rows.inner,
            layer.inner.bias(),
            layer.outer.balance(),
            Backend::best(),
        );
        layer
            .outer
            .product(&rows.inner, &mut rows.sums, &mut rows.activations);
        let next = self.layers.get(index + 1);
        let next = next.map(|next| &next.query_key_value);
        rows.add(part, &layer.norm, layer.outer.bias(), self.epsilon, next);
    }
}

/// Neighbouring texts of [`TEXT_ROWS_TOGETHER`] rows at most, or one that is longer.
fn together(texts: &[EncoderWork]) -> impl Iterator<Item = &[EncoderWork]> {
    let mut rows = 0;
    texts.chunk_by(move |left, right| {
        rows = rows.max(left.tokens.len()) + right.tokens.len();
        let fits = rows <= TEXT_ROWS_TOGETHER;
        if !fits {
            rows = 0;
        }
        fits
    })
}

impl Buffers {
    /// `hidden = norm(hidden + sums + bias)` in a part of the rows, `sums` being that part's, and the same as
    /// the next layer wants it.
    fn add(
        &mut self,
        part: std::ops::Range<usize>,
        norm: &Norm,
        bias: &[f32],
        epsilon: f32,
        next: Option<&Dense>,
    ) {
        let norm = LayerNorm {
            weight: &norm.weight,
            bias: &norm.bias,
            epsilon,
        };
        self.balanced.resize(self.hidden.len(), 0.0);
        let balanced = &mut self.balanced[part.clone()];
        let balanced = next.and_then(Dense::balance).map(|b| (b, balanced));
        let hidden = &mut self.hidden[part];
        norm.add((&self.sums, bias), hidden, balanced, Backend::best());
    }
}
