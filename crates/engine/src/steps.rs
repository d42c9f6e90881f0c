//! The Steps loop: schedule, run, sample, write; one step a turn, for all live sequences at once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use tasks::{Failure, Finish, Task, Usage};

use crate::QUEUE_MAX_JOBS;
use crate::caller::Caller;
use crate::lease::Lease;
use crate::likelihood::Likelihood;
use crate::model::{
    Admission, BLOCK_TOKENS, LogitRules, Prelude, Rows, SequenceId, Step, StepModel, Writer,
};
use crate::replies::{Reader, Reply};
use crate::sample::Sampler;
use crate::schedule::{Arrival, Limits, Mix, Schedule, Start};
use crate::thread::{DeviceHalf, Turn};
use crate::work::{Meter, Moment};

/// Rows in one step of a [`StepModel`]: about what this loop's slowest device, a single CPU core, runs in the time
/// that a reader of a stream still takes for fluent.
pub const STEP_MAX_TOKENS: usize = 256;
/// Prompts are cut at multiples of so many positions.
pub const CUT_TOKENS: usize = BLOCK_TOKENS;
/// The time between two tokens of a stream that prompts must not lengthen: twenty tokens a second are faster than most
/// people read.
pub const INTER_TOKEN_TARGET: Duration = Duration::from_millis(50);
/// Tokens of one sequence that a step may guess, where the model's recall allows it: rows cost a single CPU core a fifth of
/// what a step costs, so that more would gain little even if all came true.
pub const DRAFT_MAX_TOKENS: usize = 8;
/// Jobs that are taken in before a step, so that a flood of refusals does not hold it up.
const TAKE_IN_MAX_JOBS: usize = QUEUE_MAX_JOBS;

/// Events that a writer may make beside one for each token, or two where it is told how likely they were.
const EXTRA_MAX_EVENTS: usize = 16;

/// An admitted request and its reader.
pub(crate) struct Job<T: Task> {
    admission: Admission<T>,
    caller: Caller,
    reader: Reader<T::Event>,
}

impl<T: Task> Job<T> {
    pub(crate) fn new(
        admission: Admission<T>,
        caller: Caller,
        lease: Lease,
    ) -> (Self, tokio::sync::mpsc::Receiver<Reply<T::Event>>) {
        let of_token = 1 + usize::from(admission.logprobs.is_some());
        let events = of_token * admission.max_new_tokens + EXTRA_MAX_EVENTS;
        let (reader, receiver) = Reader::channel(events, lease);
        let job = Self {
            admission,
            caller,
            reader,
        };
        (job, receiver)
    }
}

/// A sequence between its arrival and its end.
struct Live<T: Task> {
    prelude: Option<Prelude>,
    /// The model knows it, and must be told when it goes.
    admitted: bool,
    prompt_tokens: u32,
    cached_tokens: u32,
    max_new_tokens: usize,
    generated: Vec<u32>,
    sampler: Sampler,
    rules: Option<Box<dyn LogitRules>>,
    logprobs: Option<usize>,
    writer: Box<dyn Writer<T>>,
    reader: Reader<T::Event>,
}

/// A step model, its sequences and their schedule.
pub(crate) struct StepLane<T: Task, M: StepModel> {
    model: M,
    incoming: mpsc::Receiver<Job<T>>,
    schedule: Schedule,
    live: BTreeMap<SequenceId, Live<T>>,
    meter: Arc<Meter>,
    /// Empty between tokens; their memory is used again.
    events: Vec<T::Event>,
}

impl<T: Task, M: StepModel> StepLane<T, M> {
    pub(crate) fn new(model: M, incoming: mpsc::Receiver<Job<T>>, meter: Arc<Meter>) -> Self {
        let limits = Limits {
            cache: model.cache(),
            recall: model.recall(),
            step_tokens: STEP_MAX_TOKENS,
            cut_tokens: CUT_TOKENS,
            queue: QUEUE_MAX_JOBS,
            target: INTER_TOKEN_TARGET,
            mix: Mix::default(),
            drafts: DRAFT_MAX_TOKENS,
        };
        Self {
            model,
            incoming,
            schedule: Schedule::new(limits),
            live: BTreeMap::new(),
            meter,
            events: Vec::new(),
        }
    }

    /// Takes in what has arrived. What finds no place is told so.
    fn take_in(&mut self) {
        for _ in 0..TAKE_IN_MAX_JOBS {
            let Ok(job) = self.incoming.try_recv() else {
                break;
            };
            let Job {
                admission,
                caller,
                reader,
            } = job;
            let id = next_id();
            let live = Live {
                prelude: admission.prelude,
                admitted: false,
                prompt_tokens: admission.tokens.len() as u32,
                cached_tokens: 0,
                max_new_tokens: admission.max_new_tokens,
                generated: Vec::new(),
                sampler: Sampler::new(admission.sampling, &admission.tokens, rand::random()),
                rules: admission.rules,
                logprobs: admission.logprobs,
                writer: admission.writer,
                reader,
            };
            let arrival = Arrival {
                prompt: admission.tokens,
                max_new: admission.max_new_tokens,
                caller,
                // A prelude says what no token says, unless it has a name.
                adapter: admission.adapter.or(live.prelude.is_none().then_some(0)),
            };
            match self.schedule.add(id, arrival) {
                Ok(()) => {
                    self.live.insert(id, live);
                }
                Err(failure) => live.reader.fail(failure),
            }
        }
    }

    /// Frees whatever belongs to readers that have left.
    fn drop_abandoned(&mut self) {
        let gone: Vec<_> = self
            .live
            .iter()
            .filter(|(_, live)| live.reader.has_left())
            .map(|(&id, _)| id)
            .collect();
        for id in gone {
            self.retire(id);
        }
    }

    /// Takes a sequence out of the schedule and the model.
    fn retire(&mut self, id: SequenceId) -> Option<Live<T>> {
        self.schedule.remove(id);
        let live = self.live.remove(&id)?;
        if live.admitted {
            self.model.release(id);
        }
        Some(live)
    }

    fn fail(&mut self, id: SequenceId, failure: Failure) {
        if let Some(live) = self.retire(id) {
            live.reader.fail(failure);
        }
    }

    /// Shows the model its new sequences; those it refuses fail, and their rows leave the step.
    fn admit(&mut self, starts: &[Start], step: &mut Step) {
        for &Start { id, cached } in starts {
            let Some(live) = self.live.get_mut(&id) else {
                continue;
            };
            match self.model.admit(id, live.prelude.take()) {
                Ok(()) => {
                    live.admitted = true;
                    live.cached_tokens = cached as u32;
                    live.writer.begin(live.cached_tokens);
                }
                Err(failure) => {
                    self.fail(id, failure);
                    remove_rows(step, id);
                }
            }
        }
    }

    /// Samples and hands on one row's token. Whether the step has computed what follows it as well.
    fn advance(&mut self, id: SequenceId, logits: &mut [f32]) -> bool {
        let Some(live) = self.live.get_mut(&id) else {
            return false;
        };
        let begun = Moment::now();
        let told = live.logprobs.map(|count| (count, logits.to_vec()));
        let ruled = match &mut live.rules {
            Some(rules) => rules.apply(&live.generated, logits),
            None => Ok(()),
        };
        let token = match ruled.and_then(|()| live.sampler.next(logits)) {
            Ok(token) => token,
            Err(failure) => {
                self.fail(id, failure);
                return false;
            }
        };
        self.meter.token(begun.spent());
        if let Some((count, logits)) = told {
            let likelihood = Likelihood::of(&logits, token, count);
            live.writer.likelihood(likelihood);
        }
        self.events.clear();
        let ended = live.writer.token(token, &mut self.events);
        if ended.is_none() || ended == Some(Finish::Length) {
            live.generated.push(token);
        }
        let full = live.generated.len() >= live.max_new_tokens;
        let finish = ended.or(full.then_some(Finish::Length));
        if let Some(finish) = finish {
            let usage = Usage {
                prompt_tokens: live.prompt_tokens,
                completion_tokens: live.generated.len() as u32,
                cached_tokens: live.cached_tokens,
            };
            live.writer.finish(finish, usage, &mut self.events);
        }
        let heard = self.events.drain(..).all(|event| live.reader.event(event));
        if finish.is_some() || !heard {
            if let Some(live) = self.retire(id) {
                live.reader.end();
            }
            return false;
        }
        let is_computed = self.schedule.push(id, token);
        if !is_computed && let Some(rules) = &mut live.rules {
            rules.chosen(token);
        }
        is_computed
    }
}

impl<T: Task, M: StepModel> DeviceHalf for StepLane<T, M> {
    fn turn(&mut self) -> Turn {
        self.drop_abandoned(); // first: their places are for those who come
        self.take_in();
        let mut plan = self.schedule.plan();
        if plan.step.spans.is_empty() {
            return Turn::Idle;
        }
        self.admit(&plan.starts, &mut plan.step);
        let step = plan.step;
        if step.spans.is_empty() {
            return Turn::Worked;
        }
        let wanted = step.logit_rows().count();
        let begun = Moment::now();
        match self
            .model
            .step(&step)
            .and_then(|rows| checked(rows, wanted))
        {
            Ok(mut rows) => {
                let spent = begun.spent();
                self.meter.step(step.tokens.len(), spent);
                self.schedule.completed(&step, spent.wall);
                let mut logits = rows.logits.chunks_mut(rows.width);
                for span in &step.spans {
                    let mut rows = logits.by_ref().take(span.logits);
                    // Rows behind a guess that was wrong say nothing.
                    while rows
                        .next()
                        .is_some_and(|row| self.advance(span.sequence, row))
                    {}
                    rows.for_each(drop);
                }
                self.model.reuse(rows);
            }
            Err(failure) => {
                for span in &step.spans {
                    self.fail(span.sequence, failure.clone());
                }
            }
        }
        Turn::Worked
    }
}

fn checked(rows: Rows, wanted: usize) -> Result<Rows, Failure> {
    if rows.width > 0 && rows.logits.len() == rows.width * wanted || wanted == 0 {
        return Ok(Rows {
            width: rows.width.max(1),
            ..rows
        });
    }
    Err(Failure::Internal(format!(
        "{} logits of width {} for {wanted} rows",
        rows.logits.len(),
        rows.width
    )))
}

/// Takes one sequence's rows out of a step.
fn remove_rows(step: &mut Step, id: SequenceId) {
    let mut kept = Step::default();
    for mut span in std::mem::take(&mut step.spans) {
        if span.sequence == id {
            continue;
        }
        let first = kept.tokens.len();
        kept.tokens
            .extend_from_slice(&step.tokens[span.rows.clone()]);
        span.rows = first..kept.tokens.len();
        kept.spans.push(span);
    }
    *step = kept;
}

pub(crate) fn next_id() -> SequenceId {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    SequenceId(NEXT.fetch_add(1, Ordering::Relaxed))
}
