//! Real processes: killed at random they lose next to nothing, and two at once fetch everything once.
#![cfg(unix)]

mod hub_server;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hub_server::bench::{HubBench, MODEL, Rng, options, set};
use hub_server::{Fault, Seen};
use weights::{Silent, Store};

/// Kills of the random kind.
const KILLS: usize = 40;
/// What a killed run may lose.
const LOSS_MAX_BYTES: u64 = 1024 * 1024;
/// The file beside a child that tells it where to fetch from.
const ENDPOINT: &str = "endpoint";

/// The child's part. Run by hand it has nothing to fetch; the tests below start this program for it, in a folder
/// that names the server.
#[test]
fn child_fetches_from_the_server_that_its_folder_names() {
    let Ok(endpoint) = fs::read_to_string(ENDPOINT) else {
        return;
    };
    let store = Store::open("store".into(), options(&endpoint, Path::new("cache")));
    store.fetch(&set("main"), &Silent).unwrap();
}

fn child(bench: &HubBench) -> Child {
    let named = bench.home().join(ENDPOINT);
    // Written once: another child may be reading it.
    if !named.exists() {
        fs::write(named, bench.server.endpoint()).expect("the system lets us");
    }
    Command::new(std::env::current_exe().expect("the system lets us"))
        .args([
            "--exact",
            "child_fetches_from_the_server_that_its_folder_names",
        ])
        .current_dir(bench.home())
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("the system lets us")
}

fn kill(mut child: Child) -> bool {
    child.kill().expect("the system lets us");
    child.wait().expect("the system lets us").success()
}

fn partial_bytes(bench: &HubBench) -> u64 {
    fs::metadata(bench.partial()).map_or(0, |found| found.len())
}

/// The first byte of each request for the model's bytes to the storage.
fn starts(seen: &[Seen]) -> Vec<usize> {
    seen.iter()
        .filter(|seen| seen.storage)
        .map(|seen| seen.range.unwrap_or(0))
        .collect()
}

#[test]
fn killed_at_random_times_it_goes_on_and_ends_right() {
    let bench = HubBench::new(6_000_000);
    bench.server.pace(Duration::from_millis(4));
    let mut rng = Rng(2026);
    let (mut resumed, mut ended) = (0, 0);
    for kills in 0..KILLS {
        let before = partial_bytes(&bench);
        bench.server.forget();
        let running = child(&bench);
        std::thread::sleep(Duration::from_millis(rng.below(250) as u64));
        ended += usize::from(kill(running));
        let when = format!("kill {kills}");
        bench.assert_sound(&when);
        // Whatever was there before is not fetched again.
        for start in starts(&bench.server.seen()) {
            assert_eq!(start as u64, before, "{when}");
            resumed += usize::from(start > 0);
        }
        if bench.store().is_complete(&set("main")) {
            bench.assert_whole(&when);
            bench.store().remove(&set("main")).unwrap();
        } else {
            assert!(
                bench.blob(MODEL).is_file() || partial_bytes(&bench) >= before,
                "{when}"
            );
        }
    }
    assert!(
        resumed > 0,
        "no run found a part to go on from ({ended} ended)"
    );
    assert!(child(&bench).wait().unwrap().success());
    bench.assert_whole("at the end");
}

#[test]
fn killed_it_loses_at_most_a_mebibyte_of_what_came() {
    let length = 5_000_000;
    let mut rng = Rng(7);
    for _ in 0..5 {
        let bench = HubBench::new(length);
        let sent = 1_500_000 + rng.below(length - 1_500_000);
        let mut faults = vec![Fault::Nothing; 5];
        faults.push(Fault::Stall(sent));
        bench.server.plan(faults);
        let running = child(&bench);
        let began = Instant::now();
        while partial_bytes(&bench) + LOSS_MAX_BYTES < sent as u64 {
            assert!(
                began.elapsed() < Duration::from_secs(8),
                "{} of {sent}",
                partial_bytes(&bench)
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        kill(running);
        let kept = partial_bytes(&bench);
        bench.server.forget();
        bench.store().fetch(&set("main"), &Silent).unwrap();
        assert_eq!(starts(&bench.server.seen()), [kept as usize]);
        bench.assert_whole("after the kill");
    }
}

#[test]
fn two_processes_at_once_fetch_every_byte_once() {
    let bench = HubBench::new(3_000_000);
    bench.server.pace(Duration::from_millis(8));
    let children = [child(&bench), child(&bench)];
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    bench.assert_whole("two at once");
    let mut bodies: Vec<_> = bench.server.seen();
    bodies.retain(|seen| !seen.head && (seen.storage || !seen.target.ends_with(".safetensors")));
    assert_eq!(bodies.len(), 3, "{bodies:?}");
    assert!(bodies.iter().all(|seen| seen.range.is_none()), "{bodies:?}");
}
