//! The buffers of a step, kept at the size of the largest that was seen.

use engine::model::Step;

use super::linear::Rounded;
use crate::decoder::rope::Rotation;

/// Rows of a step on their way through the layers.
#[derive(Debug, Default)]
pub(super) struct Arena {
    /// The residual stream, `[rows, hidden]`.
    pub(super) hidden: Vec<f32>,
    pub(super) lines: Lines,
    /// The angles of the rows: of layers that see everything, and of the others.
    pub(super) angles: [Angles; 2],
}

/// What a layer makes of the rows that go through it together.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// `[rows, hidden]`.
    pub(super) normed: Vec<f32>,
    /// `[rows, heads * size]`.
    pub(super) queries: Vec<f32>,
    /// `[rows, kv_heads * size]`.
    pub(super) keys: Vec<f32>,
    /// `[rows, kv_heads * size]`.
    pub(super) values: Vec<f32>,
    /// `[rows, heads * size]`.
    pub(super) attended: Vec<f32>,
    /// `[rows, inner]`.
    pub(super) gate: Vec<f32>,
    /// `[rows, inner]`.
    pub(super) up: Vec<f32>,
    /// What is added to the residual stream, `[rows, hidden]`; before, queries, keys and values side by side, where one
    /// matrix makes them.
    pub(super) sums: Vec<f32>,
    pub(super) rounded: Rounded,
}

/// Sines and cosines, `[rows, rotated / 2]` each.
#[derive(Debug, Default)]
pub(super) struct Angles {
    pub(super) sines: Vec<f32>,
    pub(super) cosines: Vec<f32>,
}

impl Arena {
    /// Computes the angles of a step's rows.
    pub(super) fn turn(&mut self, step: &Step, rotations: &[Rotation]) {
        for (angles, rotation) in self.angles.iter_mut().zip(rotations) {
            angles.sines.clear();
            angles.cosines.clear();
            for span in &step.spans {
                let positions = span.start..span.start + span.rows.len();
                rotation.turns_into(positions, (&mut angles.sines, &mut angles.cosines));
            }
        }
    }
}
