//! Who starts, with which blocks, and who gives blocks up.

use super::blocks::BlockPool;
use super::sequence::Sequence;
use super::{Plan, Schedule, Whereabouts};
use crate::caller::Class;
use crate::model::{BLOCK_TOKENS, Recall};

/// New tokens that a sequence is promised blocks for when it starts. What it generates beyond, it may have to wait for.
const RESERVE_TOKENS: usize = 256;
/// This part of the cache stays free when a sequence starts beside others.
const LEFT_FREE: usize = 64;
/// Sequences that may be in prefill at once.
const PREFILL_MAX_SEQUENCES: usize = 16;

impl Schedule {
    /// Starts whoever is next, as long as there is room.
    pub(super) fn admit(&mut self, plan: &mut Plan) {
        let places = self.limits.cache.sequences;
        while let Some(place) = self.queue.next(&self.tenants, places) {
            let Some(next) = self.queue.get(place) else {
                return;
            };
            if !self.has_room(next) {
                let is_urgent = next.caller.class != Class::Batch;
                if is_urgent && self.can_yield_to_urgent() {
                    self.yield_last(plan);
                    continue;
                }
                return;
            }
            if let Some(sequence) = self.queue.start(place) {
                self.start(sequence);
            }
        }
    }

    /// Whether a sequence could start now.
    pub(super) fn has_room(&self, sequence: &Sequence) -> bool {
        let in_prefill = self.running.iter().filter(|other| other.in_prefill());
        if self.running.len() >= self.limits.cache.sequences
            || in_prefill.count() >= PREFILL_MAX_SEQUENCES
        {
            return false;
        }
        let hits = self.hits(sequence, 0);
        let wanted = BlockPool::needed(sequence.foreseen(self.ahead())) - hits.len();
        let left = if self.running.is_empty() {
            0
        } else {
            self.pool.total() / LEFT_FREE
        };
        let promised: usize = self.running.iter().map(Sequence::outstanding).sum();
        let available = self.pool.available() - self.pool.idle_among(&hits);
        wanted + promised + left <= available
    }

    /// Tokens that a sequence is promised blocks for: all, where it must never give them up.
    fn ahead(&self) -> usize {
        match self.limits.recall {
            Recall::Blocks => RESERVE_TOKENS,
            Recall::Nothing | Recall::Cuts => usize::MAX,
        }
    }

    fn start(&mut self, mut sequence: Sequence) {
        sequence.prefill_len = sequence.tokens.len();
        sequence.reserved = sequence.foreseen(self.ahead());
        self.name(&mut sequence);
        let hits = self.hits(&sequence, 0);
        self.pool.share(&hits);
        sequence.computed = hits.len() * BLOCK_TOKENS;
        sequence.remembered = hits.len();
        sequence.blocks = hits;
        let missing = BlockPool::needed(sequence.tokens.len()) - sequence.blocks.len();
        // `has_room` has seen that they are there.
        let new = self.pool.take(missing).unwrap_or_default();
        sequence.blocks.extend(new);
        self.tenants.take_place(sequence.caller.tenant);
        let rank = sequence.rank();
        self.places.insert(sequence.id, Whereabouts::Running(rank));
        let index = self.running.partition_point(|other| other.rank() < rank);
        self.running.insert(index, sequence);
    }

    /// The known blocks of a sequence's beginning, where they are more than `from`. The last token is always
    /// computed: its logits are wanted.
    fn hits(&self, sequence: &Sequence, from: usize) -> Vec<u32> {
        let most = (sequence.tokens.len() - 1) / BLOCK_TOKENS;
        let names = &sequence.names[..most.min(sequence.names.len())];
        if names.len() <= from {
            return Vec::new();
        }
        let mut hits = self.pool.find(names);
        if self.limits.recall == Recall::Cuts {
            // What follows has to begin where it would have been cut.
            while !(hits.len() * BLOCK_TOKENS).is_multiple_of(self.limits.cut_tokens) {
                hits.pop();
            }
        }
        hits
    }

    /// Takes over what others have computed of a sequence's beginning since it started.
    pub(super) fn catch_up(&mut self, index: usize) {
        let sequence = &self.running[index];
        let done = sequence.computed / BLOCK_TOKENS;
        if !sequence.computed.is_multiple_of(BLOCK_TOKENS) || sequence.remembered < done {
            return;
        }
        let hits = self.hits(sequence, done);
        if hits.len() <= done {
            return;
        }
        self.pool.share(&hits[done..]);
        let sequence = &mut self.running[index];
        let own: Vec<u32> = sequence
            .blocks
            .splice(done..hits.len(), hits[done..].iter().copied())
            .collect();
        self.pool.give_back(&own);
        sequence.computed = hits.len() * BLOCK_TOKENS;
        sequence.remembered = hits.len();
    }

    /// Gives a running sequence a block for its next position. False when it had to give up its own instead.
    pub(super) fn grow(&mut self, index: usize, plan: &mut Plan) -> bool {
        let needed = BlockPool::needed(self.running[index].computed + 1);
        while self.running[index].blocks.len() < needed {
            if let Some(new) = self.pool.take(1) {
                self.running[index].blocks.extend(new);
            } else {
                self.yield_last(plan);
                if index >= self.running.len() {
                    return false;
                }
            }
        }
        true
    }

    /// Whether the last of the running sequences may make room for one that somebody waits for. Each has to once.
    fn can_yield_to_urgent(&self) -> bool {
        let last = self.running.last();
        self.limits.recall == Recall::Blocks
            && last.is_some_and(|last| last.caller.class == Class::Batch && !last.is_settled)
    }

    /// The last of the running sequences gives up its blocks and waits again, in its old place. What it computed
    /// stays known as long as nobody needs the blocks.
    fn yield_last(&mut self, plan: &mut Plan) {
        let Some(mut sequence) = self.running.pop() else {
            return;
        };
        self.tenants.leave_place(sequence.caller.tenant);
        self.pool.give_back(&sequence.blocks);
        sequence.blocks.clear();
        sequence.computed = 0;
        sequence.remembered = 0;
        sequence.reserved = 0;
        sequence.is_settled = true;
        plan.yielded.push(sequence.id);
        let id = sequence.id;
        let place = self.queue.insert(sequence);
        self.places.insert(id, Whereabouts::Waiting(place));
    }
}
