//! Which rows run next: a state machine without tensors, clocks or channels.
//!
//! One step mixes the newest token of every running sequence with chunks of the prompts of those
//! that are still in prefill, under a token budget, so that a long prompt never stalls running
//! streams. Chunks are always cut at the same positions of a prompt, so that what runs beside it does
//! not change the shapes, and with them the rounding, of its arithmetic. Sequences start in order of arrival, each with blocks reserved for its prompt and all
//! that it may generate: a started sequence always ends.

use std::collections::VecDeque;

use tasks::Failure;

use crate::blocks::BlockPool;
use crate::model::{CacheShape, SequenceId, Span, Step};

/// What a step and a cache may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The model's KV cache.
    pub cache: CacheShape,
    /// Rows in one step.
    pub step_tokens: usize,
}

#[derive(Debug)]
struct Waiting {
    id: SequenceId,
    prompt: Vec<u32>,
    most_tokens: usize,
}

#[derive(Debug)]
struct Running {
    id: SequenceId,
    /// The prompt, then what was generated.
    tokens: Vec<u32>,
    prompt_len: usize,
    /// Positions whose K and V are in the cache.
    computed: usize,
    blocks: Vec<u32>,
}

impl Running {
    fn in_prefill(&self) -> bool {
        self.computed < self.prompt_len
    }

    fn pending(&self) -> usize {
        self.tokens.len() - self.computed
    }

    fn next_chunk(&self, chunk: usize) -> usize {
        self.pending().min(chunk)
    }
}

/// The next step, and who joins with it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// Sequences that have their first row in this step.
    pub starts: Vec<SequenceId>,
    /// The rows to run.
    pub step: Step,
}

/// Waiting and running sequences of one model, and its free blocks.
#[derive(Debug)]
pub struct Schedule {
    limits: Limits,
    pool: BlockPool,
    waiting: VecDeque<Waiting>,
    running: Vec<Running>,
}

impl Schedule {
    /// An empty schedule.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            pool: BlockPool::new(limits.cache.blocks),
            waiting: VecDeque::new(),
            running: Vec::new(),
        }
    }

    /// Queues a sequence of `prompt` (not empty) and at most `max_new` tokens.
    ///
    /// # Errors
    /// [`Failure::Internal`] for an empty prompt; [`Failure::Unavailable`] when the whole cache
    /// could not hold the sequence.
    pub fn add(&mut self, id: SequenceId, prompt: Vec<u32>, max_new: usize) -> Result<(), Failure> {
        if prompt.is_empty() {
            return Err(Failure::Internal("a prompt without tokens".into()));
        }
        let most_tokens = prompt.len().saturating_add(max_new);
        if BlockPool::needed(most_tokens) > self.pool.total() {
            return Err(Failure::Unavailable(format!(
                "{most_tokens} tokens do not fit this model's KV cache of {} tokens; more memory (--memory) makes it larger",
                self.pool.total() * crate::model::BLOCK_TOKENS
            )));
        }
        self.waiting.push_back(Waiting {
            id,
            prompt,
            most_tokens,
        });
        Ok(())
    }

    /// The next step; empty when nothing can run. What it plans counts as computed.
    pub fn plan(&mut self) -> Plan {
        let mut plan = Plan::default();
        let mut budget = self.limits.step_tokens;
        let chunk = self.chunk();
        let prefills = !self.waiting.is_empty() || self.running.iter().any(Running::in_prefill);
        // Decode rows leave room for one chunk, where there is one to run.
        let decode_rows = if prefills { budget - chunk } else { budget }.max(1);
        let decoding = self.running.iter_mut().filter(|r| !r.in_prefill());
        for running in decoding.take(decode_rows) {
            budget -= plan_rows(running, 1, &mut plan.step);
        }
        let decoded = plan.step.spans.len();
        for running in self.running.iter_mut().filter(|r| r.in_prefill()) {
            if running.next_chunk(chunk) <= budget {
                budget -= plan_rows(running, chunk, &mut plan.step);
            }
        }
        while let Some(mut started) = self.start_next(budget) {
            plan.starts.push(started.id);
            budget -= plan_rows(&mut started, chunk, &mut plan.step);
            self.running.push(started);
        }
        // Who had no turn this time comes first the next time.
        if decoded == decode_rows {
            let turn = decoded % self.running.len();
            self.running.rotate_left(turn);
        }
        plan
    }

    /// Rows of a chunk of prefill. A prompt is always cut at the same positions, whatever runs beside
    /// it, so that its products have the same shapes and its answer the same bits.
    fn chunk(&self) -> usize {
        (self.limits.step_tokens / 2).max(1)
    }

    fn start_next(&mut self, budget: usize) -> Option<Running> {
        let next = self.waiting.front()?;
        let full = self.running.len() >= self.limits.cache.sequences;
        if full || next.prompt.len().min(self.chunk()) > budget {
            return None;
        }
        let blocks = self.pool.take(BlockPool::needed(next.most_tokens))?;
        let waiting = self.waiting.pop_front()?;
        Some(Running {
            id: waiting.id,
            prompt_len: waiting.prompt.len(),
            tokens: waiting.prompt,
            computed: 0,
            blocks,
        })
    }

    /// Appends a sampled token to a running sequence, to be computed in the next step.
    pub fn push(&mut self, id: SequenceId, token: u32) {
        if let Some(running) = self.running.iter_mut().find(|r| r.id == id) {
            running.tokens.push(token);
        }
    }

    /// Forgets a sequence in any state, and frees its blocks.
    pub fn remove(&mut self, id: SequenceId) {
        if let Some(index) = self.running.iter().position(|r| r.id == id) {
            self.pool.give_back(self.running.remove(index).blocks);
        } else {
            self.waiting.retain(|w| w.id != id);
        }
    }

    /// Sequences that wait for their first step.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Blocks that nobody holds.
    pub fn free_blocks(&self) -> usize {
        self.pool.available()
    }
}

/// Adds up to `most` rows of a sequence to a step and returns how many.
fn plan_rows(running: &mut Running, most: usize, step: &mut Step) -> usize {
    let count = running.pending().min(most);
    if count == 0 {
        return 0;
    }
    let start = running.computed;
    let first_row = step.tokens.len();
    step.tokens
        .extend_from_slice(&running.tokens[start..start + count]);
    running.computed += count;
    step.spans.push(Span {
        sequence: running.id,
        rows: first_row..first_row + count,
        start,
        blocks: running.blocks[..BlockPool::needed(running.computed)].to_vec(),
        wants_logits: running.pending() == 0,
    });
    count
}
