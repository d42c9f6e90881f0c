//! The event loop: arrivals, steps of the real scheduler, and what each request saw of them.

use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::time::Duration;

use engine::model::{CacheShape, Recall, SequenceId, Step};
use engine::{Arrival, Caller, Limits, Mix, Schedule};

use super::arrivals::Request;
use super::device::Device;

/// Sequences that may wait; the server's bound.
const QUEUE: usize = engine::QUEUE_MAX_JOBS;
/// The one tenant that is told apart in the results.
pub const FLOODER: u64 = 99;

/// What a load saw. Times in seconds.
#[derive(Debug, Default, Clone)]
pub struct Seen {
    /// From the first arrival to the last token.
    pub seconds: f64,
    /// Tokens of answers.
    pub generated: usize,
    /// Prompt tokens that were found in the cache.
    pub cached: usize,
    /// Requests that were refused: the queue was full, or they can never fit.
    pub refused: usize,
    /// Sequences that gave up their blocks.
    pub yielded: usize,
    /// To the first token, of all but the flooder.
    pub first: Vec<f64>,
    /// Between tokens, of all but the flooder.
    pub between: Vec<f64>,
    pub steps: usize,
}

/// The value below which this part of the values lies.
#[must_use]
pub fn percentile(values: &mut [f64], part: f64) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    let index = ((values.len() - 1) as f64 * part).round() as usize;
    *values.select_nth_unstable_by(index, f64::total_cmp).1
}

/// The limits of the scheduler on a device.
#[must_use]
pub fn limits(device: &Device, mix: Mix) -> Limits {
    Limits {
        cache: CacheShape {
            blocks: device.blocks(),
            sequences: device.sequences,
        },
        recall: Recall::Blocks,
        step_tokens: device.step_tokens,
        cut_tokens: device.cut_tokens,
        queue: QUEUE,
        target: engine::INTER_TOKEN_TARGET,
        mix,
        drafts: 0, // nobody knows which guesses come true
    }
}

struct Live {
    number: usize,
    generated: usize,
    last: f64,
}

/// Runs a load through a schedule whose steps cost what `cost` says.
pub fn simulate(limits: Limits, load: &[Request], cost: impl Fn(&Step) -> Duration) -> Seen {
    let mut schedule = Schedule::new(limits);
    let mut live: HashMap<SequenceId, Live> = HashMap::new();
    // When the impatient leave: microseconds, negated, as the heap gives out the largest.
    let mut leaving: BinaryHeap<(i64, u64)> = BinaryHeap::new();
    let mut seen = Seen::default();
    let mut firsts = BTreeMap::new();
    let (mut now, mut next) = (0.0, 0);
    loop {
        while let Some(request) = load.get(next).filter(|request| request.at <= now) {
            let id = SequenceId(next as u64);
            let arrival = Arrival {
                prompt: request.tokens(next as u64),
                max_new: request.new,
                caller: Caller {
                    tenant: request.tenant,
                    class: request.class,
                    refuses_to_wait: false,
                },
                adapter: Some(0),
            };
            if schedule.add(id, arrival).is_ok() {
                let last = request.at;
                live.insert(
                    id,
                    Live {
                        number: next,
                        generated: 0,
                        last,
                    },
                );
                if let Some(patience) = request.patience {
                    leaving.push((-((request.at + patience) * 1e6) as i64, id.0));
                }
            } else {
                seen.refused += 1;
            }
            next += 1;
        }
        while let Some(&(at, id)) = leaving.peek().filter(|&&(at, _)| -at as f64 <= now * 1e6) {
            leaving.pop();
            debug_assert!(at <= 0);
            if live.remove(&SequenceId(id)).is_some() {
                schedule.remove(SequenceId(id));
            }
        }
        let plan = schedule.plan();
        seen.yielded += plan.yielded.len();
        seen.cached += plan.starts.iter().map(|start| start.cached).sum::<usize>();
        if plan.step.spans.is_empty() {
            let Some(request) = load.get(next) else { break };
            now = request.at.max(now);
            continue;
        }
        let took = cost(&plan.step);
        now += took.as_secs_f64();
        seen.steps += 1;
        schedule.completed(&plan.step, took);
        for span in plan.step.spans.iter().filter(|span| span.logits > 0) {
            let Some(sequence) = live.get_mut(&span.sequence) else {
                continue;
            };
            let request = &load[sequence.number];
            if request.tenant != FLOODER {
                let waited = now - sequence.last;
                if sequence.generated == 0 {
                    firsts.insert(sequence.number, waited);
                } else {
                    seen.between.push(waited);
                }
            }
            sequence.last = now;
            sequence.generated += 1;
            seen.generated += 1;
            if sequence.generated == request.new {
                schedule.remove(span.sequence);
                live.remove(&span.sequence);
            } else {
                let token = (span.sequence.0 * 31 + sequence.generated as u64) as u32;
                schedule.push(span.sequence, token);
            }
        }
    }
    seen.first = firsts.into_values().collect();
    seen.seconds = now - load.first().map_or(0.0, |request| request.at);
    seen
}
