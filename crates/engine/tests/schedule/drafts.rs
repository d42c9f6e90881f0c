//! Guessed tokens: what they save, what they may cost, and what they never touch.

use std::time::Duration;

use engine::Limits;
use engine::model::{BLOCK_TOKENS, SequenceId, Span};

use super::stage::{PERIOD, Stage, alone, arrival, limits, mixed, words};

const DRAFTS: usize = 8;
/// About what a single core takes for SmolLM2.
const STEP: Duration = Duration::from_micros(5500);
const ROW: Duration = Duration::from_micros(1500);

fn stage(drafts: usize, next: fn(&[u32]) -> u32) -> Stage {
    let mut stage = Stage::new(Limits {
        drafts,
        ..limits(256, 64, 256)
    });
    (stage.took, stage.row_took, stage.next) = (STEP, ROW, next);
    stage
}

/// Repeats what stood a period before.
fn repeating(tokens: &[u32]) -> u32 {
    tokens[tokens.len() - PERIOD]
}

/// Any of seven: two of them often stood together before, and what follows is right once in seven times.
fn anything(tokens: &[u32]) -> u32 {
    (mixed(tokens) % 7) as u32
}

#[test]
fn a_text_that_repeats_itself_is_computed_many_tokens_at_a_time() {
    let mut stage = stage(DRAFTS, repeating);
    stage.add(1, arrival(0..PERIOD as u32, 200)).unwrap();
    stage.finish();
    let expected: Vec<u32> = (0..200).map(|n| n % PERIOD as u32).collect();
    assert_eq!(stage.done[&1].generated, expected);
    assert!(stage.steps < 40, "{} steps", stage.steps);
    // Nothing was wrong, and nothing guessed beyond the end.
    assert_eq!(stage.guessed, stage.came_true);
}

#[test]
fn what_is_right_goes_on_behind_the_last_right_one() {
    let mut stage = stage(3, |tokens| match tokens.len() {
        12 => 9,
        length => tokens[length - PERIOD],
    });
    stage.took = Duration::from_millis(100);
    stage.add(1, arrival([0, 1, 2, 3, 4, 0, 1], 10)).unwrap();
    let mut steps = Vec::new();
    while !stage.live.is_empty() {
        steps.push(words(&stage.step()));
        stage.check_blocks();
    }
    insta::assert_snapshot!(steps.join("\n"), @r"
    1*: 0+7!
    1: 7+4!!!!
    1: 11+4!!!!
    1: 12+1!
    1: 13+1!
    1: 14+2!!
    ");
    assert_eq!(stage.done[&1].generated, [2, 3, 4, 0, 1, 9, 3, 4, 0, 1]);
}

#[test]
fn guesses_that_do_not_come_true_cost_little_and_are_tried_again() {
    let run = |drafts| {
        let mut stage = stage(drafts, anything);
        stage.add(1, arrival([1, 2, 3], 2000)).unwrap();
        stage.finish();
        stage
    };
    let (with, without) = (run(DRAFTS), run(0));
    assert_eq!(with.done[&1].generated, without.done[&1].generated);
    let more = with.all_took.as_secs_f64() / without.all_took.as_secs_f64();
    assert!(more < 1.01, "{more} of the time");
    assert!((20..200).contains(&with.guessed), "{}", with.guessed);
}

#[test]
fn guesses_that_seldom_come_true_pay_where_the_first_rows_cost_nothing() {
    let run = |drafts| {
        let mut stage = stage(drafts, anything);
        // As long as the weights take to be read, then as long as the rows take.
        (stage.took, stage.least_took) = (Duration::ZERO, 3 * ROW);
        stage.add(1, arrival(0..100, 1)).unwrap();
        stage.add(2, arrival([1, 2, 3], 1000)).unwrap();
        stage.finish();
        stage
    };
    let (with, without) = (run(DRAFTS), run(0));
    let part = with.all_took.as_secs_f64() / without.all_took.as_secs_f64();
    assert!(part < 0.95, "{part} of the time");
}

#[test]
fn a_text_that_begins_to_repeat_itself_is_found_out() {
    let mut stage = stage(DRAFTS, |tokens| match tokens.len() {
        0..1000 => anything(tokens),
        _ => repeating(tokens),
    });
    stage.add(1, arrival([1, 2, 3], 1500)).unwrap();
    while stage.live[&1].generated.len() < 1000 {
        stage.step();
    }
    let before = stage.steps;
    stage.finish();
    let steps = stage.steps - before;
    assert!(steps < 120, "{steps} steps for 500 tokens");
}

#[test]
fn the_time_of_all_others_in_a_step_counts() {
    // Right three times in five.
    let next = |tokens: &[u32]| match mixed(tokens) % 5 {
        0..3 => repeating(tokens),
        _ => 100 + (mixed(tokens) / 5 % 1000) as u32,
    };
    let guessed = |beside: u64| {
        let mut stage = stage(DRAFTS, next);
        (stage.took, stage.row_took) = (STEP / 4, ROW / 2);
        stage.add(0, arrival(0..10, 400)).unwrap();
        for id in 1..=beside {
            // Their tokens are different ones each time: there is nothing to guess.
            let prompt = (0..10).map(|n| 10_000 * id as u32 + n);
            stage.add(id, arrival(prompt, 400)).unwrap();
        }
        let mut guessed = 0;
        while stage.live.contains_key(&0) {
            let spans = stage.step().step.spans;
            let own = spans.iter().find(|span| span.sequence == SequenceId(0));
            guessed += own.map_or(0, |span| span.logits.saturating_sub(1));
        }
        guessed
    };
    let (alone, in_company) = (guessed(0), guessed(30));
    assert!(alone > 40, "{alone}");
    assert!(in_company * 4 < alone, "{in_company} and {alone}");
}

#[test]
fn prompts_come_before_guesses_and_rows_are_no_more_than_a_step_has() {
    let cuts = |drafts| {
        let mut stage = Stage::new(Limits {
            drafts,
            ..limits(64, 32, 40)
        });
        stage.next = repeating;
        stage.add(1, arrival(0..5, 100)).unwrap();
        stage.add(2, arrival(0..5, 100)).unwrap();
        for _ in 0..4 {
            stage.step();
        }
        stage.add(3, arrival(100..164, 1)).unwrap();
        let mut cuts = Vec::new();
        while !stage.done.contains_key(&3) {
            let before = stage.guessed;
            let step = stage.step().step;
            assert!(step.tokens.len() <= 40);
            assert!(drafts == 0 || stage.guessed > before, "there is room");
            let own = |span: &&Span| span.sequence == SequenceId(3);
            let spans = step.spans.iter().filter(own);
            cuts.push(spans.map(|span| span.rows.len()).collect::<Vec<_>>());
        }
        cuts
    };
    assert_eq!(cuts(0), [vec![20], vec![20], vec![20, 4]]);
    assert_eq!(cuts(DRAFTS), cuts(0));
}

#[test]
fn guesses_take_no_block_that_is_not_free_and_give_back_what_they_took() {
    // Two sequences fill the cache but for one block; what they generate beyond their promise they have to share.
    let mut stage = Stage::new(Limits {
        drafts: DRAFTS,
        ..limits(22, 16, 256)
    });
    for id in [1, 2] {
        let prompt: Vec<u32> = (0..40).map(|n| n % 9 + 100 * id as u32).collect();
        stage.add(id, arrival(prompt, 400)).unwrap();
    }
    let mut yielded = Vec::new();
    while !stage.live.is_empty() {
        let plan = stage.step();
        stage.check_blocks();
        yielded.extend(plan.yielded);
    }
    assert_eq!(yielded, [SequenceId(2)], "as without guesses");
    assert!(stage.came_true > 100 && stage.came_true < stage.guessed);
    for id in [1, 2] {
        let live = &stage.done[&id];
        assert_eq!(live.generated, alone(&live.arrival.prompt, 400));
    }
}

#[test]
fn the_last_free_block_is_for_the_guesses_of_one() {
    // Both have nine blocks and want a tenth at the same time.
    for length in 10..20 {
        let mut stage = Stage::new(Limits {
            drafts: DRAFTS,
            ..limits(19, 16, 256)
        });
        stage.next = repeating;
        for id in [1, 2] {
            let first = 100 * id as u32;
            stage.add(id, arrival(first..first + length, 400)).unwrap();
        }
        while !stage.live.is_empty() {
            stage.step();
            stage.check_blocks();
        }
        assert!(stage.yields <= 1, "a prompt of {length}");
    }
}

#[test]
fn the_end_of_an_answer_that_was_guessed_is_found_by_the_next_turn() {
    let cached = |drafts| {
        let mut stage = stage(drafts, repeating);
        let prompt: Vec<u32> = (0..PERIOD as u32).collect();
        // With its last token but one, a block is full.
        let new = 4 * BLOCK_TOKENS + 1 - prompt.len();
        stage.add(1, arrival(prompt.clone(), new)).unwrap();
        stage.finish();
        let said = stage.done[&1].generated.clone();
        let turn = prompt.into_iter().chain(said).chain([7; 5]);
        stage.add(2, arrival(turn, 1)).unwrap();
        stage.finish();
        stage.cached[&2]
    };
    assert_eq!(cached(0), 4 * BLOCK_TOKENS);
    assert_eq!(cached(DRAFTS), 4 * BLOCK_TOKENS);
}
