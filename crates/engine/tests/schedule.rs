//! Promises of the scheduler: budget kept, no block in two hands, order kept, all work done.

use std::collections::{BTreeMap, HashSet};

use engine::model::{BLOCK_TOKENS, CacheShape, SequenceId};
use engine::{Limits, Plan, Schedule};
use proptest::prelude::*;

fn limits(blocks: usize, sequences: usize, step_tokens: usize) -> Limits {
    Limits {
        cache: CacheShape { blocks, sequences },
        step_tokens,
    }
}

fn spans(plan: &Plan) -> Vec<(u64, usize, usize, bool)> {
    plan.step
        .spans
        .iter()
        .map(|s| (s.sequence.0, s.start, s.rows.len(), s.wants_logits))
        .collect()
}

#[test]
fn decode_rows_come_before_prefill_and_a_long_prompt_is_cut_into_chunks() {
    let mut schedule = Schedule::new(limits(16, 4, 8));
    schedule.add(SequenceId(1), vec![1, 2, 3], 4).unwrap();
    assert_eq!(spans(&schedule.plan()), [(1, 0, 3, true)]);
    schedule.push(SequenceId(1), 9);
    schedule.add(SequenceId(2), (0..20).collect(), 4).unwrap();
    for (decoded, start) in [(3, 0), (4, 4), (5, 8), (6, 12)] {
        let expected = [(1, decoded, 1, true), (2, start, 4, false)];
        assert_eq!(spans(&schedule.plan()), expected);
        schedule.push(SequenceId(1), 9);
    }
    assert_eq!(spans(&schedule.plan()), [(1, 7, 1, true), (2, 16, 4, true)]);
}

#[test]
fn a_prompt_is_cut_at_the_same_positions_whatever_runs_beside_it() {
    let cuts = |beside: usize| {
        let mut schedule = Schedule::new(limits(64, 16, 32));
        for id in 0..beside {
            let id = SequenceId(100 + id as u64);
            schedule
                .add(id, vec![1; 3 + id.0 as usize % 5], 70)
                .unwrap();
        }
        schedule.add(SequenceId(1), (0..75).collect(), 70).unwrap();
        let mut cuts = Vec::new();
        for _ in 0..60 {
            let plan = schedule.plan();
            for span in &plan.step.spans {
                if span.sequence == SequenceId(1) && span.start < 75 {
                    cuts.push((span.start, span.rows.len()));
                }
                if span.wants_logits {
                    schedule.push(span.sequence, 7);
                }
            }
        }
        cuts
    };
    assert_eq!(cuts(0), [(0, 16), (16, 16), (32, 16), (48, 16), (64, 11)]);
    assert_eq!(cuts(12), cuts(0));
}

#[test]
fn a_sequence_waits_until_its_whole_need_of_blocks_is_free() {
    let mut schedule = Schedule::new(limits(3, 4, 256));
    schedule.add(SequenceId(1), vec![0; 33], 31).unwrap(); // two blocks
    schedule.add(SequenceId(2), vec![0; 33], 1).unwrap(); // two blocks
    assert_eq!(schedule.plan().starts, [SequenceId(1)]);
    assert_eq!(schedule.free_blocks(), 1);
    schedule.remove(SequenceId(1));
    assert_eq!(schedule.plan().starts, [SequenceId(2)]);
}

#[test]
fn what_can_never_fit_is_refused_at_once() {
    let mut schedule = Schedule::new(limits(2, 4, 256));
    assert!(schedule.add(SequenceId(1), vec![0; 60], 5).is_err());
    assert!(schedule.add(SequenceId(1), vec![], 5).is_err());
    assert!(schedule.add(SequenceId(1), vec![0; 60], 4).is_ok());
}

#[derive(Debug, Clone)]
struct Arrival {
    prompt: usize,
    new: usize,
    at_step: usize,
    cancel_after: Option<usize>,
}

fn arrival() -> impl Strategy<Value = Arrival> {
    (
        1..150_usize,
        1..40_usize,
        0..60_usize,
        proptest::option::of(0..30_usize),
    )
        .prop_map(|(prompt, new, at_step, cancel_after)| Arrival {
            prompt,
            new,
            at_step,
            cancel_after,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Drives the schedule as the loop does, with cancels in every state.
    #[test]
    fn every_sequence_is_computed_once_in_order_within_the_budget(
        arrivals in proptest::collection::vec(arrival(), 1..24),
        blocks in 6..20_usize,
        sequences in 1..6_usize,
        budget in 1..64_usize,
    ) {
        let mut schedule = Schedule::new(limits(blocks, sequences, budget));
        let mut computed: BTreeMap<u64, usize> = BTreeMap::new();
        let mut generated: BTreeMap<u64, usize> = BTreeMap::new();
        let mut live: HashSet<u64> = HashSet::new();
        let mut done = 0;
        let mut step_number = 0;
        while done < arrivals.len() {
            for (id, a) in arrivals.iter().enumerate().filter(|(_, a)| a.at_step == step_number) {
                let prompt = (0..a.prompt as u32).collect();
                if schedule.add(SequenceId(id as u64), prompt, a.new).is_ok() {
                    live.insert(id as u64);
                } else {
                    prop_assert!((a.prompt + a.new).div_ceil(BLOCK_TOKENS) > blocks);
                    done += 1;
                }
            }
            for (id, a) in arrivals.iter().enumerate() {
                let due = a.cancel_after.is_some_and(|after| a.at_step + after == step_number);
                if due && live.remove(&(id as u64)) {
                    schedule.remove(SequenceId(id as u64));
                    done += 1;
                }
            }
            let plan = schedule.plan();
            prop_assert!(plan.step.tokens.len() <= budget);
            let started = live.iter().any(|id| step_number > 0 || arrivals[*id as usize].at_step == 0);
            prop_assert!(!plan.step.spans.is_empty() || live.is_empty() || !started,
                "work is left and nothing runs");
            let mut held = HashSet::new();
            let mut next_row = 0;
            for span in &plan.step.spans {
                let id = span.sequence.0;
                prop_assert!(live.contains(&id));
                prop_assert_eq!(span.rows.start, next_row);
                next_row = span.rows.end;
                let seen = computed.entry(id).or_default();
                prop_assert_eq!(span.start, *seen, "rows are neither skipped nor run twice");
                *seen += span.rows.len();
                prop_assert_eq!(span.blocks.len(), seen.div_ceil(BLOCK_TOKENS));
                for block in &span.blocks {
                    prop_assert!((*block as usize) < blocks);
                    prop_assert!(held.insert(*block), "a block in two tables");
                }
                let known = arrivals[id as usize].prompt + generated.get(&id).copied().unwrap_or(0);
                prop_assert_eq!(span.wants_logits, *seen == known);
                for (row, token) in span.rows.clone().zip(span.start..) {
                    if token < arrivals[id as usize].prompt {
                        prop_assert_eq!(plan.step.tokens[row], token as u32);
                    }
                }
            }
            prop_assert_eq!(next_row, plan.step.tokens.len());
            for span in plan.step.spans.iter().filter(|s| s.wants_logits) {
                let id = span.sequence.0;
                let count = generated.entry(id).or_default();
                *count += 1;
                if *count == arrivals[id as usize].new {
                    schedule.remove(span.sequence);
                    live.remove(&id);
                    done += 1;
                } else {
                    schedule.push(span.sequence, 7);
                }
            }
            step_number += 1;
            prop_assert!(step_number < 100_000, "the work ends");
        }
        prop_assert_eq!(schedule.free_blocks(), blocks, "every block came back");
    }
}
