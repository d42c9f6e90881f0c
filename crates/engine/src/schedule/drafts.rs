//! Guessed tokens as further rows of a step, as many as are likely to pay.
//!
//! A guess that comes true saves its sequence a step; each makes this step longer, for all that share it. So the guesses
//! that are likeliest are taken one by one, as long as the tokens that are expected of the step grow faster than its time.
//! (The same reckoning as in Liu et al. 2024, "Optimizing Speculative Decoding for Serving Large Language Models Using
//! Goodput".)

use super::blocks::BlockPool;
use super::cost::Load;
use super::lookup::Match;
use super::{Plan, Schedule};
use crate::model::{BLOCK_TOKENS, Span};

/// A guess that is less likely is not worth what the estimate of its cost may be wrong.
const LEAST_CHANCE: f64 = 0.05;
/// Matches that were not worth a guess; then the next one is tried all the same.
const TRY_AFTER_MATCHES: u32 = 32;

/// A sequence of a step with something to guess.
#[derive(Debug)]
struct Candidate {
    /// Of its span in the step.
    span: usize,
    /// Among those that run.
    index: usize,
    found: Match,
    /// Guesses that it may have.
    most: usize,
    /// Guesses that it gets.
    count: usize,
    /// That these all come true.
    chance: f64,
}

impl Schedule {
    /// Adds guesses to the rows of a step that is planned otherwise: nobody's rows give way to them, and of blocks only
    /// such as no sequence uses.
    pub(super) fn plan_drafts(&mut self, plan: &mut Plan) {
        if self.limits.drafts == 0 {
            return;
        }
        let rows = self.limits.step_tokens;
        let rows = rows.saturating_sub(plan.step.tokens.len());
        let logits = self.limits.cache.sequences;
        let logits = logits.saturating_sub(plan.step.logit_rows().count());
        let room = rows.min(logits);
        if room == 0 {
            return;
        }
        let mut candidates = self.candidates(&plan.step.spans);
        if candidates.is_empty() {
            return;
        }
        self.choose(&mut candidates, plan, room);
        candidates.retain(|candidate| candidate.count > 0);
        if !candidates.is_empty() {
            self.add_drafts(&candidates, plan);
        }
    }

    /// The sequences whose newest token is in the step and stood in them before with the one before it.
    fn candidates(&self, spans: &[Span]) -> Vec<Candidate> {
        // Blocks of guesses that do not come true are given back before the next plan: no promise is touched.
        let mut spare = self.pool.available();
        let candidates = spans.iter().enumerate().filter_map(|(number, span)| {
            let index = self.index_of(span.sequence)?;
            let sequence = &self.running[index];
            if span.start < sequence.prefill_len {
                return None;
            }
            let found = Match::of(&sequence.tokens)?;
            // What is generated last is never computed.
            let left = sequence
                .most_tokens
                .saturating_sub(sequence.tokens.len() + 1);
            let mut most = self.limits.drafts.min(left);
            let held = sequence.blocks.len();
            let wanted = BlockPool::needed(sequence.tokens.len() + most);
            let given = wanted.saturating_sub(held).min(spare);
            spare -= given;
            most = most.min((held + given) * BLOCK_TOKENS - sequence.tokens.len());
            (most > 0).then_some(Candidate {
                span: number,
                index,
                found,
                most,
                count: 0,
                chance: 1.0,
            })
        });
        candidates.collect()
    }

    /// Says how many guesses each gets.
    fn choose(&mut self, candidates: &mut [Candidate], plan: &Plan, room: usize) {
        let spans = &plan.step.spans;
        let mut load = Load::of(&plan.step);
        let mut seconds = self.estimate.seconds(load);
        // Each sequence of the step waits for it, and has a token of it or a part of its prompt.
        let sequences = spans.chunk_by(|a, b| a.sequence == b.sequence).count();
        let most = seconds + self.allowance(seconds);
        let is_late = |longer: f64| sequences > 1 && longer > most;
        let mut tokens = sequences as f64;
        for _ in 0..room {
            let next = candidates.iter_mut().filter(|one| one.count < one.most);
            let next = next.map(|one| (one.chance * self.chance(one), one));
            let Some((chance, next)) = next.max_by(|a, b| a.0.total_cmp(&b.0)) else {
                return;
            };
            let with = load.with(spans[next.span].start + 1 + next.count, 1);
            let longer = self.estimate.seconds(with);
            let pays = chance >= LEAST_CHANCE && chance * seconds > tokens * (longer - seconds);
            if !pays || is_late(longer) {
                break;
            }
            next.count += 1;
            next.chance = chance;
            (load, seconds, tokens) = (with, longer, tokens + chance);
        }
        // What is never tried is never known to have become better.
        let mut left = room - candidates.iter().map(|one| one.count).sum::<usize>();
        let first = self.turn as usize % candidates.len().max(1);
        candidates.rotate_left(first); // no stream is always the one whose match is tried
        for one in candidates.iter_mut().filter(|one| one.count == 0) {
            self.passed = self.passed.saturating_add(1);
            let with = load.with(spans[one.span].start + 1, 1);
            let longer = self.estimate.seconds(with);
            if self.passed > TRY_AFTER_MATCHES && left > 0 && !is_late(longer) {
                (one.count, load, left) = (1, with, left - 1);
                self.passed = 0;
            }
        }
        candidates.rotate_right(first);
    }

    /// That a candidate's next guess comes true where those before it did.
    fn chance(&self, one: &Candidate) -> f64 {
        let own = &self.running[one.index].acceptance;
        own.chance(&self.acceptance, one.found.length + one.count)
    }

    fn add_drafts(&mut self, candidates: &[Candidate], plan: &mut Plan) {
        let planned = std::mem::take(&mut plan.step);
        let step = &mut plan.step;
        let mut candidates = candidates.iter().peekable();
        for (number, mut span) in planned.spans.into_iter().enumerate() {
            let first_row = step.tokens.len();
            step.tokens
                .extend_from_slice(&planned.tokens[span.rows.clone()]);
            if let Some(one) = candidates.next_if(|one| one.span == number) {
                let sequence = &mut self.running[one.index];
                let end = sequence.tokens.len() + one.count;
                let missing = BlockPool::needed(end).saturating_sub(sequence.blocks.len());
                // They were seen to be there.
                sequence
                    .blocks
                    .extend(self.pool.take(missing).unwrap_or_default());
                sequence.guess(one.found, one.count);
                step.tokens.extend(&sequence.drafts);
                span.blocks.clone_from(&sequence.blocks);
                span.logits += one.count;
            }
            span.rows = first_row..step.tokens.len();
            step.spans.push(span);
        }
    }

    /// What came of a sequence's next guess, now that the token is known. Whether it was right, and with it computed.
    pub(super) fn verify(&mut self, index: usize, token: u32) -> bool {
        let sequence = &mut self.running[index];
        let Some(draft) = sequence.drafts.pop_front() else {
            return false;
        };
        let is_right = draft == token;
        let length = sequence.matched;
        sequence
            .acceptance
            .observe(&mut self.acceptance, length, is_right);
        if is_right {
            sequence.matched += 1;
            sequence.computed += 1;
        } else {
            sequence.drafts.clear();
            let kept = BlockPool::needed(sequence.computed);
            self.pool.give_back(&sequence.blocks[kept..]);
            sequence.blocks.truncate(kept);
        }
        is_right
    }
}
