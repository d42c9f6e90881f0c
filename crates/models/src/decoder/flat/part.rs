//! Rows of a step that go through a layer together.

use std::ops::Range;

use engine::model::Step;

/// As few rows as keep the products at their speed.
const LEAST_ROWS: usize = 64;

/// Some of a step's rows.
#[derive(Debug, Clone)]
pub(super) struct Part<'a> {
    step: &'a Step,
    rows: Range<usize>,
}

/// The rows of one sequence in a part.
#[derive(Debug)]
pub(super) struct Piece<'a> {
    /// Its rows within the part.
    pub(super) rows: Range<usize>,
    /// Position of the first of them within the sequence.
    pub(super) start: usize,
    /// The sequence's blocks.
    pub(super) blocks: &'a [u32],
}

impl<'a> Part<'a> {
    /// The parts of a step for a layer whose weights take `weights_bytes`, and all that it makes of a row `row_bytes`.
    ///
    /// What it makes of a part takes no more than its weights: those of a small model lie in the processor's cache and can
    /// be read again for every part, those of a large one are read once.
    pub(super) fn of(
        step: &'a Step,
        weights_bytes: usize,
        row_bytes: usize,
    ) -> impl Iterator<Item = Self> {
        let rows = step.tokens.len();
        let most = (weights_bytes / row_bytes.max(1)).max(LEAST_ROWS);
        let together = rows.div_ceil(rows.div_ceil(most).max(1)).max(1);
        (0..rows).step_by(together).map(move |first| Self {
            step,
            rows: first..rows.min(first + together),
        })
    }

    /// Its rows within the step.
    pub(super) fn rows(&self) -> &Range<usize> {
        &self.rows
    }

    /// Its rows of `values`, `[the step's rows, width]`.
    pub(super) fn of_values<'v>(&self, values: &'v [f32]) -> &'v [f32] {
        let width = values.len() / self.step.tokens.len();
        &values[self.rows.start * width..self.rows.end * width]
    }

    /// The same, to be changed.
    pub(super) fn of_values_mut<'v>(&self, values: &'v mut [f32]) -> &'v mut [f32] {
        let width = values.len() / self.step.tokens.len();
        &mut values[self.rows.start * width..self.rows.end * width]
    }

    /// Its rows, sequence by sequence.
    pub(super) fn pieces(&self) -> impl Iterator<Item = Piece<'a>> {
        let part = self.rows.clone();
        self.step.spans.iter().filter_map(move |span| {
            let rows = span.rows.start.max(part.start)..span.rows.end.min(part.end);
            (!rows.is_empty()).then(|| Piece {
                rows: rows.start - part.start..rows.end - part.start,
                start: span.start + (rows.start - span.rows.start),
                blocks: &span.blocks,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use engine::model::{SequenceId, Span};

    use super::*;

    #[test]
    fn parts_have_every_row_once_and_know_its_position() {
        let spans = [(0..100, 7), (100..101, 300), (101..200, 0)];
        let span = |(sequence, (rows, start)): (usize, (Range<usize>, usize))| Span {
            sequence: SequenceId(sequence as u64),
            rows,
            start,
            blocks: vec![sequence as u32],
            logits: 0,
        };
        let step = Step {
            tokens: vec![0; 200],
            spans: spans.iter().cloned().enumerate().map(span).collect(),
        };
        for (weights, parts, first) in [(0, 4, 50), (6_999, 3, 67), (1 << 30, 1, 200)] {
            let found: Vec<_> = Part::of(&step, weights, 100).collect();
            assert_eq!(found.len(), parts);
            assert_eq!(*found[0].rows(), 0..first);
            let rows = found.iter().flat_map(|part| {
                let within = part.rows().start;
                part.pieces().flat_map(move |piece| {
                    let place = piece.start;
                    let rows = piece.rows.enumerate();
                    rows.map(move |(at, row)| (within + row, piece.blocks[0], place + at))
                })
            });
            let wanted = spans
                .iter()
                .enumerate()
                .flat_map(|(sequence, (rows, start))| {
                    let rows = rows.clone().enumerate();
                    rows.map(move |(at, row)| (row, sequence as u32, start + at))
                });
            assert!(rows.eq(wanted));
        }
    }

    #[test]
    fn a_part_of_values_is_its_rows() {
        let step = Step {
            tokens: vec![0; 96],
            spans: Vec::new(),
        };
        let mut values: Vec<f32> = (0..96 * 3).map(|value| value as f32).collect();
        let parts: Vec<_> = Part::of(&step, 0, 1).collect();
        assert_eq!(parts[1].of_values(&values), &values[48 * 3..]);
        parts[1].of_values_mut(&mut values).fill(-1.0);
        assert!(values[..48 * 3].iter().all(|value| *value >= 0.0));
        assert!(values[48 * 3..].iter().all(|value| *value < 0.0));
        assert!(parts[0].of_values(&[]).is_empty());
    }
}
