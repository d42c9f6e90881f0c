//! What holds for all arrivals, cancels and sizes.

use std::collections::BTreeSet;

use engine::model::{BLOCK_TOKENS, Recall, SequenceId};
use engine::{Arrival, Caller, Class, Limits, Mix};
use proptest::prelude::*;

use super::stage::{Stage, alone, limits};

#[derive(Debug, Clone)]
struct Event {
    prompt: Vec<u32>,
    new: usize,
    at_step: usize,
    cancel_after: Option<usize>,
    caller: Caller,
    adapter: Option<u64>,
}

/// Prompts with one of a few beginnings.
fn prompt() -> impl Strategy<Value = Vec<u32>> {
    (
        0..3_u32,
        0..130_usize,
        prop::collection::vec(0..7_u32, 1..60),
    )
        .prop_map(|(kind, common, own)| {
            let common = (0..common as u32).map(|n| (n * (kind + 1)) % 7);
            common.chain(own).collect()
        })
}

fn caller() -> impl Strategy<Value = Caller> {
    let class = prop_oneof![
        Just(Class::Interactive),
        Just(Class::Default),
        Just(Class::Batch)
    ];
    (0..3_u64, class, prop::bool::weighted(0.1)).prop_map(|(tenant, class, refuses_to_wait)| {
        Caller {
            tenant,
            class,
            refuses_to_wait,
        }
    })
}

fn event() -> impl Strategy<Value = Event> {
    let adapter = prop_oneof![6 => Just(Some(0)), 1 => Just(Some(1)), 1 => Just(None)];
    let cancel = prop::option::weighted(0.3, 0..40_usize);
    (
        prompt(),
        1..90_usize,
        0..60_usize,
        cancel,
        caller(),
        adapter,
    )
        .prop_map(
            |(prompt, new, at_step, cancel_after, caller, adapter)| Event {
                prompt,
                new,
                at_step,
                cancel_after,
                caller,
                adapter,
            },
        )
}

fn sizes() -> impl Strategy<Value = Limits> {
    let recall = prop_oneof![
        1 => Just(Recall::Nothing),
        1 => Just(Recall::Cuts),
        4 => Just(Recall::Blocks)
    ];
    let mix =
        prop_oneof![4 => Just(Mix::Mixed), 1 => Just(Mix::PromptsFirst), 1 => Just(Mix::Separate)];
    let cut = prop_oneof![Just(16), Just(32), Just(64), Just(24)];
    (
        6..24_usize,
        prop_oneof![2 => 1..7_usize, 1 => 7..40_usize],
        2..140_usize,
        recall,
        cut,
        mix,
        3..40_usize,
        prop_oneof![1 => Just(0_usize), 2 => 1..40_usize],
    )
        .prop_map(
            |(blocks, sequences, step_tokens, recall, cut_tokens, mix, queue, drafts)| Limits {
                recall,
                cut_tokens,
                mix,
                queue,
                drafts,
                ..limits(blocks, sequences, step_tokens)
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Drives the schedule as the loop does, with cancels in every state. The stage asserts that every row reads what
    /// its own sequence's tokens say, through whatever blocks; here: each generates what it would alone, whatever was
    /// shared, cut, given up and computed again, and guessed.
    #[test]
    fn every_sequence_generates_what_it_would_alone(
        events in prop::collection::vec(event(), 1..24),
        limits in sizes(),
        took in prop::collection::vec(1..200_u64, 1..8),
    ) {
        let mut stage = Stage::new(limits);
        let mut arrived = 0;
        let mut work = 0;
        while arrived < events.len() || !stage.live.is_empty() {
            let now = stage.steps;
            for (id, event) in events.iter().enumerate().filter(|(_, e)| e.at_step == now) {
                arrived += 1;
                work += event.prompt.len() + event.new;
                let arrival = Arrival {
                    prompt: event.prompt.clone(),
                    max_new: event.new,
                    caller: event.caller,
                    adapter: event.adapter,
                };
                if let Err(failure) = stage.add(id as u64, arrival) {
                    let too_long =
                        (event.prompt.len() + event.new).div_ceil(BLOCK_TOKENS) > limits.cache.blocks;
                    let full = stage.schedule.waiting() >= limits.queue;
                    prop_assert!(too_long || full || event.caller.refuses_to_wait, "{failure}");
                }
            }
            for (id, event) in events.iter().enumerate() {
                if event.cancel_after.is_some_and(|after| event.at_step + after == now) {
                    stage.cancel(id as u64);
                }
            }
            stage.took = std::time::Duration::from_millis(took[now % took.len()]);
            let plan = stage.step();
            prop_assert!(stage.live.is_empty() || !plan.step.spans.is_empty() || now < 60,
                "work is left and nothing runs");
            prop_assert!(limits.recall == Recall::Blocks || plan.yielded.is_empty());
            prop_assert!(limits.recall == Recall::Blocks || stage.guessed == 0);
            let cut = limits.cut_tokens.clamp(1, limits.step_tokens / 2);
            for span in &plan.step.spans {
                let known = span.rows.len() - span.logits.saturating_sub(1);
                prop_assert!(span.start % cut + known <= cut, "a span crosses a cut");
            }
            stage.check_blocks();
            prop_assert!(stage.schedule.waiting() <= limits.queue + limits.cache.sequences);
            // Each step has a row of work; what yields is computed again, no more than a few times each.
            prop_assert!(stage.steps < 60 + 20 * work, "the work ends");
        }
        for (id, live) in &stage.done {
            let expected = alone(&live.arrival.prompt, live.arrival.max_new);
            prop_assert_eq!(&live.generated, &expected, "sequence {}", id);
        }
        prop_assert_eq!(stage.schedule.free_blocks(), limits.cache.blocks, "every block came back");
    }

    /// However tenants flood, one that comes late is not behind all that they queued.
    #[test]
    fn waiting_is_bounded_by_what_runs(
        flood in 20..120_u64,
        new in 1..30_usize,
        sequences in 1..6_usize,
        class in prop_oneof![Just(Class::Interactive), Just(Class::Default)],
    ) {
        let mut stage = Stage::new(limits(512, sequences, 256));
        let of = |tenant| Arrival {
            caller: Caller { tenant, class, refuses_to_wait: false },
            ..super::stage::arrival([1, 2], new)
        };
        for id in 0..flood {
            stage.add(id, of(1)).unwrap();
        }
        for _ in 0..2 * new {
            stage.step();
        }
        stage.add(1000, of(2)).unwrap();
        for _ in 0..=new {
            if stage.done.contains_key(&1000) {
                break;
            }
            stage.step();
        }
        let started = stage.schedule.table(SequenceId(1000)).is_some() || stage.done.contains_key(&1000);
        prop_assert!(started, "it starts as soon as one of those that run has ended");
    }

    /// Nobody gets more than its share of the places while another waits with less, but for the turns of the oldest.
    #[test]
    fn places_that_come_free_go_to_who_holds_less_than_its_share(
        events in prop::collection::vec((0..4_u64, 1..30_usize, 0..80_usize), 10..120),
        sequences in 1..12_usize,
    ) {
        let mut stage = Stage::new(limits(512, sequences, 256));
        let mut running = BTreeSet::new();
        let (mut starts, mut against) = (0, 0);
        while stage.steps < 80 || !stage.live.is_empty() {
            let now = stage.steps;
            for (id, &(tenant, new, _)) in events.iter().enumerate().filter(|(_, e)| e.2 == now) {
                let caller = Caller { tenant, ..Caller::default() };
                let arrival = Arrival { caller, ..super::stage::arrival([1, 2, 3], new) };
                stage.add(id as u64, arrival).unwrap();
            }
            let plan = stage.schedule.plan();
            let (mut held, mut waiting) = ([0; 4], [false; 4]);
            let mut new = Vec::new();
            for (&id, live) in &stage.live {
                let tenant = live.arrival.caller.tenant as usize;
                if stage.schedule.table(SequenceId(id)).is_none() {
                    waiting[tenant] = true;
                    continue;
                }
                held[tenant] += 1;
                if running.insert(id) {
                    new.push(tenant);
                }
            }
            let working = (0..4).filter(|&tenant| waiting[tenant] || held[tenant] > 0).count();
            let share = sequences.div_ceil(working.max(1));
            let is_kept_out = (0..4).any(|tenant| waiting[tenant] && held[tenant] < share);
            starts += new.len();
            if is_kept_out {
                against += new.iter().filter(|&&tenant| held[tenant] > share).count();
            }
            stage.follow(&plan);
        }
        prop_assert!(against <= starts.div_ceil(8), "{against} of {starts} starts");
    }
}
