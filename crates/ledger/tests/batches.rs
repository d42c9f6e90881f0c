//! Batches: accepted durably, answered once, kept for a day, and bounded.
#![allow(clippy::unwrap_used)] // helpers of tests panic as tests do

use std::path::Path;
use std::time::{Duration, SystemTime};

use ledger::{
    BATCH_KEPT_MAX_BYTES, BATCH_MAX_BYTES, BATCH_MAX_ITEMS, ItemOutcome, ItemResult, Ledger,
    LedgerError, PAGE_MAX_BYTES, Polled, RETENTION, Request, STORED_MAX_BYTES, Uuid,
};

const MODEL: &str = "@cf/test/chat";

fn open(folder: &Path) -> Ledger {
    let opened = Ledger::open(folder).unwrap();
    assert_eq!(opened.moved_aside, None);
    opened.ledger
}

fn requests(count: usize) -> Vec<Request> {
    (0..count)
        .map(|n| Request {
            input: format!(r#"{{"prompt":"{n}"}}"#),
            reference: (n % 2 == 1).then(|| format!("mine {n}")),
        })
        .collect()
}

fn answered(json: &str) -> ItemOutcome {
    ItemOutcome::Answered {
        json: json.into(),
        prompt_tokens: 2,
        completion_tokens: 3,
    }
}

fn poll(ledger: &Ledger, id: Uuid) -> Option<Polled> {
    ledger.poll(id, MODEL, SystemTime::now()).unwrap()
}

/// All results of a finished batch.
fn results(ledger: &Ledger, id: Uuid) -> Vec<ItemResult> {
    let Some(Polled::Done(finished)) = poll(ledger, id) else {
        panic!("it is done");
    };
    let mut results = Vec::new();
    loop {
        let page = ledger.page(&finished, results.len() as u32).unwrap();
        if page.is_empty() {
            assert_eq!(results.len() as u32, finished.items);
            return results;
        }
        results.extend(page);
    }
}

#[test]
fn results_come_a_page_at_a_time_and_a_batch_that_is_gone_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(folder.path());
    let now = SystemTime::now();
    let id = ledger.accept(MODEL, &requests(5), now).unwrap();
    let half = answered(&"1".repeat(PAGE_MAX_BYTES / 2));
    while let Some(taken) = ledger.take().unwrap() {
        taken.finish(&half, now).unwrap();
    }
    let Some(Polled::Done(finished)) = poll(&ledger, id) else {
        panic!("it is done");
    };
    let page = |from| {
        let page = ledger.page(&finished, from).unwrap();
        page.iter().map(|item| item.position).collect::<Vec<_>>()
    };
    assert_eq!(
        [page(0), page(2), page(4), page(5)],
        [vec![0, 1], vec![2, 3], vec![4], vec![]]
    );
    ledger
        .sweep(now + RETENTION + Duration::from_secs(1))
        .unwrap();
    assert!(matches!(
        ledger.page(&finished, 2),
        Err(LedgerError::Unknown(_))
    ));
}

#[test]
fn a_batch_is_queued_then_running_then_done_with_its_results_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(folder.path());
    let now = SystemTime::now();
    let id = ledger.accept(MODEL, &requests(3), now).unwrap();
    assert_eq!(id.get_version_num(), 4);
    assert_eq!(poll(&ledger, id), Some(Polled::Queued));
    let first = ledger.take().unwrap().unwrap();
    assert_eq!(poll(&ledger, id), Some(Polled::Running));
    assert_eq!((first.item.position, first.item.request_id), (0, id));
    assert_eq!(first.item.input, r#"{"prompt":"0"}"#);
    assert_eq!(first.item.model, MODEL);
    let second = ledger.take().unwrap().unwrap();
    second
        .finish(&ItemOutcome::Failed("no".into()), now)
        .unwrap();
    first.finish(&answered(r#"{"a":1}"#), now).unwrap();
    assert_eq!(poll(&ledger, id), Some(Polled::Running));
    let third = ledger.take().unwrap().unwrap();
    third.finish(&answered("2"), now).unwrap();
    assert!(ledger.take().unwrap().is_none());
    let result = |position, outcome, reference: Option<&str>| ItemResult {
        position,
        outcome,
        reference: reference.map(Into::into),
    };
    let done = [
        result(0, answered(r#"{"a":1}"#), None),
        result(1, ItemOutcome::Failed("no".into()), Some("mine 1")),
        result(2, answered("2"), None),
    ];
    assert_eq!(results(&ledger, id), done);
    assert_eq!(poll(&ledger, Uuid::new_v4()), None);
    let other = ledger.poll(id, "@cf/test/other", now).unwrap();
    assert_eq!(other, None, "a batch is known to its model only");
}

#[test]
fn items_come_in_the_order_of_acceptance_and_one_that_is_dropped_comes_again() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(folder.path());
    let now = SystemTime::now();
    let first = ledger.accept(MODEL, &requests(1), now).unwrap();
    let second = ledger.accept(MODEL, &requests(1), now).unwrap();
    let taken = ledger.take().unwrap().unwrap();
    assert_eq!(taken.item.request_id, first);
    let next = ledger.take().unwrap().unwrap();
    assert_eq!(next.item.request_id, second);
    assert!(ledger.take().unwrap().is_none());
    drop(taken);
    assert_eq!(poll(&ledger, first), Some(Polled::Queued));
    assert_eq!(ledger.take().unwrap().unwrap().item.request_id, first);
}

#[test]
fn what_was_accepted_and_answered_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let id = {
        let ledger = open(folder.path());
        let id = ledger.accept(MODEL, &requests(2), now).unwrap();
        let taken = ledger.take().unwrap().unwrap();
        taken.finish(&answered("1"), now).unwrap();
        let _lost = ledger.take().unwrap().unwrap();
        id
    };
    let ledger = open(folder.path());
    assert_eq!(poll(&ledger, id), Some(Polled::Running));
    let again = ledger.take().unwrap().unwrap();
    assert_eq!(again.item.position, 1, "the answered one is not run again");
    assert_eq!(again.item.attempts, 1, "the other one was given back");
    again.finish(&answered("2"), now).unwrap();
    assert_eq!(results(&ledger, id).len(), 2);
}

#[test]
fn an_attempt_that_ended_with_its_process_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let ledger = open(folder.path());
    ledger
        .accept(MODEL, &requests(1), SystemTime::now())
        .unwrap();
    let taken = ledger.take().unwrap().unwrap();
    assert_eq!(taken.item.attempts, 1);
    // What a killed process leaves.
    for name in [
        ledger::FILE_NAME.to_owned(),
        format!("{}-wal", ledger::FILE_NAME),
    ] {
        std::fs::copy(folder.path().join(&name), copy.path().join(&name)).unwrap();
    }
    let after = open(copy.path());
    assert_eq!(after.take().unwrap().unwrap().item.attempts, 2);
}

#[test]
fn a_finished_batch_is_kept_for_a_day_and_an_unfinished_one_for_as_long_as_it_takes() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(folder.path());
    let now = SystemTime::now();
    let done = ledger.accept(MODEL, &requests(1), now).unwrap();
    let open_one = ledger.accept(MODEL, &requests(1), now).unwrap();
    let taken = ledger.take().unwrap().unwrap();
    taken.finish(&answered("1"), now).unwrap();
    let both = ledger.stored_bytes();
    let second = Duration::from_secs(1);
    let just_before = now + RETENTION - second;
    assert!(ledger.poll(done, MODEL, just_before).unwrap().is_some());
    let after = now + RETENTION + second;
    assert_eq!(ledger.poll(done, MODEL, after).unwrap(), None);
    let later = now + RETENTION * 10;
    assert_eq!(
        ledger.poll(open_one, MODEL, later).unwrap(),
        Some(Polled::Queued)
    );
    assert!(ledger.stored_bytes() < both);
}

#[test]
fn batches_are_bounded_in_bytes_and_items() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(folder.path());
    let now = SystemTime::now();
    assert!(matches!(
        ledger.accept(MODEL, &[], now),
        Err(LedgerError::EmptyBatch)
    ));
    let small = Request {
        input: "1".into(),
        reference: None,
    };
    let many = vec![small; BATCH_MAX_ITEMS + 1];
    let refused = ledger.accept(MODEL, &many, now).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "a batch of 50001 requests: at most 50000 are taken"
    );
    let large = |bytes| Request {
        input: "1".repeat(bytes - 3),
        reference: Some("abc".into()),
    };
    let refused = ledger
        .accept(MODEL, &[large(BATCH_MAX_BYTES + 1)], now)
        .unwrap_err();
    assert_eq!(
        refused.to_string(),
        "a batch of 10000001 bytes: at most 10000000 are taken"
    );
    let largest = [large(BATCH_MAX_BYTES)];
    ledger.accept(MODEL, &largest, now).unwrap();
    let kept = BATCH_MAX_BYTES as u64 + 256;
    assert_eq!(ledger.stored_bytes(), kept);
    drop(ledger);
    assert_eq!(
        open(folder.path()).stored_bytes(),
        kept,
        "it is counted anew"
    );
}

#[test]
fn all_batches_together_are_bounded_until_old_ones_are_past_their_time() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(folder.path());
    let now = SystemTime::now();
    ledger.accept(MODEL, &requests(1), now).unwrap();
    let taken = ledger.take().unwrap().unwrap();
    taken.finish(&answered("1"), now).unwrap();
    drop(taken);
    drop(ledger);
    // Written by hand, which is quicker than a gibibyte of results.
    let file = rusqlite::Connection::open(folder.path().join(ledger::FILE_NAME)).unwrap();
    let bytes = STORED_MAX_BYTES as i64 - 1000;
    file.execute("UPDATE batch SET bytes = ?1", [bytes])
        .unwrap();
    drop(file);
    let ledger = open(folder.path());
    let next = [Request {
        input: "1".repeat(10_000),
        reference: None,
    }];
    let refused = ledger.accept(MODEL, &next, now).unwrap_err();
    assert!(matches!(refused, LedgerError::Full { .. }), "{refused}");
    assert!(
        refused.to_string().contains("removed a day after"),
        "{refused}"
    );
    let tomorrow = now + RETENTION + Duration::from_secs(1);
    ledger.accept(MODEL, &next, tomorrow).unwrap();
}

#[test]
fn a_result_that_finds_no_room_fails_its_item_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(folder.path());
    let now = SystemTime::now();
    let id = ledger.accept(MODEL, &requests(2), now).unwrap();
    let large = answered(&"1".repeat(BATCH_KEPT_MAX_BYTES as usize));
    ledger.take().unwrap().unwrap().finish(&large, now).unwrap();
    ledger
        .take()
        .unwrap()
        .unwrap()
        .finish(&answered("2"), now)
        .unwrap();
    let results = results(&ledger, id);
    let ItemOutcome::Failed(text) = &results[0].outcome else {
        panic!("it failed");
    };
    assert!(text.contains("smaller batch"), "{text}");
    assert_eq!(results[1].outcome, answered("2"));
}
