//! A head on an encoder: two small layers from a text's first vector to a number for each label.

use kernels::Activations;

use super::config::BertConfig;
use super::names::Bend;
use crate::checkpoint::Checkpoint;
use crate::dense::Dense;
use crate::load::{Files, LoadError};
use crate::quality::Quality;

/// The most labels.
const LABELS_MAX: usize = 1 << 16;

/// The head, always in the floats of its file: it is small, and what it says is the answer.
#[derive(Debug)]
pub(super) struct Head {
    inner: Dense,
    bend: Bend,
    outer: Dense,
    /// What its numbers are called.
    labels: Vec<String>,
    scratch: Activations,
}

impl Head {
    /// Reads the head of a checkpoint.
    pub(super) fn read(
        files: &Files,
        checkpoint: &Checkpoint,
        config: &BertConfig,
    ) -> Result<Self, LoadError> {
        let names = &config.names.head;
        let outer = format!("{}.weight", names.outer);
        let count = match checkpoint.shape(&outer) {
            Some([count, _]) if (1..=LABELS_MAX).contains(count) => *count,
            Some(shape) => {
                let detail = format!("tensor {outer:?} has the shape {shape:?}");
                return Err(LoadError::corrupt(checkpoint.file(), detail));
            }
            None => {
                let detail =
                    format!("there is no tensor {outer:?}: it has no head that judges a text");
                return Err(LoadError::unsupported(checkpoint.file(), detail));
            }
        };
        let labels = match &config.labels {
            Some(labels) if labels.len() == count => labels.clone(),
            Some(labels) => {
                let detail = format!("id2label has {} labels for {count}", labels.len());
                return Err(LoadError::corrupt(&files.path("config.json"), detail));
            }
            None => (0..count).map(|label| format!("LABEL_{label}")).collect(),
        };
        let dense = |name: &str, outputs: usize| {
            checkpoint.check(&format!("{name}.bias"), &[outputs])?;
            let part = (name.to_owned(), outputs);
            Dense::read(checkpoint, &[part], config.hidden, Quality::Exact)
        };
        Ok(Self {
            inner: dense(names.inner, config.hidden)?,
            bend: names.bend,
            outer: dense(names.outer, count)?,
            labels,
            scratch: Activations::default(),
        })
    }

    /// What its numbers are called, in their order.
    pub(super) fn labels(&self) -> &[String] {
        &self.labels
    }

    /// The logits of a first vector, one for each label.
    pub(super) fn judge(&mut self, vector: &[f32]) -> Vec<f32> {
        let mut inner = Vec::new();
        self.inner.forward(vector, &mut inner, &mut self.scratch);
        for value in &mut inner {
            *value = match self.bend {
                Bend::Tangent => value.tanh(),
                Bend::Relu => value.max(0.0),
            };
        }
        let mut logits = Vec::new();
        self.outer.forward(&inner, &mut logits, &mut self.scratch);
        logits
    }
}
