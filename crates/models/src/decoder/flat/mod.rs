//! The decoder on flat rows in the CPU's memory, without tensors: packed weights, a cache in half precision,
//! and buffers that are kept from step to step, so that a step of a running model allocates nothing.
//!
//! It shares the weights of the tensor path, where it knows all that they need; the rest stays on tensors.

mod arena;
mod attention;
mod feed_forward;
mod layer;
mod linear;
mod norm;
mod part;

use std::sync::Arc;

use engine::model::Step;
use kernels::{Backend, NoBlock, PackedLinear};

use self::arena::Arena;
use self::layer::Layer;
use self::linear::Projection;
use self::norm::Norm;
use super::config::DecoderConfig;
use super::layer::Layer as TensorLayer;
use super::lora::{Deltas, Lora};
use super::norm::Norm as TensorNorm;
use super::rope::Rotation;
use crate::linear::{Embedding, Linear};

/// A decoder on flat rows.
#[derive(Debug)]
pub(super) struct Flat {
    embedding: Arc<PackedLinear>,
    layers: Vec<Layer>,
    norm: Norm,
    head: Projection,
    /// Of the layers that see everything, and of those that see the newest positions only.
    rotations: Vec<Rotation>,
    embedding_factor: Option<f32>,
    logit_factor: Option<f32>,
    logit_cap: Option<f32>,
    arena: Arena,
}

impl Flat {
    /// The same model without tensors; `None`: something in it needs them. The weights are shared, the cache of
    /// `blocks` blocks is new.
    pub(super) fn of(
        config: &DecoderConfig,
        blocks: usize,
        layers: &[TensorLayer],
        (embedding, norm, head): (&Embedding, &TensorNorm, &Linear),
    ) -> Option<Self> {
        let Embedding::Packed(embedding) = embedding else {
            return None;
        };
        let layers = layers.iter().enumerate();
        let layers = layers.map(|(number, layer)| {
            // Layers that see the newest positions only turn by the second rotation.
            Layer::of(layer, blocks, usize::from(config.local(number).is_some()))
        });
        let local = config.local.as_ref().map(|local| &local.rope);
        let ropes = [Some(&config.rope), local];
        Some(Self {
            embedding: embedding.clone(),
            layers: layers.collect::<Option<_>>()?,
            norm: Norm::of(norm)?,
            head: Projection::of(head)?,
            rotations: ropes.into_iter().flatten().map(Rotation::new).collect(),
            embedding_factor: config.factors.embedding.map(|factor| factor as f32),
            logit_factor: config.factors.logits.map(|factor| factor as f32),
            logit_cap: config.logit_cap.map(|cap| cap as f32),
            arena: Arena::default(),
        })
    }

    /// Logits `[rows that want them, vocabulary]`, in place of what `logits` held.
    ///
    /// # Errors
    /// [`NoBlock`] when a span's blocks do not cover its rows.
    pub(super) fn forward(
        &mut self,
        step: &Step,
        deltas: Option<&Deltas>,
        logits: &mut Vec<f32>,
    ) -> Result<(), NoBlock> {
        let arena = &mut self.arena;
        arena.turn(step, &self.rotations);
        let hidden = self.embedding.inputs();
        arena.hidden.resize(step.tokens.len() * hidden, 0.0);
        for (row, &token) in arena.hidden.chunks_exact_mut(hidden).zip(&step.tokens) {
            self.embedding.row(token as usize, row);
        }
        if let Some(factor) = self.embedding_factor {
            scale(&mut arena.hidden, factor);
        }
        for (number, layer) in self.layers.iter_mut().enumerate() {
            layer.forward(step, arena, Lora::of(deltas, number))?;
        }
        arena.lines.sums.clear();
        for row in step.logit_rows() {
            let row = &arena.hidden[row * hidden..(row + 1) * hidden];
            arena.lines.sums.extend_from_slice(row);
        }
        if arena.lines.sums.is_empty() {
            logits.clear();
            return Ok(());
        }
        self.norm
            .forward(&arena.lines.sums, &mut arena.lines.normed);
        let inputs = arena
            .lines
            .rounded
            .take(&arena.lines.normed, self.head.inputs());
        self.head.forward(inputs, logits);
        if let Some(factor) = self.logit_factor {
            scale(logits, factor);
        }
        if let Some(cap) = self.logit_cap {
            for logit in logits.iter_mut() {
                *logit = (*logit / cap).tanh() * cap;
            }
        }
        Ok(())
    }
}

fn scale(values: &mut [f32], factor: f32) {
    for value in values {
        *value *= factor;
    }
}

/// `sums += others * factor`.
fn add(sums: &mut [f32], others: &[f32], factor: Option<f32>) {
    let factor = factor.unwrap_or(1.0);
    kernels::add(sums, others, factor, Backend::best());
}
