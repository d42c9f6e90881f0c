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
        drafts: 0,
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

/// A number that follows from all of these tokens.
pub(crate) fn mixed(tokens: &[u32]) -> u64 {
    let mix = |sum: u64, &token: &u32| (sum ^ u64::from(token)).wrapping_mul(0x0100_0000_01b3);
    tokens.iter().fold(0xcbf2_9ce4_8422_2325, mix) >> 32
}

/// Tokens after which a text repeats itself, where it does.
pub(crate) const PERIOD: usize = 5;

/// What comes after these tokens: mostly what stood a period before, else anything.
pub(crate) fn next_token(tokens: &[u32]) -> u32 {
    let sum = mixed(tokens);
    match tokens.len().checked_sub(PERIOD) {
        Some(before) if !sum.is_multiple_of(8) => tokens[before],
        _ => (sum / 8 % VOCABULARY) as u32,
    }
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
    /// Of a step, and of each of its rows beside; no step takes less than the third.
    pub(crate) took: Duration,
    pub(crate) row_took: Duration,
    pub(crate) least_took: Duration,
    /// Of all steps.
    pub(crate) all_took: Duration,
    /// What the model says.
    pub(crate) next: fn(&[u32]) -> u32,
    /// Tokens that steps guessed, and those of them that were right.
    pub(crate) guessed: usize,
    pub(crate) came_true: usize,
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
            row_took: Duration::ZERO,
            least_took: Duration::ZERO,
            all_took: Duration::ZERO,
            next: next_token,
            guessed: 0,
            came_true: 0,
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
        self.follow(&plan);
        plan
    }

    /// Runs what was planned.
    pub(crate) fn follow(&mut self, plan: &Plan) {
        self.yields += plan.yielded.len();
        for start in &plan.starts {
            self.cached.insert(start.id.0, start.cached);
            let live = self.live.get_mut(&start.id.0).unwrap();
            assert_eq!(live.started_at, None, "a sequence starts once");
            live.started_at = Some(self.steps);
        }
        self.run(plan);
        let took = self.took + self.row_took * plan.step.tokens.len() as u32;
        let took = took.max(self.least_took);
        self.all_took += took;
        self.schedule.completed(&plan.step, took);
        for span in &plan.step.spans {
            self.guessed += span.logits.saturating_sub(1);
            let end = span.start + span.rows.len();
            // From the cache, as a model would.
            let cached =
                |at: usize| self.cache[&(span.blocks[at / BLOCK_TOKENS], at % BLOCK_TOKENS)].1;
            let seen: Vec<u32> = (0..end).map(cached).collect();
            let mut ends = end - span.logits..end;
            while ends
                .next()
                .is_some_and(|last| self.push(span.sequence, (self.next)(&seen[..=last])))
            {
                self.came_true += 1;
            }
        }
        self.steps += 1;
    }

    /// A sequence's next token. Whether the step has computed it already.
    fn push(&mut self, id: SequenceId, token: u32) -> bool {
        let live = self.live.get_mut(&id.0).unwrap();
        live.generated.push(token);
        if live.generated.len() < live.arrival.max_new {
            return self.schedule.push(id, token);
        }
        self.schedule.remove(id);
        let live = self.live.remove(&id.0).unwrap();
        self.done.insert(id.0, live);
        false
    }

    /// Writes the step's rows to the cache, and holds the whole table of each span against its sequence's tokens. What
    /// is guessed may be anything.
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
            let guesses = end.saturating_sub(known.len());
            assert!(guesses <= self.limits.drafts);
            let is_last = end >= known.len();
            assert_eq!(span.logits, guesses + usize::from(is_last));
            let most = live.arrival.prompt.len() + live.arrival.max_new;
            assert!(end < most, "the last token is never computed");
            for (row, at) in span.rows.clone().zip(span.start..) {
                let token = plan.step.tokens[row];
                assert!(known.get(at).is_none_or(|&known| known == token));
                let block = span.blocks[at / BLOCK_TOKENS];
                assert_eq!(self.schedule.holders(block), 1, "a shared block is written");
                self.cache
                    .insert((block, at % BLOCK_TOKENS), (owner, token));
            }
            for (at, &token) in known.iter().enumerate().take(end) {
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
        let logits = plan.step.logit_rows().count();
        assert!(logits <= self.limits.cache.sequences, "too many logits");
        assert!(next_row <= self.limits.step_tokens.max(2), "too many rows");
    }

    /// Each block is held as often as tables have it, and is free otherwise.
    pub(crate) fn check_blocks(&self) {
        let mut uses: HashMap<u32, u32> = HashMap::new();
        for (&id, live) in &self.live {
            let table = self.schedule.table(SequenceId(id)).unwrap_or_default();
            let known = live.arrival.prompt.len() + live.generated.len();
            assert!(
                table.len() <= known.div_ceil(BLOCK_TOKENS),
                "blocks of wrong guesses stay"
            );
            for &block in table {
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

/// A step in words: `sequence: first position + rows`, `!` for each row whose logits are wanted, `*` where it starts.
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
            "!".repeat(span.logits)
        );
    }
    for id in &plan.yielded {
        let _ = write!(words, "{} yields  ", id.0);
    }
    words.trim_end().to_owned()
}
