//! What is found again in the cache, and what is computed again.

use engine::model::{Recall, SequenceId};
use engine::{Arrival, Caller, Class, Limits};

use super::stage::{Stage, alone, arrival, caller, limits};

/// Adds a sequence, runs it to its end, and tells how much of its prompt was in the cache.
fn cached(stage: &mut Stage, id: u64, arrival: Arrival) -> usize {
    stage.add(id, arrival).unwrap();
    stage.finish();
    stage.cached[&id]
}

#[test]
fn full_blocks_are_found_by_the_same_beginning_of_the_same_tenant_and_adapter() {
    let mut stage = Stage::new(limits(64, 4, 256));
    assert_eq!(cached(&mut stage, 1, arrival(0..100, 5)), 0);
    assert_eq!(cached(&mut stage, 2, arrival(0..100, 5)), 96);
    assert_eq!(
        cached(&mut stage, 3, arrival(0..96, 5)),
        64,
        "the last token is computed again"
    );
    assert_eq!(
        cached(&mut stage, 4, arrival((0..70).chain([9; 60]), 5)),
        64
    );
    assert_eq!(cached(&mut stage, 5, arrival((1..100).chain([9]), 5)), 0);
    let other = Arrival {
        caller: caller(7, Class::Default),
        ..arrival(0..100, 5)
    };
    assert_eq!(cached(&mut stage, 6, other.clone()), 0, "another tenant");
    assert_eq!(cached(&mut stage, 7, other), 96);
    let other = Arrival {
        adapter: Some(1),
        ..arrival(0..100, 5)
    };
    assert_eq!(cached(&mut stage, 8, other), 0, "another adapter");
    let own = Arrival {
        adapter: None,
        ..arrival(0..100, 5)
    };
    assert_eq!(cached(&mut stage, 9, own.clone()), 0);
    assert_eq!(cached(&mut stage, 10, own), 0, "its cache is its own");
}

#[test]
fn a_conversation_finds_its_earlier_turns_and_their_answers() {
    let mut stage = Stage::new(limits(64, 4, 256));
    let mut conversation: Vec<u32> = (100..150).collect();
    let mut found = Vec::new();
    for turn in 0..4 {
        let answer = alone(&conversation, 40);
        let prompt = conversation.clone();
        found.push(cached(&mut stage, turn, arrival(prompt, 40)));
        assert_eq!(stage.done[&turn].generated, answer);
        conversation.extend(answer);
        conversation.extend((0..20).map(|n| 200 + 20 * turn as u32 + n));
    }
    // 50, 110, 170 and 230 tokens; an answer's last token is never computed.
    assert_eq!(found, [0, 64, 128, 192]);
}

#[test]
fn a_model_whose_rounding_depends_on_shapes_finds_whole_cuts_of_prompts_only() {
    let mut stage = Stage::new(Limits {
        recall: Recall::Cuts,
        cut_tokens: 64,
        ..limits(64, 4, 256)
    });
    assert_eq!(cached(&mut stage, 1, arrival(0..250, 40)), 0);
    assert_eq!(cached(&mut stage, 2, arrival(0..250, 40)), 192);
    assert_eq!(cached(&mut stage, 3, arrival(0..180, 40)), 128);
    let prompt: Vec<u32> = (0..250)
        .chain(alone(&(0..250).collect::<Vec<_>>(), 39))
        .collect();
    assert_eq!(cached(&mut stage, 4, arrival(prompt, 5)), 192);
    let mut stage = Stage::new(Limits {
        recall: Recall::Nothing,
        ..limits(64, 4, 256)
    });
    assert_eq!(cached(&mut stage, 1, arrival(0..250, 4)), 0);
    assert_eq!(cached(&mut stage, 2, arrival(0..250, 4)), 0);
}

#[test]
fn what_was_idle_longest_is_forgotten_first_and_ends_before_beginnings() {
    let mut stage = Stage::new(limits(8, 4, 256));
    cached(&mut stage, 1, arrival(0..97, 1)); // three full blocks
    cached(&mut stage, 2, arrival(1000..1097, 1)); // three more
    assert_eq!(cached(&mut stage, 3, arrival(0..97, 1)), 96, "used again");
    cached(&mut stage, 4, arrival(2000..2097, 1)); // two are free, one was and one of the second's end goes
    assert_eq!(cached(&mut stage, 5, arrival(0..97, 1)), 96);
    let left = cached(&mut stage, 6, arrival(1000..1097, 1));
    assert!(left < 96, "{left}");
}

#[test]
fn sequences_that_arrive_together_compute_their_common_beginning_about_once() {
    let mut stage = Stage::new(limits(256, 16, 64));
    for id in 0..8 {
        let prompt = (0..320).chain([900 + id as u32]);
        stage.add(id, arrival(prompt, 2)).unwrap();
    }
    let mut rows = 0;
    while !stage.live.is_empty() {
        rows += stage.step().step.tokens.len();
        stage.check_blocks();
    }
    assert!(rows < 2 * 320 + 8 * 40, "{rows} rows");
}

#[test]
fn a_sequence_that_yields_goes_on_where_it_was() {
    // Six blocks; each of two sequences grows to four.
    let mut stage = Stage::new(limits(6, 4, 256));
    for id in [1, 2] {
        let prompt: Vec<u32> = (0..40).map(|n| n + 100 * id as u32).collect();
        stage.add(id, arrival(prompt, 80)).unwrap();
        stage.step();
    }
    // The promise of the first keeps the second out until there is room beside it.
    stage.finish();
    for id in [1, 2] {
        let live = &stage.done[&id];
        assert_eq!(live.generated, alone(&live.arrival.prompt, 80));
    }
}

#[test]
fn the_youngest_yields_when_more_is_generated_than_was_promised() {
    // Each is promised 256 new tokens, which fit; they generate 400.
    let mut stage = Stage::new(limits(22, 4, 256));
    for id in [1, 2] {
        let prompt: Vec<u32> = (0..40).map(|n| n + 100 * id as u32).collect();
        stage.add(id, arrival(prompt, 400)).unwrap();
    }
    let mut yielded = Vec::new();
    while !stage.live.is_empty() {
        let plan = stage.step();
        stage.check_blocks();
        yielded.extend(plan.yielded);
    }
    assert_eq!(yielded, [SequenceId(2)]);
    for id in [1, 2] {
        let live = &stage.done[&id];
        assert_eq!(live.generated, alone(&live.arrival.prompt, 400));
    }
}

#[test]
fn batches_yield_once_to_who_waits_for_an_answer() {
    let mut stage = Stage::new(limits(64, 2, 256));
    let of = |tenant, class, prompt: u32| Arrival {
        caller: Caller {
            tenant,
            class,
            refuses_to_wait: false,
        },
        ..arrival([prompt], 60)
    };
    stage.add(1, of(1, Class::Batch, 1)).unwrap();
    stage.add(2, of(1, Class::Batch, 2)).unwrap();
    stage.step();
    stage.add(3, of(1, Class::Interactive, 3)).unwrap();
    let plan = stage.step();
    assert_eq!(plan.yielded, [SequenceId(2)]);
    assert_eq!(plan.starts[0].id, SequenceId(3));
    stage.finish();
    assert_eq!(stage.yields, 1);
    for live in stage.done.values() {
        assert_eq!(live.generated, alone(&live.arrival.prompt, 60));
    }
}
