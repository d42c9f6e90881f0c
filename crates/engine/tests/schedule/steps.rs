//! Decided steps.

use std::time::Duration;

use engine::model::{Recall, SequenceId};
use engine::{Limits, Mix};
use tasks::Failure;

use super::stage::{Stage, arrival, limits, words};

/// The next `count` steps in words.
fn steps(stage: &mut Stage, count: usize) -> String {
    let steps = (0..count).map(|_| words(&stage.step()));
    steps.collect::<Vec<_>>().join("\n")
}

#[test]
fn generated_tokens_share_steps_with_cuts_of_a_prompt() {
    let mut stage = Stage::new(limits(64, 4, 256));
    // So slow that there is no time for a second cut.
    stage.took = Duration::from_millis(60);
    stage.add(1, arrival([1, 2, 3], 9)).unwrap();
    stage.step();
    stage.add(2, arrival(0..100, 2)).unwrap();
    insta::assert_snapshot!(steps(&mut stage, 6), @r"
    1: 3+1!  2*: 0+32
    1: 4+1!  2: 32+32
    1: 5+1!  2: 64+32
    1: 6+1!  2: 96+4!
    1: 7+1!  2: 100+1!
    1: 8+1!
    ");
}

#[test]
fn fast_steps_take_more_cuts_and_slow_ones_never_less_than_one() {
    let cuts = |took: Duration| {
        let mut stage = Stage::new(limits(64, 4, 256));
        stage.took = took;
        stage.add(1, arrival([1, 2, 3], 50)).unwrap();
        for _ in 0..20 {
            stage.step();
        }
        stage.add(2, arrival(0..700, 2)).unwrap();
        (0..3).for_each(|_| {
            stage.step();
        });
        stage.step().step.spans.len() - 1
    };
    assert_eq!(
        cuts(Duration::from_millis(2)),
        7,
        "as many as a step has room for"
    );
    assert_eq!(cuts(Duration::from_secs(2)), 1);
}

#[test]
fn streams_wait_for_a_part_of_a_cut_where_a_whole_one_takes_too_long() {
    let longest = |recall| {
        let mut stage = Stage::new(Limits {
            recall,
            ..limits(100, 4, 256)
        });
        stage.took = Duration::from_millis(2);
        stage.row_took = Duration::from_micros(2500);
        stage.add(1, arrival([1, 2, 3], 600)).unwrap();
        // What a row takes is learnt with the first prompt.
        stage.add(3, arrival(0..200, 2)).unwrap();
        for _ in 0..40 {
            stage.step();
        }
        stage.add(2, arrival(1000..2000, 2)).unwrap();
        let (mut rows, mut steps) = (0, 0);
        while !stage.done.contains_key(&2) {
            rows = rows.max(stage.step().step.tokens.len());
            steps += 1;
        }
        (rows, steps)
    };
    assert_eq!(
        longest(Recall::Blocks),
        (17, 64),
        "40 of 50 ms for a prompt"
    );
    assert_eq!(
        longest(Recall::Cuts),
        (33, 33),
        "its bits hang on where it is cut"
    );
}

#[test]
fn a_prompt_that_is_alone_fills_the_step() {
    let mut stage = Stage::new(limits(64, 4, 128));
    stage.took = Duration::from_secs(1);
    stage.add(1, arrival(0..150, 2)).unwrap();
    insta::assert_snapshot!(steps(&mut stage, 3), @r"
    1*: 0+32  1: 32+32  1: 64+32  1: 96+32
    1: 128+22!
    1: 150+1!
    ");
}

#[test]
fn a_prompt_is_cut_at_the_same_positions_whatever_runs_beside_it() {
    for recall in [Recall::Nothing, Recall::Cuts, Recall::Blocks] {
        let cuts = |beside: u64| {
            let mut stage = Stage::new(Limits {
                recall,
                cut_tokens: 16,
                ..limits(64, 16, 32)
            });
            for id in 0..beside {
                let prompt = vec![1; 3 + id as usize % 5];
                stage.add(100 + id, arrival(prompt, 70)).unwrap();
            }
            stage.add(1, arrival(0..75, 70)).unwrap();
            let mut cuts = Vec::new();
            while cuts.iter().map(|(_, rows)| rows).sum::<usize>() < 75 {
                for span in stage.step().step.spans {
                    if span.sequence == SequenceId(1) && span.start < 75 {
                        cuts.push((span.start, span.rows.len()));
                    }
                }
            }
            cuts
        };
        assert_eq!(cuts(0), [(0, 16), (16, 16), (32, 16), (48, 16), (64, 11)]);
        assert_eq!(cuts(12), cuts(0));
    }
}

#[test]
fn a_short_prompt_does_not_wait_for_a_long_one() {
    let mut stage = Stage::new(limits(600, 4, 64));
    stage.took = Duration::from_millis(60);
    stage.add(1, arrival([1], 100)).unwrap();
    stage.step();
    stage
        .add(2, arrival((0..16_000).map(|n| n % 900), 1))
        .unwrap();
    stage.step();
    stage.add(3, arrival(500..550, 1)).unwrap();
    for _ in 0..4 {
        stage.step();
    }
    assert!(stage.done.contains_key(&3), "two cuts in four steps");
    for _ in 0..16 {
        stage.step();
    }
    let table = stage.step().step.spans;
    assert!(
        table
            .iter()
            .any(|span| span.sequence == SequenceId(2) && span.start >= 32 * 16)
    );
}

#[test]
fn prompts_first_and_separate_steps_for_comparison() {
    let run = |mix| {
        let mut stage = Stage::new(Limits {
            mix,
            ..limits(64, 4, 64)
        });
        stage.add(1, arrival([1, 2, 3], 9)).unwrap();
        stage.step();
        stage.add(2, arrival(0..100, 4)).unwrap();
        steps(&mut stage, 5)
    };
    insta::assert_snapshot!(run(Mix::PromptsFirst), @r"
    2*: 0+32  2: 32+32
    2: 64+32  2: 96+4!
    1: 3+1!  2: 100+1!
    1: 4+1!  2: 101+1!
    1: 5+1!  2: 102+1!
    ");
    insta::assert_snapshot!(run(Mix::Separate), @r"
    2*: 0+32  2: 32+32
    1: 3+1!
    2: 64+32  2: 96+4!
    1: 4+1!  2: 100+1!
    1: 5+1!  2: 101+1!
    ");
}

#[test]
fn all_sequences_have_their_turn_when_a_step_is_too_small_for_them() {
    let mut stage = Stage::new(limits(64, 16, 4));
    for id in 0..9 {
        stage.add(id, arrival([id as u32], 20)).unwrap();
    }
    for _ in 0..60 {
        stage.step();
    }
    stage.finish();
    assert_eq!(stage.done.len(), 9);
}

#[test]
fn a_sequence_that_may_not_yield_waits_until_its_whole_need_of_blocks_is_free() {
    let mut stage = Stage::new(Limits {
        recall: Recall::Cuts,
        ..limits(3, 4, 256)
    });
    stage.add(1, arrival(vec![0; 33], 31)).unwrap(); // two blocks
    stage.add(2, arrival(vec![0; 34], 1)).unwrap(); // two blocks
    assert_eq!(stage.step().starts.len(), 1);
    assert_eq!(stage.schedule.waiting(), 1);
    stage.cancel(1);
    assert_eq!(stage.step().starts[0].id, SequenceId(2));
    assert_eq!(stage.schedule.free_blocks(), 3);
}

#[test]
fn what_has_no_place_is_refused_at_once() {
    let mut stage = Stage::new(Limits {
        queue: 2,
        ..limits(2, 1, 256)
    });
    assert!(matches!(
        stage.add(1, arrival(vec![0; 60], 5)),
        Err(Failure::Unavailable(_))
    ));
    assert!(stage.add(1, arrival([], 5)).is_err());
    let mut impatient = arrival(vec![0; 20], 4);
    impatient.caller.refuses_to_wait = true;
    stage.add(1, impatient.clone()).unwrap();
    assert_eq!(
        stage.add(2, impatient.clone()),
        Err(Failure::Busy),
        "one waits"
    );
    stage.step();
    assert_eq!(
        stage.add(2, impatient.clone()),
        Err(Failure::Busy),
        "one runs"
    );
    stage.add(3, arrival([1], 1)).unwrap();
    stage.add(4, arrival([1], 1)).unwrap();
    assert_eq!(
        stage.add(5, arrival([1], 1)),
        Err(Failure::Busy),
        "two wait"
    );
    stage.finish();
    stage.add(6, impatient).unwrap();
    stage.finish();
}
