//! A hub that misbehaves in every way that was ever seen: a file is right and whole, or is not there.
#![cfg(unix)]

mod hub_server;

use std::collections::BTreeSet;
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hub_server::bench::{CONFIG, HubBench, MODEL, Rng, set};
use hub_server::{Fault, etag};
use weights::{FetchError, HubError, Silent};

/// Runs with faults.
const RUNS: u64 = 480;
/// Runs at once; most of them wait.
const AT_ONCE: usize = 6;

#[test]
fn whatever_the_hub_does_a_file_is_right_or_not_there() {
    let next = AtomicU64::new(1);
    let fired = Mutex::new(BTreeSet::new());
    let outcomes = Mutex::new([0; 2]);
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed > RUNS {
                        return;
                    }
                    let (kinds, went_well) = run(seed);
                    fired.lock().unwrap().extend(kinds);
                    outcomes.lock().unwrap()[usize::from(went_well)] += 1;
                }
            });
        }
    });
    // The test is worth its name only if every fault came, and runs ended both ways.
    let fired = fired.into_inner().unwrap();
    assert_eq!(fired.len(), 20, "{fired:?}");
    let [bad, good] = outcomes.into_inner().unwrap();
    assert!(
        bad > RUNS / 10 && good > RUNS / 10,
        "{bad} failed, {good} went well"
    );
}

/// One run with faults, then one without. Tells the kinds of faults, and whether the first run went well.
fn run(seed: u64) -> (Vec<String>, bool) {
    let mut rng = Rng(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let length = 20_000 + rng.below(300_000);
    let mut bench = HubBench::new(length);
    let mut faults = Vec::new();
    for _ in 0..=rng.below(4) {
        let fault = rng.fault(length);
        // What spoils a resumed download needs one that was cut.
        if matches!(
            fault,
            Fault::IgnoreRange | Fault::WrongRange | Fault::NoRange | Fault::OtherStorage
        ) {
            // The three questions what the files are, then the two small files.
            faults.extend([Fault::Nothing; 5]);
            faults.push(Fault::Cut(rng.below(length)));
        }
        faults.push(fault);
    }
    bench.server.plan(faults.clone());
    let patient = bench.options.hub.stall;
    bench.options.hub.stall = Duration::from_millis(150);
    let when = format!("seed {seed}, {faults:?}");
    let outcome = bench.store().fetch(&set("main"), &Silent);
    bench.assert_sound(&when);
    if outcome.is_ok() {
        bench.assert_whole(&when);
    }
    let fired = bench.server.fired();
    bench.server.plan([]);
    bench.options.hub.stall = patient;
    bench
        .store()
        .fetch(&set("main"), &Silent)
        .unwrap_or_else(|error| panic!("{when}: afterwards: {error}"));
    bench.assert_sound(&when);
    bench.assert_whole(&when);
    assert!(!bench.partial().exists(), "{when}");
    let kind = |fault: &Fault| {
        let text = format!("{fault:?}");
        text.split('(').next().unwrap_or_default().to_owned()
    };
    (fired.iter().map(kind).collect(), outcome.is_ok())
}

/// Lets the first fetch meet `faults`, all attempts of it, and gives its error.
fn error_of(faults: &[Fault]) -> FetchError {
    let mut bench = HubBench::new(50_000);
    bench.options.hub.stall = Duration::from_millis(200);
    bench.server.plan(faults.iter().copied());
    let error = bench
        .store()
        .fetch(&set("main"), &Silent)
        .expect_err("the faults are too many");
    bench.assert_sound(&format!("{faults:?}"));
    error
}

#[test]
fn each_fault_has_its_own_error_that_says_what_to_do() {
    let table: &[(&[Fault], &str)] = &[
        (&[Fault::Status(401)], "renew HF_TOKEN"),
        (&[Fault::Status(403)], "renew HF_TOKEN"),
        (&[Fault::Status(404)], "no such file"),
        (&[Fault::Status(429); 3], "fewer requests"),
        (&[Fault::Status(503); 3], "status 503"),
        (&[Fault::LoginPage], "login page"),
        (&[Fault::LoginRedirect], "login page"),
        (&[Fault::NoCommit], "X-Repo-Commit"),
        (&[Fault::NoEtag], "ETag"),
        (&[Fault::EvilEtag], "ETag"),
        (&[Fault::Noise], "not one of the hub"),
        (&[Fault::Silence; 3], "nothing came for"),
        (&[Fault::HangUp; 3], "ended early"),
        (&[Fault::WrongSize(5)], "were promised"),
        (&[Fault::WrongSize(-5)], "were promised"),
        (&[Fault::WrongBytes], "the hash is"),
        (&[Fault::TooLong; 3], "were promised"),
        (&[Fault::Stall(10); 3], "nothing came for"),
        (&[Fault::Cut(10); 3], "ended early"),
    ];
    for (faults, words) in table {
        let error = error_of(faults).to_string();
        assert!(error.contains(words), "{faults:?}: {error}");
        assert!(error.contains("acme/tiny@main"), "{faults:?}: {error}");
        assert!(
            !error.contains("hf_test") && !error.contains("sig="),
            "{faults:?}: {error}"
        );
    }
}

#[test]
fn a_gated_model_names_its_page_and_the_token() {
    let bench = HubBench::new(1000);
    bench.server.plan([Fault::Status(403)]);
    let mut gated = set("main");
    if let catalog::Source::Hub { gated, .. } = &mut gated.source {
        *gated = true;
    }
    let error = bench.store().fetch(&gated, &Silent).unwrap_err();
    let page = format!("{}/acme/tiny", bench.server.endpoint());
    let text = error.to_string();
    assert!(
        text.contains(&page) && text.contains("licence") && text.contains("HF_TOKEN"),
        "{text}"
    );
}

#[test]
fn a_busy_hub_is_left_alone_as_long_as_it_asks_and_then_asked_again() {
    let bench = HubBench::new(1000);
    bench.server.plan([Fault::Status(429), Fault::Status(503)]);
    bench.store().fetch(&set("main"), &Silent).unwrap();
    bench.assert_whole("after 429 and 503");
    assert_eq!(bench.server.fired().len(), 2);
}

#[test]
fn a_cut_download_goes_on_where_it_was_also_in_another_run() {
    let mut bench = HubBench::new(400_000);
    bench.options.hub.attempts = 1;
    bench.server.plan([
        Fault::Nothing,
        Fault::Nothing,
        Fault::Nothing,
        Fault::Nothing,
        Fault::Nothing,
        Fault::Cut(300_000),
    ]);
    bench.store().fetch(&set("main"), &Silent).unwrap_err();
    let kept = fs::metadata(bench.partial()).unwrap().len();
    assert_eq!(kept, 300_000);
    bench.server.forget();
    bench.store().fetch(&set("main"), &Silent).unwrap();
    let ranges: Vec<_> = bench
        .server
        .seen()
        .iter()
        .filter_map(|seen| seen.range.map(|from| (seen.storage, from)))
        .collect();
    assert_eq!(ranges, [(false, 300_000), (true, 300_000)]);
    bench.assert_whole("resumed");
}

#[test]
fn a_part_with_wrong_bytes_is_dropped_and_the_file_begun_again() {
    let bench = HubBench::new(100_000);
    fs::create_dir_all(bench.repository().join("blobs")).unwrap();
    for part in [vec![7; 60_000], vec![7; 100_000], vec![7; 200_000]] {
        fs::write(bench.partial(), part).unwrap();
        bench.store().fetch(&set("main"), &Silent).unwrap();
        bench.assert_whole("wrong part");
        assert!(bench.store().remove(&set("main")).unwrap());
    }
}

#[test]
fn the_catalogues_hash_counts_beside_the_hubs() {
    let bench = HubBench::new(10_000);
    let mut strict = set("main");
    strict.files[0].sha256 = Some("0".repeat(64));
    let error = bench.store().fetch(&strict, &Silent).unwrap_err();
    assert!(
        matches!(
            error,
            FetchError::Hub {
                source: HubError::Hash { .. },
                ..
            }
        ),
        "{error}"
    );
    strict.files[0].sha256 = None;
    strict.files[2].sha256 = Some("0".repeat(64));
    let error = bench.store().fetch(&strict, &Silent).unwrap_err();
    assert!(matches!(error, FetchError::FileHash { .. }), "{error}");
    let get = |seen: &hub_server::Seen| !seen.head && seen.target.contains(MODEL);
    assert!(
        !bench.server.seen().iter().any(get),
        "a file that is not the wanted one is not fetched"
    );
    strict.files[2].sha256 = Some(etag(MODEL, &bench.server.bytes(MODEL)));
    bench.store().fetch(&strict, &Silent).unwrap();
    assert!(bench.blob(CONFIG).is_file());
}

#[test]
fn a_file_that_the_disk_cannot_hold_is_not_begun() {
    let bench = HubBench::new(1000);
    // The hub says it has 2^62 bytes.
    let huge = Fault::WrongSize(1 << 62);
    bench.server.plan([Fault::Nothing, Fault::Nothing, huge]);
    let error = bench.store().fetch(&set("main"), &Silent).unwrap_err();
    assert!(
        matches!(error, FetchError::DiskSpace { need, .. } if need > 1 << 62),
        "{error}"
    );
    assert!(bench.server.seen().iter().all(|seen| seen.head));
}
