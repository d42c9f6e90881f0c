//! What a fetch from the hub promises when all goes well: Python's layout, no needless traffic, no token astray.
#![cfg(unix)]

mod hub_server;

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use hub_server::bench::{CONFIG, DEEP, HubBench, MODEL, NAMES, options, set};
use hub_server::{COMMIT, etag};
use weights::{FetchError, Silent, Store};

#[test]
fn the_cache_has_the_layout_of_huggingface_hub() {
    let bench = HubBench::new(10_000);
    let files = bench.store().fetch(&set("main"), &Silent).unwrap();
    let repository = bench.repository();
    let snapshot = repository.join("snapshots").join(COMMIT);
    assert_eq!(files.folder(), snapshot);
    assert_eq!(bench.store().folder(&set("main")), snapshot);
    assert_eq!(
        fs::read_to_string(repository.join("refs/main")).unwrap(),
        COMMIT
    );
    for (name, up) in [
        (MODEL, "../../blobs"),
        (CONFIG, "../../blobs"),
        (DEEP, "../../../blobs"),
    ] {
        let bytes = bench.server.bytes(name);
        let target = fs::read_link(snapshot.join(name)).unwrap();
        assert_eq!(target, Path::new(up).join(etag(name, &bytes)), "{name}");
        assert_eq!(fs::read(snapshot.join(name)).unwrap(), bytes, "{name}");
    }
    let mut blobs: Vec<_> = fs::read_dir(repository.join("blobs"))
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    assert_eq!(blobs.len(), NAMES.len(), "{blobs:?}");
    blobs.retain(|name| name.to_string_lossy().contains('.'));
    assert!(blobs.is_empty(), "{blobs:?}");
    let lock = format!("{}.lock", etag(MODEL, &bench.server.bytes(MODEL)));
    assert!(
        bench
            .home()
            .join("cache/.locks/models--acme--tiny")
            .join(lock)
            .is_file()
    );
}

#[test]
fn a_mirror_that_keeps_the_bytes_at_its_own_address_does_as_well() {
    let bench = HubBench::new(10_000);
    bench.server.keep_the_bytes();
    bench.store().fetch(&set("main"), &Silent).unwrap();
    bench.assert_whole("a mirror");
    assert!(bench.server.seen().iter().all(|seen| !seen.storage));
}

/// Lays a cache out as Python does.
fn lay_out(bench: &HubBench, names: &[&str]) {
    let repository = bench.repository();
    fs::create_dir_all(repository.join("refs")).expect("written");
    fs::create_dir_all(repository.join("blobs")).expect("written");
    fs::write(repository.join("refs/main"), COMMIT).expect("written");
    for name in names {
        let bytes = bench.server.bytes(name);
        let etag = etag(name, &bytes);
        fs::write(repository.join("blobs").join(&etag), bytes).expect("written");
        let pointer = repository.join("snapshots").join(COMMIT).join(name);
        fs::create_dir_all(pointer.parent().expect("a folder")).expect("written");
        let up = "../".repeat(name.split('/').count() + 1);
        std::os::unix::fs::symlink(format!("{up}blobs/{etag}"), pointer).expect("written");
    }
}

#[test]
fn what_python_downloaded_is_used_and_not_fetched_again() {
    let mut bench = HubBench::new(10_000);
    lay_out(&bench, &NAMES);
    bench.options.offline = true;
    let store = bench.store();
    assert!(store.is_complete(&set("main")));
    store.fetch(&set("main"), &Silent).unwrap();
    store.fetch(&set(COMMIT), &Silent).unwrap();
    bench.assert_whole("Python's");
    assert_eq!(bench.server.seen().len(), 0);
}

#[test]
fn only_what_python_left_out_is_fetched() {
    let bench = HubBench::new(10_000);
    lay_out(&bench, &[MODEL]);
    bench.store().fetch(&set("main"), &Silent).unwrap();
    bench.assert_whole("half of it Python's");
    let got = |seen: &&hub_server::Seen| !seen.head;
    let targets: Vec<_> = bench
        .server
        .seen()
        .iter()
        .filter(got)
        .map(|seen| seen.target.clone())
        .collect();
    assert_eq!(targets.len(), 2, "{targets:?}");
    assert!(
        targets.iter().all(|target| target.ends_with("config.json")),
        "{targets:?}"
    );
}

#[test]
fn a_damaged_file_of_the_cache_is_found_and_replaced() {
    let bench = HubBench::new(10_000);
    lay_out(&bench, &NAMES);
    fs::write(bench.blob(MODEL), "not the model").unwrap();
    let error = bench.store().verify(&set("main")).unwrap_err();
    assert!(
        matches!(&error, FetchError::Damaged { files, .. } if files[..] == [MODEL]),
        "{error}"
    );
    bench.store().fetch(&set("main"), &Silent).unwrap();
    bench.assert_whole("repaired");
}

#[test]
fn a_complete_set_is_not_asked_for_again() {
    let bench = HubBench::new(10_000);
    bench.store().fetch(&set("main"), &Silent).unwrap();
    bench.server.forget();
    bench.store().fetch(&set("main"), &Silent).unwrap();
    assert_eq!(bench.server.seen().len(), 0);
}

#[test]
fn offline_opens_no_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let home = tempfile::tempdir().unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let mut options = options(&endpoint, &home.path().join("cache"));
    options.offline = true;
    let store = Store::open(home.path().join("store"), options);
    assert!(!store.is_complete(&set("main")));
    let error = store.fetch(&set("main"), &Silent).unwrap_err();
    assert!(matches!(error, FetchError::Offline { .. }), "{error}");
    assert!(error.to_string().contains("hearth pull tiny"), "{error}");
    assert!(store.verify(&set("main")).is_err());
    assert!(!store.remove(&set("main")).unwrap());
    std::thread::sleep(Duration::from_millis(50));
    let knock = listener.accept().unwrap_err();
    assert_eq!(knock.kind(), std::io::ErrorKind::WouldBlock);
    assert!(!home.path().join("cache").exists());
}

#[test]
fn the_token_goes_to_the_hub_and_nowhere_else() {
    let bench = HubBench::new(10_000);
    bench.store().fetch(&set("main"), &Silent).unwrap();
    let seen = bench.server.seen();
    assert!(seen.iter().any(|seen| seen.storage), "{seen:?}");
    for seen in seen {
        let want = (!seen.storage).then_some("Bearer hf_test");
        assert_eq!(seen.authorization.as_deref(), want, "{seen:?}");
    }
    assert!(!format!("{:?}", bench.options).contains("hf_test"));
}

#[test]
fn a_source_out_of_reach_is_remembered_and_forgotten_when_it_answers() {
    let mut bench = HubBench::new(1000);
    let there = bench.options.hub.endpoint.clone();
    // A port that was free a moment ago.
    let gone = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    bench.options.hub.endpoint = format!("http://{gone}");
    let store = bench.store();
    assert!(!store.failed_lately(&set("main")));
    let began = Instant::now();
    let error = store.fetch(&set("main"), &Silent).unwrap_err();
    assert!(matches!(error, FetchError::Unreachable { .. }), "{error}");
    assert!(began.elapsed() < Duration::from_secs(5));
    // Nor does a name that no network knows (RFC 6761) wait for better times.
    let mut nowhere = bench.options.clone();
    nowhere.hub.endpoint = "http://hub.invalid".to_owned();
    nowhere.hub.pause = Duration::from_mins(1);
    let error = Store::open(bench.home().join("store"), nowhere).fetch(&set("main"), &Silent);
    let error = error.unwrap_err();
    assert!(matches!(error, FetchError::Unreachable { .. }), "{error}");
    assert!(store.failed_lately(&set("main")) && store.clone().failed_lately(&set(COMMIT)));
    bench.options.hub.endpoint = there;
    let other = bench.store();
    other.fetch(&set("main"), &Silent).unwrap();
    assert!(!other.failed_lately(&set("main")));
}

#[test]
fn an_http_proxy_is_used_unless_the_host_is_excepted() {
    let mut bench = HubBench::new(1000);
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    proxy.set_nonblocking(true).unwrap();
    let address = format!("http://{}", proxy.local_addr().unwrap());
    bench.options.hub.http_proxy = Some(weights::Secret::new(address));
    bench.options.hub.stall = Duration::from_millis(300);
    bench.options.hub.connect = Duration::from_millis(300);
    bench.options.hub.attempts = 1;
    assert!(bench.store().fetch(&set("main"), &Silent).is_err());
    assert!(proxy.accept().is_ok());
    assert_eq!(bench.server.seen().len(), 0);
    bench.options.hub.no_proxy = "127.0.0.1".to_owned();
    bench.options.hub.stall = Duration::from_secs(10);
    bench.store().fetch(&set("main"), &Silent).unwrap();
}

#[test]
fn removing_takes_what_nobody_else_needs() {
    let bench = HubBench::new(10_000);
    let store = bench.store();
    store.fetch(&set("main"), &Silent).unwrap();
    // Another snapshot of Python's leads to the same model.
    let other = bench.repository().join("snapshots").join("f".repeat(40));
    fs::create_dir_all(&other).unwrap();
    let target = Path::new("../../blobs").join(etag(MODEL, &bench.server.bytes(MODEL)));
    std::os::unix::fs::symlink(target, other.join(MODEL)).unwrap();
    let (model, config) = (bench.blob(MODEL), bench.blob(CONFIG));
    fs::create_dir_all(store.packed_folder(&set("main"))).unwrap();
    assert!(store.remove(&set("main")).unwrap());
    assert!(!store.packed_folder(&set("main")).exists());
    assert!(!store.is_complete(&set("main")));
    assert!(!bench.repository().join("snapshots").join(COMMIT).exists());
    assert!(!bench.repository().join("refs/main").exists());
    assert!(model.is_file() && other.join(MODEL).is_file());
    assert!(!config.exists());
    assert!(!store.remove(&set("main")).unwrap());
}

#[test]
fn names_that_would_leave_the_cache_are_refused() {
    let bench = HubBench::new(1000);
    let refused = |change: &dyn Fn(&mut catalog::WeightSet)| {
        let mut bad = set("main");
        change(&mut bad);
        let error = bench.store().fetch(&bad, &Silent).unwrap_err();
        assert!(matches!(error, FetchError::Entry { .. }), "{error}");
    };
    refused(&|bad| bad.files[0].path = "../x".to_owned());
    refused(&|bad| bad.files[0].path = "other.json".to_owned());
    for name in ["../x/y", "a/b/c", "", "/a", ".a/b"] {
        refused(&|bad| {
            if let catalog::Source::Hub { repository, .. } = &mut bad.source {
                name.clone_into(repository);
            }
        });
    }
    refused(&|bad| *bad = set("../../refs"));
    assert_eq!(bench.server.seen().len(), 0);
}
