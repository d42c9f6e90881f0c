//! What the callers of a load saw of the server.

use std::time::Instant;

use crate::sim::run::percentile;

use super::chat::Answer;

/// Seconds to first tokens, and between tokens.
#[derive(Debug, Default, Clone)]
pub struct Times {
    pub first: Vec<f64>,
    pub between: Vec<f64>,
    pub tokens: usize,
}

impl Times {
    /// Adds an answer to a request that was due at some time.
    pub fn add(&mut self, due: Instant, answer: &Answer) {
        if let Some(first) = answer.pieces.first() {
            self.first.push((*first - due).as_secs_f64());
        }
        let between = answer.pieces.windows(2).map(|pair| pair[1] - pair[0]);
        self.between.extend(between.map(|gap| gap.as_secs_f64()));
        self.tokens += answer.completion_tokens;
    }

    /// Milliseconds: to the first token and between tokens, at the median and at the 99th percentile.
    pub fn told(&mut self) -> [(&'static str, f64); 4] {
        let mut at = |first: bool, part| {
            let values = if first {
                &mut self.first
            } else {
                &mut self.between
            };
            percentile(values, part) * 1e3
        };
        [
            ("first_p50", at(true, 0.5)),
            ("first_p99", at(true, 0.99)),
            ("between_p50", at(false, 0.5)),
            ("between_p99", at(false, 0.99)),
        ]
    }
}
