//! An entry of the catalogue held against the hub: what is said of one that is right, and of each mistake.
#![cfg(unix)]

mod hub_server;

use catalog::{Origin, Source, WeightFile, WeightSet};
use hub_server::bench::{CONFIG, DEEP, HubBench, MODEL, NAMES, set};
use hub_server::{COMMIT, Fault, Listed, etag};
use weights::{Difference, FetchError, HubError, Silent};

fn bytes(bench: &HubBench) -> u64 {
    let sizes = NAMES
        .iter()
        .map(|name| bench.server.bytes(name).len() as u64);
    sizes.sum()
}

/// The entry as it should be, but for the change.
fn entry(bench: &HubBench, change: impl FnOnce(&mut WeightSet)) -> WeightSet {
    let mut entry = set("main");
    entry.disk_bytes = bytes(bench);
    change(&mut entry);
    entry
}

fn file(path: &str) -> WeightFile {
    WeightFile {
        path: path.to_owned(),
        sha256: None,
        origin: Origin::Hub {
            repository: 0,
            path: path.to_owned(),
        },
    }
}

fn hub(entry: &mut WeightSet) -> (&mut String, &mut String, &mut bool) {
    match &mut entry.source {
        Source::Hub {
            repository,
            revision,
            gated,
            ..
        } => (repository, revision, gated),
        _ => panic!("a set of the hub"),
    }
}

fn differences(bench: &HubBench, change: impl FnOnce(&mut WeightSet)) -> Vec<Difference> {
    let entry = entry(bench, change);
    let found = bench.store().compare_with_hub(&entry, &Silent);
    found.unwrap_or_else(|error| panic!("{error}")).differences
}

fn failure(bench: &HubBench, change: impl FnOnce(&mut WeightSet)) -> FetchError {
    let entry = entry(bench, change);
    let found = bench.store().compare_with_hub(&entry, &Silent);
    found.expect_err("an entry that cannot be compared")
}

#[test]
fn a_right_entry_is_told_its_commit_and_nothing_is_fetched() {
    let bench = HubBench::new(100_000);
    let right = entry(&bench, |_| {});
    let found = bench.store().compare_with_hub(&right, &Silent).unwrap();
    assert_eq!(found.differences, []);
    assert_eq!((found.commit.as_str(), found.gated), (COMMIT, false));
    assert_eq!(found.bytes, Some(bytes(&bench)));
    let seen = bench.server.seen();
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!(
        seen[0].target,
        "/api/models/acme/tiny/revision/main?blobs=true"
    );
    assert_eq!(seen[0].authorization.as_deref(), Some("Bearer hf_test"));
    assert!(!bench.home().join("cache").exists());
    // A rounded size is no difference, nor a hash that is the hub's.
    let rounded = differences(&bench, |entry| entry.disk_bytes = bytes(&bench) * 101 / 100);
    assert_eq!(rounded, []);
    let hash = etag(MODEL, &bench.server.bytes(MODEL));
    let hashed = |entry: &mut WeightSet| entry.files[2].sha256 = Some(hash);
    assert_eq!(differences(&bench, hashed), []);
}

#[test]
fn each_mistake_is_told_with_the_line_that_would_be_right() {
    let bench = HubBench::new(100_000);
    let told = |change: &dyn Fn(&mut WeightSet)| {
        let found = differences(&bench, change);
        assert_eq!(found.len(), 1, "{found:?}");
        (found[0].to_string(), found[0].line())
    };
    let (what, line) = told(&|entry| entry.files[2] = file("Model.safetensors"));
    assert_eq!(
        what,
        "Model.safetensors is not there; there is model.safetensors"
    );
    assert_eq!(line, "files = [..., \"model.safetensors\"]");
    let (what, line) = told(&|entry| entry.files[2] = file("tiny.Q4_K_M.gguf"));
    assert_eq!(
        what,
        "tiny.Q4_K_M.gguf is not there, nor anything of its kind"
    );
    assert_eq!(line, "remove \"tiny.Q4_K_M.gguf\" from `files`");
    let (what, line) = told(&|entry| entry.disk_bytes = bytes(&bench) * 2);
    assert!(what.contains("2 % off"), "{what}");
    assert_eq!(line, format!("disk_bytes = {}", bytes(&bench)));
    let (_, line) = told(&|entry| *hub(entry).2 = true);
    assert_eq!(line, "remove `gated = true`");
    let (what, line) = told(&|entry| entry.files[2].sha256 = Some("0".repeat(64)));
    let hash = etag(MODEL, &bench.server.bytes(MODEL));
    assert!(
        what.contains(&hash) && line.contains(&hash),
        "{what}: {line}"
    );
}

#[test]
fn shards_that_are_others_are_one_mistake() {
    let names = [
        CONFIG,
        DEEP,
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
    ];
    let mut bench = HubBench::new(10);
    bench.server = hub_server::HubServer::new(&names.map(|name| (name, vec![7; 1000])));
    bench.options.hub.endpoint = bench.server.endpoint();
    let mut entry = set("main");
    let shards = (1..=4).map(|n| file(&format!("model-{n:05}-of-00004.safetensors")));
    entry.files.truncate(2);
    entry.files.extend(shards);
    let found = bench.store().compare_with_hub(&entry, &Silent).unwrap();
    let found = found.differences;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].line(), "shards = 2");
}

#[test]
fn what_the_hub_says_of_itself_is_compared() {
    let bench = HubBench::new(1000);
    bench.server.list(Listed {
        id: "acme/renamed",
        gated: "\"manual\"",
        sizes: false,
        ..Listed::default()
    });
    let found = differences(&bench, |_| {});
    let lines: Vec<_> = found.iter().map(Difference::line).collect();
    // A size that is not told is no difference.
    assert_eq!(lines, ["repository = \"acme/renamed\"", "gated = true"]);
}

#[test]
fn what_is_not_there_is_told_by_its_kind() {
    let mut bench = HubBench::new(1000);
    let missing = |bench: &HubBench, change: &dyn Fn(&mut WeightSet)| match failure(bench, change) {
        FetchError::Hub {
            source: HubError::NotFound { what, .. },
            ..
        } => what,
        other => panic!("{other}"),
    };
    let other = |entry: &mut WeightSet| "acme/other".clone_into(hub(entry).0);
    assert_eq!(missing(&bench, &other), "repository");
    let gone = |entry: &mut WeightSet| "v9".clone_into(hub(entry).1);
    assert_eq!(missing(&bench, &gone), "revision");
    bench.options.offline = true;
    let error = failure(&bench, |_| {});
    assert!(matches!(error, FetchError::Offline { .. }), "{error}");
    let local = |entry: &mut WeightSet| {
        entry.source = Source::Local {
            path: "/mine".into(),
        }
    };
    let error = failure(&bench, local);
    assert!(matches!(error, FetchError::Entry { .. }), "{error}");
}

#[test]
fn what_passes_is_tried_again_and_what_is_no_listing_is_refused() {
    let bench = HubBench::new(1000);
    bench.server.plan([Fault::Status(503), Fault::HangUp]);
    assert_eq!(differences(&bench, |_| {}), []);
    bench.server.plan([Fault::LoginPage]);
    let error = failure(&bench, |_| {});
    assert!(error.to_string().contains("login page"), "{error}");
    bench.server.plan([Fault::Status(401)]);
    let error = failure(&bench, |_| {});
    assert!(error.to_string().contains("may also not exist"), "{error}");
    bench.server.list(Listed {
        gated: "[",
        ..Listed::default()
    });
    let error = failure(&bench, |_| {});
    assert!(error.to_string().contains("not one of the hub"), "{error}");
    bench.server.list(Listed {
        padding: 9 << 20,
        ..Listed::default()
    });
    let error = failure(&bench, |_| {});
    assert!(error.to_string().contains("more than"), "{error}");
}
