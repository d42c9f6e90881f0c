//! One sequence, waiting or running.

use std::collections::VecDeque;

use super::acceptance::Acceptance;
use super::blocks::BlockPool;
use super::lookup::Match;
use super::prefix::Chain;
use crate::caller::Caller;
use crate::model::{SequenceId, Span, Step};

/// Order among sequences: what is less goes first, and is given up last. Who is settled does not
/// give way to who comes later, so that every sequence becomes the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    is_unsettled: bool,
    class: usize,
    arrival: u64,
}

#[derive(Debug)]
pub(super) struct Sequence {
    pub(super) id: SequenceId,
    /// Its number among all; kept when it has to start again.
    pub(super) arrival: u64,
    pub(super) caller: Caller,
    /// The prompt, then what was generated.
    pub(super) tokens: Vec<u32>,
    pub(super) prompt_len: usize,
    /// Prompt and all that may be generated.
    pub(super) most_tokens: usize,
    /// Positions that are computed in cuts: those that were known when it started, or started again.
    pub(super) prefill_len: usize,
    /// Positions whose K and V are in the cache.
    pub(super) computed: usize,
    /// Guesses of the tokens that come next, whose rows are in the step that runs; empty between steps.
    pub(super) drafts: VecDeque<u32>,
    /// Tokens of the match that the first of them came from.
    pub(super) matched: usize,
    /// How its guesses did so far.
    pub(super) acceptance: Acceptance,
    /// Its table.
    pub(super) blocks: Vec<u32>,
    /// Tokens that it has blocks or a promise of blocks for.
    pub(super) reserved: usize,
    /// What its names are chained to; `None`: its cache depends on more than tokens, and is its own.
    pub(super) root: Option<Chain>,
    /// Of its full blocks.
    pub(super) names: Vec<Chain>,
    /// Blocks of its table whose names the pool was told.
    pub(super) remembered: usize,
    pub(super) has_started: bool,
    /// It has given way once, or its class had waited long when it started: it does not give way to who comes later.
    pub(super) is_settled: bool,
}

impl Sequence {
    pub(super) fn class(&self) -> usize {
        self.caller.class as usize
    }

    pub(super) fn rank(&self) -> Rank {
        Rank {
            is_unsettled: !self.is_settled,
            class: if self.is_settled { 0 } else { self.class() },
            arrival: self.arrival,
        }
    }

    pub(super) fn in_prefill(&self) -> bool {
        self.computed < self.prefill_len
    }

    /// Whether it has one token to compute, the newest.
    pub(super) fn decodes(&self) -> bool {
        !self.in_prefill() && self.computed < self.tokens.len()
    }

    /// Tokens to plan with when it starts: what is known, and some of what may come.
    pub(super) fn foreseen(&self, ahead: usize) -> usize {
        let most = self.tokens.len().saturating_add(ahead);
        self.most_tokens.min(most).max(self.tokens.len())
    }

    /// Blocks that were promised and are not in its table yet.
    pub(super) fn outstanding(&self) -> usize {
        BlockPool::needed(self.reserved).saturating_sub(self.blocks.len())
    }

    /// Rows up to the next cut. Cuts are at the same positions, whatever runs beside them.
    pub(super) fn next_cut(&self, cut: usize) -> usize {
        (cut - self.computed % cut).min(self.prefill_len - self.computed)
    }

    /// Adds its next `count` rows to a step.
    pub(super) fn plan_rows(&mut self, count: usize, step: &mut Step) {
        let start = self.computed;
        let first_row = step.tokens.len();
        step.tokens
            .extend_from_slice(&self.tokens[start..start + count]);
        self.computed += count;
        step.spans.push(Span {
            sequence: self.id,
            rows: first_row..first_row + count,
            start,
            blocks: self.blocks[..BlockPool::needed(self.computed)].to_vec(),
            logits: usize::from(self.computed == self.tokens.len()),
        });
    }

    /// Takes what a match says as guesses of its next `count` tokens.
    pub(super) fn guess(&mut self, found: Match, count: usize) {
        self.drafts.extend(found.guesses(&self.tokens).take(count));
        self.matched = found.length;
    }
}
