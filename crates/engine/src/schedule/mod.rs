//! Which rows run next: a state machine without tensors, clocks, threads or channels.
//!
//! One step mixes the newest token of every running sequence with cuts of the prompts of those that are still in
//! prefill. How many cuts follows from an estimate of the step's time, so that a long prompt never stalls running
//! streams. Prompts are cut at the same positions whatever runs beside them, so that what runs beside them does not
//! change the shapes, and with them the rounding, of their arithmetic; where it would not, a step has a part of a cut
//! that streams would wait too long for.
//!
//! Full blocks of the cache have names that others with the same beginning find them by; what may be found that way,
//! and whether a sequence may give its blocks up and be computed again, depends on the model ([`Recall`]).
//!
//! Where a row depends on its token, position and cache only, to the bit, what is left of a step takes guesses of tokens
//! that come next: what followed the newest ones earlier in the same sequence. The answer is what it is without.

mod acceptance;
mod admit;
mod blocks;
mod cost;
mod drafts;
mod lookup;
mod plan;
mod prefix;
mod queue;
mod sequence;
mod tenants;

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tasks::Failure;

use crate::caller::Caller;
use crate::model::{CacheShape, Recall, SequenceId, Step};
use acceptance::Acceptance;
use blocks::BlockPool;
use cost::Estimate;
use prefix::Naming;
use queue::{Place, Queue};
use sequence::{Rank, Sequence};
use tenants::{NEW_TOKEN, Tenants};

pub use cost::Load;

/// How prompts and generated tokens share steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mix {
    /// A step has both: all generated tokens, and as many cuts of prompts as the time allows.
    #[default]
    Mixed,
    /// As long as there are prompts, steps have nothing else.
    PromptsFirst,
    /// Steps with prompts and steps with generated tokens take turns.
    Separate,
}

/// What a step and a cache may hold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// The model's KV cache.
    pub cache: CacheShape,
    /// What of it may be used again.
    pub recall: Recall,
    /// Rows in one step; two at least.
    pub step_tokens: usize,
    /// A prompt is cut at multiples of so many positions; at most half a step.
    pub cut_tokens: usize,
    /// Sequences that may wait; one more is refused.
    pub queue: usize,
    /// The time between two tokens of a stream that prompts must not lengthen.
    pub target: Duration,
    /// How prompts and generated tokens share steps.
    pub mix: Mix,
    /// Tokens of one sequence that a step may guess, where the recall allows it ([`Recall::Blocks`]).
    pub drafts: usize,
}

/// A sequence that is to be generated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// Its prompt; not empty.
    pub prompt: Vec<u32>,
    /// The most tokens to generate.
    pub max_new: usize,
    /// Whose it is.
    pub caller: Caller,
    /// Names what else its keys and values depend on, as weights that are added to the model's; `None`: on something
    /// that no other sequence has.
    pub adapter: Option<u64>,
}

/// A sequence that has its first row in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// Which.
    pub id: SequenceId,
    /// Tokens of its prompt that were in the cache.
    pub cached: usize,
}

/// The next step, and who joins with it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// Sequences that have their first row in this step.
    pub starts: Vec<Start>,
    /// Sequences that gave up their blocks and wait again.
    pub yielded: Vec<SequenceId>,
    /// The rows to run.
    pub step: Step,
}

/// Where a sequence is.
#[derive(Debug, Clone, Copy)]
enum Whereabouts {
    Waiting(Place),
    Running(Rank),
}

/// Waiting and running sequences of one model, and the blocks of its cache.
#[derive(Debug)]
pub struct Schedule {
    limits: Limits,
    pool: BlockPool,
    naming: Naming,
    tenants: Tenants,
    queue: Queue,
    /// By rank: what is last yields first.
    running: Vec<Sequence>,
    places: HashMap<SequenceId, Whereabouts>,
    estimate: Estimate,
    /// How guesses did, of all sequences.
    acceptance: Acceptance,
    /// Matches that were not worth a guess since one was tried.
    passed: u32,
    arrivals: u64,
    /// Plans so far.
    turn: u64,
    /// Where generated tokens go on, when not all fit a step.
    next_decode: usize,
}

impl Schedule {
    /// An empty schedule.
    pub fn new(mut limits: Limits) -> Self {
        limits.step_tokens = limits.step_tokens.max(2);
        limits.cut_tokens = limits.cut_tokens.clamp(1, limits.step_tokens / 2);
        if limits.recall != Recall::Blocks {
            limits.drafts = 0;
        }
        Self {
            pool: BlockPool::new(limits.cache.blocks),
            limits,
            naming: Naming::new(),
            tenants: Tenants::default(),
            queue: Queue::default(),
            running: Vec::new(),
            places: HashMap::new(),
            estimate: Estimate::new(),
            acceptance: Acceptance::default(),
            passed: 0,
            arrivals: 0,
            turn: 0,
            next_decode: 0,
        }
    }

    /// Queues a sequence.
    ///
    /// # Errors
    /// [`Failure::Internal`] for an empty prompt; [`Failure::Unavailable`] when the whole cache could not hold the
    /// sequence; [`Failure::Busy`] when too many wait, or it would have to and its caller refuses to.
    pub fn add(&mut self, id: SequenceId, arrival: Arrival) -> Result<(), Failure> {
        let Arrival {
            prompt,
            max_new,
            caller,
            adapter,
        } = arrival;
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
        if self.queue.len() >= self.limits.queue {
            return Err(Failure::Busy);
        }
        let shares = self.limits.recall != Recall::Nothing;
        let root = adapter.filter(|_| shares);
        let mut sequence = Sequence {
            id,
            arrival: self.arrivals,
            caller,
            prompt_len: prompt.len(),
            prefill_len: prompt.len(),
            tokens: prompt,
            most_tokens,
            computed: 0,
            drafts: VecDeque::new(),
            matched: 0,
            acceptance: Acceptance::default(),
            blocks: Vec::new(),
            reserved: 0,
            root: root.map(|adapter| self.naming.root(caller.tenant, adapter)),
            names: Vec::new(),
            remembered: 0,
            has_started: false,
            is_settled: false,
        };
        self.name(&mut sequence);
        if caller.refuses_to_wait && (self.queue.len() > 0 || !self.has_room(&sequence)) {
            return Err(Failure::Busy);
        }
        self.arrivals += 1;
        self.tenants.join(caller.tenant);
        let place = self.queue.insert(sequence);
        self.places.insert(id, Whereabouts::Waiting(place));
        Ok(())
    }

    /// Appends a sampled token to a sequence, to be computed in the next step. True where the step that has run guessed
    /// it, and so computed it already: then the span's next row of logits says what follows, and is next. Each span that
    /// wanted logits gets its tokens so before the next plan, or is removed.
    pub fn push(&mut self, id: SequenceId, token: u32) -> bool {
        match self.places.get(&id) {
            Some(&Whereabouts::Running(rank)) => {
                let Some(index) = self.running_at(rank) else {
                    return false;
                };
                self.running[index].tokens.push(token);
                let is_computed = self.verify(index, token);
                if is_computed {
                    let tenant = self.running[index].caller.tenant;
                    self.tenants.charge(tenant, NEW_TOKEN);
                    self.remember(index);
                }
                is_computed
            }
            Some(&Whereabouts::Waiting(place)) => {
                if let Some(sequence) = self.queue.get_mut(place) {
                    sequence.tokens.push(token);
                }
                false
            }
            None => false,
        }
    }

    /// Forgets a sequence in any state, and frees its blocks.
    pub fn remove(&mut self, id: SequenceId) {
        let sequence = match self.places.remove(&id) {
            Some(Whereabouts::Running(rank)) => self
                .running_at(rank)
                .map(|index| self.running.remove(index))
                .inspect(|sequence| self.tenants.leave_place(sequence.caller.tenant)),
            Some(Whereabouts::Waiting(place)) => self.queue.remove(place),
            None => None,
        };
        if let Some(sequence) = sequence {
            self.pool.give_back(&sequence.blocks);
            self.tenants.leave(sequence.caller.tenant);
        }
    }

    /// A planned step has run, and took so long: what it computed is there for others, and the next plan knows better
    /// what a step costs. To be called before any of its sequences is removed for having ended.
    pub fn completed(&mut self, step: &Step, took: Duration) {
        self.estimate.observe(Load::of(step), took);
        for span in &step.spans {
            if let Some(index) = self.index_of(span.sequence) {
                self.remember(index);
            }
        }
    }

    /// Gives the full blocks that a sequence has computed their names.
    fn remember(&mut self, index: usize) {
        let sequence = &mut self.running[index];
        let Some(root) = sequence.root else { return };
        let end = match self.limits.recall {
            Recall::Nothing => 0,
            Recall::Cuts => {
                let cut = self.limits.cut_tokens;
                sequence.computed.min(sequence.prompt_len / cut * cut)
            }
            Recall::Blocks => sequence.computed,
        } / crate::model::BLOCK_TOKENS;
        if end > sequence.remembered {
            self.naming
                .extend(root, &mut sequence.names, &sequence.tokens);
            for index in sequence.remembered..end {
                self.pool
                    .remember(sequence.blocks[index], sequence.names[index]);
            }
            sequence.remembered = end;
        }
    }

    /// How long a step would take, in seconds, by what the steps so far took.
    pub fn expected_seconds(&self, load: Load) -> f64 {
        self.estimate.seconds(load)
    }

    /// Sequences that wait to start, or to start again.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Sequences that run.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// Blocks that nobody holds.
    pub fn free_blocks(&self) -> usize {
        self.pool.available()
    }

    /// The blocks of a sequence that runs.
    pub fn table(&self, id: SequenceId) -> Option<&[u32]> {
        let index = self.index_of(id)?;
        Some(&self.running[index].blocks)
    }

    /// Tables that hold a block.
    pub fn holders(&self, block: u32) -> u32 {
        self.pool.holders(block)
    }

    fn name(&self, sequence: &mut Sequence) {
        if let Some(root) = sequence.root {
            self.naming
                .extend(root, &mut sequence.names, &sequence.tokens);
        }
    }

    fn index_of(&self, id: SequenceId) -> Option<usize> {
        match self.places.get(&id)? {
            Whereabouts::Running(rank) => self.running_at(*rank),
            Whereabouts::Waiting(_) => None,
        }
    }

    fn running_at(&self, rank: Rank) -> Option<usize> {
        self.running
            .binary_search_by_key(&rank, Sequence::rank)
            .ok()
    }
}
