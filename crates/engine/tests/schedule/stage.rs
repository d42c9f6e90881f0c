//! A schedule, and a model that is made of integers: its cache holds tokens, and the next token follows from all
//! before it, so that a wrong or foreign block shows.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::time::Duration;

use engine::model::{BLOCK_TOKENS, CacheShape, Recall, SequenceId};
use engine::{Arrival, Caller, Class, Limits, Mix, Plan, Schedule};
use tasks::Failure;

pub(crate) const VOCABULARY: u64 = 7;

pub(crate) fn limits(blocks: usize, sequences: usize, step_tokens: usize) -> Limits {
    Limits {
        cache: CacheShape { blocks, sequences },
        recall: Recall::Blocks,
        step_tokens,
        cut_tokens: BLOCK_TOKENS,
        queue: 1000,
        target: Duration::from_millis(50),
        mix: Mix::Mixed,
    }
}

pub(crate) fn caller(tenant: u64, class: Class) -> Caller {
    Caller {
        tenant,
        class,
        refuses_to_wait: false,
    }
}

pub(crate) fn arrival(prompt: impl IntoIterator<Item = u32>, max_new: usize) -> Arrival {
    Arrival {
        prompt: prompt.into_iter().collect(),
        max_new,
        caller: Caller::default(),
        adapter: Some(0),
    }
}

/// What comes after these tokens.
pub(crate) fn next_token(tokens: &[u32]) -> u32 {
    let mix = |sum: u64, &token: &u32| (sum ^ u64::from(token)).wrapping_mul(0x0100_0000_01b3);
    let sum = tokens.iter().fold(0xcbf2_9ce4_8422_2325, mix);
    ((sum >> 32) % VOCABULARY) as u32
}

/// What a sequence generates when it is alone.
pub(crate) fn alone(prompt: &[u32], count: usize) -> Vec<u32> {
    let mut tokens = prompt.to_vec();
    for _ in 0..count {
        tokens.push(next_token(&tokens));
    }
    tokens.split_off(prompt.len())
}

#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) arrival: Arrival,
    pub(crate) generated: Vec<u32>,
    pub(crate) added_at: usize,
    pub(crate) started_at: Option<usize>,
}

/// A schedule with the sequences that it was given, and the cache of the model.
pub(crate) struct Stage {
    pub(crate) schedule: Schedule,
    pub(crate) limits: Limits,
    pub(crate) live: BTreeMap<u64, Live>,
    pub(crate) done: BTreeMap<u64, Live>,
    pub(crate) cached: BTreeMap<u64, usize>,
    pub(crate) yields: usize,
    pub(crate) steps: usize,
    pub(crate) took: Duration,
    /// Whose token, and which, by block and offset.
    cache: HashMap<(u32, usize), (u64, u32)>,
}

impl Stage {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            schedule: Schedule::new(limits),
            limits,
            live: BTreeMap::new(),
            done: BTreeMap::new(),
            cached: BTreeMap::new(),
            yields: 0,
            steps: 0,
            took: Duration::from_millis(1),
            cache: HashMap::new(),
        }
    }

    pub(crate) fn add(&mut self, id: u64, arrival: Arrival) -> Result<(), Failure> {
        self.schedule.add(SequenceId(id), arrival.clone())?;
        let live = Live {
            arrival,
            generated: Vec::new(),
            added_at: self.steps,
            started_at: None,
        };
        self.live.insert(id, live);
        Ok(())
    }

    pub(crate) fn cancel(&mut self, id: u64) {
        self.schedule.remove(SequenceId(id));
        self.live.remove(&id);
    }

    /// One step; what it was.
    pub(crate) fn step(&mut self) -> Plan {
        let plan = self.schedule.plan();
        self.yields += plan.yielded.len();
        for start in &plan.starts {
            self.cached.insert(start.id.0, start.cached);
            let live = self.live.get_mut(&start.id.0).unwrap();
            assert_eq!(live.started_at, None, "a sequence starts once");
            live.started_at = Some(self.steps);
        }
        self.run(&plan);
        self.schedule.completed(&plan.step, self.took);
        for span in plan.step.spans.iter().filter(|span| span.wants_logits) {
            let id = span.sequence.0;
            let live = self.live.get_mut(&id).unwrap();
            // From the cache, as a model would.
            let seen: Vec<u32> = (0..span.start + span.rows.len())
                .map(|at| self.cache[&(span.blocks[at / BLOCK_TOKENS], at % BLOCK_TOKENS)].1)
                .collect();
            let token = next_token(&seen);
            live.generated.push(token);
            if live.generated.len() == live.arrival.max_new {
                self.schedule.remove(span.sequence);
                let live = self.live.remove(&id).unwrap();
                self.done.insert(id, live);
            } else {
                self.schedule.push(span.sequence, token);
            }
        }
        self.steps += 1;
        plan
    }

    /// Writes the step's rows to the cache, and holds the whole table of each span against its sequence's tokens.
    fn run(&mut self, plan: &Plan) {
        let mut next_row = 0;
        for span in &plan.step.spans {
            let live = &self.live[&span.sequence.0];
            let (tenant, adapter) = (live.arrival.caller.tenant, live.arrival.adapter);
            let owner = tenant * 1000 + adapter.unwrap_or(500 + span.sequence.0);
            let known: Vec<u32> = [&live.arrival.prompt[..], &live.generated].concat();
            assert_eq!(span.rows.start, next_row, "rows lie in order");
            next_row = span.rows.end;
            let end = span.start + span.rows.len();
            assert_eq!(span.blocks.len(), end.div_ceil(BLOCK_TOKENS));
            assert_eq!(span.wants_logits, end == known.len());
            for (row, at) in span.rows.clone().zip(span.start..) {
                let token = plan.step.tokens[row];
                assert_eq!(token, known[at]);
                let block = span.blocks[at / BLOCK_TOKENS];
                assert_eq!(self.schedule.holders(block), 1, "a shared block is written");
                self.cache
                    .insert((block, at % BLOCK_TOKENS), (owner, token));
            }
            for (at, &token) in known[..end].iter().enumerate() {
                let place = (span.blocks[at / BLOCK_TOKENS], at % BLOCK_TOKENS);
                assert_eq!(
                    self.cache.get(&place),
                    Some(&(owner, token)),
                    "position {at} of {}",
                    span.sequence.0
                );
            }
        }
        assert_eq!(next_row, plan.step.tokens.len());
        assert!(next_row <= self.limits.step_tokens.max(2), "too many rows");
    }

    /// Each block is held as often as tables have it, and is free otherwise.
    pub(crate) fn check_blocks(&self) {
        let mut uses: HashMap<u32, u32> = HashMap::new();
        for &id in self.live.keys() {
            for &block in self.schedule.table(SequenceId(id)).unwrap_or_default() {
                *uses.entry(block).or_default() += 1;
            }
        }
        let total = self.limits.cache.blocks;
        for block in 0..total as u32 {
            let used = uses.get(&block).copied().unwrap_or(0);
            assert_eq!(self.schedule.holders(block), used, "block {block}");
        }
        assert_eq!(self.schedule.free_blocks(), total - uses.len());
    }

    /// Runs until all is done.
    pub(crate) fn finish(&mut self) {
        while !self.live.is_empty() {
            let plan = self.step();
            assert!(!plan.step.spans.is_empty(), "work is left and nothing runs");
            assert!(self.steps < 100_000, "the work ends");
        }
    }
}

/// A step in words: `sequence: first position + rows`, `!` where logits are wanted, `*` where it starts.
pub(crate) fn words(plan: &Plan) -> String {
    let mut words = String::new();
    for span in &plan.step.spans {
        let starts = plan
            .starts
            .iter()
            .any(|start| start.id == span.sequence && start.cached == span.start);
        let _ = write!(
            words,
            "{}{}: {}+{}{}  ",
            span.sequence.0,
            if starts { "*" } else { "" },
            span.start,
            span.rows.len(),
            if span.wants_logits { "!" } else { "" }
        );
    }
    for id in &plan.yielded {
        let _ = write!(words, "{} yields  ", id.0);
    }
    words.trim_end().to_owned()
}
