//! A process that accepts and answers batches in a loop is killed at random: nothing that it said it had is lost, and
//! nothing has two results.
#![cfg(unix)]
#![allow(clippy::unwrap_used)] // helpers of tests panic as tests do

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use ledger::{FILE_NAME, ItemOutcome, Ledger, Polled, Request, Uuid};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const KILLS: usize = 200;
const SEED: u64 = 2026;
/// A killed process has lived so long, at most, after it opened the ledger.
const LIFE_MAX: Duration = Duration::from_millis(40);
const START_MAX: Duration = Duration::from_secs(20);
const MODEL: &str = "@cf/test/chat";
const BATCH_ITEMS: usize = 3;
/// What the child was told is done: a line each, written when the ledger has returned.
const TOLD: &str = "told";
/// What tells the child that it is one, with a number that makes its results its own.
const TURN: &str = "turn";

/// The child's part. Run by hand it has nothing to do.
#[test]
fn child_accepts_and_answers_until_it_is_killed() {
    let Ok(turn) = fs::read_to_string(TURN) else {
        return;
    };
    let mut told = File::options()
        .create(true)
        .append(true)
        .open(TOLD)
        .unwrap();
    let mut tell = |line: String| told.write_all(format!("{line}\n").as_bytes()).unwrap();
    let ledger = Ledger::open(Path::new("data")).unwrap().ledger;
    tell("open".into());
    for number in 0.. {
        let request = |n| Request {
            input: format!("{n}"),
            reference: None,
        };
        let requests: Vec<_> = (0..BATCH_ITEMS).map(request).collect();
        let id = ledger.accept(MODEL, &requests, SystemTime::now()).unwrap();
        tell(format!("accepted {id}"));
        // One item fewer than were accepted, so that kills find batches in every state.
        for _ in 1..BATCH_ITEMS {
            let taken = ledger.take().unwrap().unwrap();
            let (id, position) = (taken.item.request_id, taken.item.position);
            let result = format!("{turn}-{number}-{position}");
            let outcome = ItemOutcome::Failed(result.clone());
            taken.finish(&outcome, SystemTime::now()).unwrap();
            tell(format!("finished {id} {position} {result}"));
        }
    }
}

fn live_and_die(folder: &Path, turn: usize, life: Duration) {
    fs::write(folder.join(TURN), turn.to_string()).unwrap();
    let opened = opens(folder);
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_accepts_and_answers_until_it_is_killed"])
        .current_dir(folder)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let began = Instant::now();
    while opens(folder) == opened {
        assert!(began.elapsed() < START_MAX, "the child does not start");
        assert_eq!(child.try_wait().unwrap(), None, "the child ended by itself");
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(life);
    child.kill().unwrap();
    child.wait().unwrap();
}

fn opens(folder: &Path) -> usize {
    let told = fs::read_to_string(folder.join(TOLD)).unwrap_or_default();
    told.lines().filter(|line| *line == "open").count()
}

#[test]
fn killed_at_random_it_loses_nothing_that_it_said_it_had_and_answers_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut random = StdRng::seed_from_u64(SEED);
    for turn in 0..KILLS {
        let life = LIFE_MAX.mul_f64(random.random());
        live_and_die(folder, turn, life);
    }
    let told = fs::read_to_string(folder.join(TOLD)).unwrap();
    let mut accepted = HashSet::new();
    let mut finished = HashMap::new();
    for line in told.lines() {
        let words: Vec<_> = line.split(' ').collect();
        match *words.as_slice() {
            ["accepted", id] => {
                accepted.insert(id.parse::<Uuid>().unwrap());
            }
            ["finished", id, position, result] => {
                let key = (
                    id.parse::<Uuid>().unwrap(),
                    position.parse::<u32>().unwrap(),
                );
                let before = finished.insert(key, result.to_owned());
                assert_eq!(before, None, "{key:?} was answered twice");
            }
            _ => {}
        }
    }
    assert!(accepted.len() > KILLS / 2, "{} accepted", accepted.len());
    assert!(finished.len() > KILLS / 2, "{} finished", finished.len());
    let opened = Ledger::open(&folder.join("data")).unwrap();
    assert_eq!(opened.moved_aside, None);
    let ledger = opened.ledger;
    let now = SystemTime::now();
    while let Some(taken) = ledger.take().unwrap() {
        taken
            .finish(&ItemOutcome::Failed("at the end".into()), now)
            .unwrap();
    }
    for id in &accepted {
        let Some(Polled::Done(batch)) = ledger.poll(*id, MODEL, now).unwrap() else {
            panic!("{id} was accepted and is not done");
        };
        let results = ledger.page(&batch, 0).unwrap();
        let positions: Vec<_> = results.iter().map(|result| result.position).collect();
        assert_eq!(positions, [0, 1, 2]);
        for result in results {
            if let Some(told) = finished.get(&(*id, result.position)) {
                assert_eq!(result.outcome, ItemOutcome::Failed(told.clone()), "{id}");
            }
        }
    }
    drop(ledger);
    let file = rusqlite::Connection::open(folder.join("data").join(FILE_NAME)).unwrap();
    let count = |sql: &str| file.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    let batches = count("SELECT count(*) FROM batch");
    assert!(batches >= accepted.len() as i64);
    let results = "SELECT count(DISTINCT batch || ' ' || position) FROM batch_result";
    assert_eq!(count(results), batches * BATCH_ITEMS as i64);
}
