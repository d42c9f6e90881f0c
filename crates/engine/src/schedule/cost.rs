//! How long a step will take, learned from how long steps took.

use std::time::Duration;

use crate::model::Step;

/// What a step's time depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// Rows of the step.
    pub rows: usize,
    /// Positions that its rows attend to, all together.
    pub seen: usize,
}

impl Load {
    /// Of a whole step.
    pub fn of(step: &Step) -> Self {
        let mut load = Self::default();
        for span in &step.spans {
            load = load.with(span.start, span.rows.len());
        }
        load
    }

    /// With more rows of a sequence, from the position `start`.
    #[must_use]
    pub fn with(self, start: usize, rows: usize) -> Self {
        Self {
            rows: self.rows + rows,
            seen: self.seen + rows * start + rows * (rows + 1) / 2,
        }
    }
}

/// Weight of the past in each new observation: about the last hundred steps count.
const MEMORY: f64 = 0.99;
/// Units that bring the three numbers of a step to one size.
const ROWS: f64 = 64.0;
const SEEN: f64 = 65_536.0;
/// Before anything was observed: seconds for a step, for [`ROWS`] rows, for [`SEEN`] seen positions.
const FIRST_GUESS: [f64; 3] = [0.001, 0.05, 0.01];
/// How much of an observation the first guess is worth: it holds what the steps so far say nothing of.
const FIRST_WEIGHT: f64 = 0.05;
/// Rounds of the fit; each starts from the last result.
const FIT_ROUNDS: usize = 12;
/// Steps of so few rows are known one by one: the first rows take little more than reading the weights does, and no
/// line says so.
const FEW_MAX_ROWS: usize = 16;
/// Of steps with so many rows, about as many of the newest count.
const FEW_MEMORY: f64 = 20.0;
/// One step changes what is expected of the next by this part at most: it may have been something else that took long.
const SURPRISE_MAX: f64 = 0.25;

/// A fit of `fixed + rows * a + seen * b`, none of them negative, to the newest steps; and by how much steps of few rows
/// differ from it.
#[derive(Debug, Clone)]
pub(super) struct Estimate {
    products: [[f64; 3]; 3],
    targets: [f64; 3],
    weights: [f64; 3],
    few: [Factor; FEW_MAX_ROWS],
}

/// What multiplies the fit.
#[derive(Debug, Clone, Copy)]
struct Factor {
    factor: f64,
    observed: f64,
}

impl Estimate {
    pub(super) fn new() -> Self {
        Self {
            products: [[0.0; 3]; 3],
            targets: [0.0; 3],
            weights: FIRST_GUESS,
            few: [Factor {
                factor: 1.0,
                observed: 0.0,
            }; FEW_MAX_ROWS],
        }
    }

    fn numbers(load: Load) -> [f64; 3] {
        [1.0, load.rows as f64 / ROWS, load.seen as f64 / SEEN]
    }

    pub(super) fn seconds(&self, load: Load) -> f64 {
        self.line(load) * self.factor(load.rows)
    }

    fn line(&self, load: Load) -> f64 {
        let numbers = Self::numbers(load);
        let products = numbers.iter().zip(&self.weights);
        products.map(|(number, weight)| number * weight).sum()
    }

    /// Of steps with so many rows; where none was seen yet, between those of less and of more.
    fn factor(&self, rows: usize) -> f64 {
        if rows > FEW_MAX_ROWS {
            // A difference that stays what it is counts less and less.
            return 1.0 + (self.factor(FEW_MAX_ROWS) - 1.0) * FEW_MAX_ROWS as f64 / rows as f64;
        }
        let Some(place) = rows.checked_sub(1) else {
            return 1.0;
        };
        let (less, more) = self.few.split_at(place);
        let is_known = |few: &&Factor| few.observed > 0.0;
        let above = more.iter().position(|few| is_known(&few));
        let (after, above) = above.map_or((more.len(), 1.0), |at| (at, more[at].factor));
        let below = less.iter().rev().position(|few| is_known(&few));
        let Some(before) = below.map(|at| at + 1) else {
            return above;
        };
        let below = less[less.len() - before].factor;
        below + (above - below) * before as f64 / (before + after) as f64
    }

    /// Learns from a step. Least squares by coordinates, which keeps every weight at or above zero.
    pub(super) fn observe(&mut self, load: Load, took: Duration) {
        let numbers = Self::numbers(load);
        for (row, &number) in numbers.iter().enumerate() {
            for (column, &other) in numbers.iter().enumerate() {
                self.products[row][column] = MEMORY * self.products[row][column] + number * other;
            }
            self.targets[row] = MEMORY * self.targets[row] + number * took.as_secs_f64();
        }
        for _ in 0..FIT_ROUNDS {
            for (index, guess) in FIRST_GUESS.into_iter().enumerate() {
                let products = self.products[index];
                let all = products.iter().zip(&self.weights);
                let all: f64 = all.map(|(product, weight)| product * weight).sum();
                let others = all - products[index] * self.weights[index];
                let target = self.targets[index] - others + FIRST_WEIGHT * guess;
                let best = target / (products[index] + FIRST_WEIGHT);
                self.weights[index] = best.max(0.0);
            }
        }
        let (line, factor) = (self.line(load), self.factor(load.rows));
        let few = load.rows.checked_sub(1).and_then(|at| self.few.get_mut(at));
        if let Some(few) = few.filter(|_| line > 0.0) {
            few.observed = (few.observed + 1.0).min(FEW_MEMORY);
            let surprise = (took.as_secs_f64() / line - factor) / factor;
            let surprise = surprise.clamp(-SURPRISE_MAX, SURPRISE_MAX);
            few.factor = factor * (1.0 + surprise / few.observed);
        }
    }
}
