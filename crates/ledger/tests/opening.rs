//! The file: one owner, known layouts only, and what is damaged is moved aside.
#![allow(clippy::unwrap_used)] // helpers of tests panic as tests do

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use ledger::{FILE_NAME, Ledger, LedgerError, Request};

fn fill(folder: &Path) {
    let ledger = Ledger::open(folder).unwrap().ledger;
    let request = Request {
        input: "1".repeat(100),
        reference: None,
    };
    let requests = vec![request; 1000];
    ledger
        .accept("@cf/test/chat", &requests, SystemTime::now())
        .unwrap();
}

#[test]
fn a_second_owner_is_refused_and_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let first = Ledger::open(folder.path()).unwrap();
    let refused = Ledger::open(folder.path()).unwrap_err();
    assert!(matches!(refused, LedgerError::InUse(_)), "{refused}");
    assert!(refused.to_string().contains("--data"), "{refused}");
    drop(first);
    Ledger::open(folder.path()).unwrap();
}

#[test]
fn a_file_that_is_no_ledger_is_moved_aside_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE_NAME);
    let text = b"no database, but somebody's file".repeat(300);
    for turn in 1..=2 {
        fs::write(&path, &text).unwrap();
        let opened = Ledger::open(folder.path()).unwrap();
        let aside = opened.moved_aside.unwrap();
        assert_eq!(fs::read(&aside).unwrap(), text, "{turn}");
        drop(opened.ledger);
        fs::remove_file(&path).unwrap();
    }
    let kept = fs::read_dir(folder.path()).unwrap().flatten();
    let kept = kept.filter(|entry| entry.file_name().to_string_lossy().contains("damaged"));
    assert_eq!(kept.count(), 2, "neither replaced the other");
}

#[test]
fn a_damaged_ledger_is_moved_aside() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path());
    let path = folder.path().join(FILE_NAME);
    let mut bytes = fs::read(&path).unwrap();
    assert!(
        bytes.len() > 50_000,
        "the log went into the file at its end"
    );
    for byte in &mut bytes[8192..40_000] {
        *byte = 0xA5;
    }
    fs::write(&path, &bytes).unwrap();
    let opened = Ledger::open(folder.path()).unwrap();
    assert_eq!(fs::read(opened.moved_aside.unwrap()).unwrap(), bytes);
    assert!(opened.ledger.take().unwrap().is_none());
}

#[test]
fn another_programs_database_and_a_cut_file_are_moved_aside_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE_NAME);
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE theirs (a)").unwrap();
    drop(other);
    assert!(Ledger::open(folder.path()).unwrap().moved_aside.is_some());
    fill(folder.path());
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    assert!(Ledger::open(folder.path()).unwrap().moved_aside.is_some());
}

#[test]
fn a_later_layout_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path());
    let path = folder.path().join(FILE_NAME);
    let later = rusqlite::Connection::open(&path).unwrap();
    later
        .execute("INSERT INTO migration VALUES (99, '2030-01-01')", [])
        .unwrap();
    drop(later);
    let before = fs::read(&path).unwrap();
    let refused = Ledger::open(folder.path()).unwrap_err();
    assert!(
        matches!(refused, LedgerError::Newer { found: 99, .. }),
        "{refused}"
    );
    assert_eq!(fs::read(&path).unwrap(), before);
}
