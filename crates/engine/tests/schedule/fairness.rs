//! Who comes first, and that nobody waits for ever.

use engine::model::SequenceId;
use engine::{Arrival, Class};

use super::stage::{Stage, arrival, caller, limits};

fn of(tenant: u64, class: Class, new: usize) -> Arrival {
    Arrival {
        caller: caller(tenant, class),
        ..arrival([1, 2, 3], new)
    }
}

#[test]
fn a_tenant_that_floods_does_not_keep_another_out() {
    let mut stage = Stage::new(limits(256, 4, 256));
    for id in 0..200 {
        stage.add(id, of(1, Class::Default, 10)).unwrap();
    }
    for _ in 0..15 {
        stage.step();
    }
    stage.add(1000, of(2, Class::Default, 10)).unwrap();
    while !stage.done.contains_key(&1000) {
        stage.step();
    }
    let wait = stage.done[&1000].started_at.unwrap() - stage.done[&1000].added_at;
    assert!(
        wait <= 10,
        "the next place is its own, not after {wait} steps"
    );
}

#[test]
fn tenants_with_much_to_do_get_equal_shares() {
    let mut stage = Stage::new(limits(256, 4, 256));
    for id in 0..60 {
        // The second asks for answers that are twice as long.
        stage.add(id, of(1, Class::Default, 10)).unwrap();
        stage.add(100 + id, of(2, Class::Default, 20)).unwrap();
    }
    for _ in 0..200 {
        stage.step();
    }
    let written = |range: std::ops::Range<u64>| -> usize {
        let all = stage
            .done
            .range(range.clone())
            .chain(stage.live.range(range));
        all.map(|(_, live)| live.generated.len()).sum()
    };
    let (first, second) = (written(0..60), written(100..160));
    assert!(
        first.abs_diff(second) < (first + second) / 8,
        "{first} and {second}"
    );
}

#[test]
fn urgent_classes_start_first_and_none_is_starved() {
    let mut stage = Stage::new(limits(256, 1, 256));
    stage.add(0, of(1, Class::Default, 5)).unwrap();
    stage.step();
    stage.add(1, of(1, Class::Batch, 1)).unwrap();
    stage.add(2, of(1, Class::Default, 1)).unwrap();
    stage.add(3, of(1, Class::Interactive, 1)).unwrap();
    let mut order = Vec::new();
    while !stage.live.is_empty() {
        order.extend(stage.step().starts.into_iter().map(|start| start.id.0));
    }
    assert_eq!(order, [3, 2, 1]);
    // With a new urgent one after each step, the others start all the same.
    for id in 0..10 {
        stage.add(id, of(1, Class::Batch, 1)).unwrap();
    }
    let mut begun = 0;
    for id in 0..200 {
        stage.add(100 + id, of(1, Class::Interactive, 1)).unwrap();
        let starts = stage.step().starts;
        begun += starts.iter().filter(|start| start.id.0 < 10).count();
    }
    assert!((8..=12).contains(&begun), "{begun} of 200 starts");
}

#[test]
fn newcomers_without_end_do_not_keep_out_who_had_much() {
    let mut stage = Stage::new(limits(256, 2, 256));
    let old = 1_000_000;
    stage.add(old, of(old, Class::Default, 2000)).unwrap();
    for id in 0..3 {
        stage.add(id, of(id, Class::Default, 1)).unwrap();
    }
    stage.step();
    stage.add(old + 1, of(old, Class::Default, 1)).unwrap();
    // Each step a tenant comes that had nothing yet, and one place is free.
    for id in 3..100 {
        stage.add(id, of(id, Class::Default, 1)).unwrap();
        stage.step();
    }
    assert!(stage.done.contains_key(&(old + 1)));
}

#[test]
fn who_holds_few_places_comes_before_who_holds_many_and_had_less() {
    let mut stage = Stage::new(limits(256, 4, 256));
    stage.add(0, of(1, Class::Default, 2000)).unwrap();
    for id in 10..13 {
        stage.add(id, of(2, Class::Default, 300)).unwrap();
    }
    while stage.live.len() > 1 {
        stage.step();
    }
    // The second had three times as much; the first takes every place, and more wait.
    for id in 20..100 {
        stage.add(id, of(1, Class::Default, 20)).unwrap();
    }
    stage.step();
    for id in 200..204 {
        stage.add(id, of(2, Class::Default, 20)).unwrap();
    }
    for _ in 0..20 {
        stage.step();
    }
    let runs = |id: &u64| stage.schedule.table(SequenceId(*id)).is_some();
    assert_eq!((200..204).filter(runs).count(), 2, "half of the places");
}
