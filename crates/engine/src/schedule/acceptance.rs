//! How often guesses came true, told apart by how long the match was that they came from.

use super::lookup::{MATCH_MAX_TOKENS, MATCH_MIN_TOKENS};

/// Matches of 2 and 3 tokens, 4 to 7, 8 to 15, and longer.
const CLASSES: usize = (MATCH_MAX_TOKENS / MATCH_MIN_TOKENS).ilog2() as usize + 1;
/// Weights of the past in each new observation: about the last twenty count of one sequence, the last two hundred of all.
const OWN_MEMORY: f64 = 0.95;
const COMMON_MEMORY: f64 = 0.995;
/// So many observations of a sequence's own weigh as much as what is known of all.
const COMMON_WEIGHT: f64 = 5.0;
/// Before anything was observed.
const FIRST_CHANCE: f64 = 0.5;
const FIRST_WEIGHT: f64 = 2.0;

/// Guesses of one class of matches, the older the less they count.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    right: f64,
    all: f64,
}

impl Counts {
    fn observe(&mut self, is_right: bool, memory: f64) {
        self.right = self.right * memory + f64::from(u8::from(is_right));
        self.all = self.all * memory + 1.0;
    }

    /// Of being right, where it is held to be `before` with the weight of so many observations.
    fn chance(self, before: f64, weight: f64) -> f64 {
        (self.right + before * weight) / (self.all + weight)
    }
}

/// What was seen of guesses: of one sequence's, or of all.
#[derive(Debug, Clone, Default)]
pub(super) struct Acceptance([Counts; CLASSES]);

impl Acceptance {
    fn class(length: usize) -> usize {
        let length = length.clamp(MATCH_MIN_TOKENS, MATCH_MAX_TOKENS);
        (length / MATCH_MIN_TOKENS).ilog2() as usize
    }

    /// Of the next token after a match of this length, in the sequence whose record this is among all.
    pub(super) fn chance(&self, common: &Self, length: usize) -> f64 {
        let class = Self::class(length);
        let of_all = common.0[class].chance(FIRST_CHANCE, FIRST_WEIGHT);
        self.0[class].chance(of_all, COMMON_WEIGHT)
    }

    /// A guess after a match of this length was right or wrong.
    pub(super) fn observe(&mut self, common: &mut Self, length: usize, is_right: bool) {
        let class = Self::class(length);
        self.0[class].observe(is_right, OWN_MEMORY);
        common.0[class].observe(is_right, COMMON_MEMORY);
    }
}
