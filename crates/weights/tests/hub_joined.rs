//! A set of two repositories: one folder of links, and each file in its own repository's part of the cache.
#![cfg(unix)]
#![allow(clippy::unwrap_used)] // helpers of tests panic as tests do

mod hub_server;

use std::fs;

use catalog::{Origin, Repository, Source, WeightFile, WeightSet};
use hub_server::bench::{CONFIG, HubBench, MODEL, noise, set};
use hub_server::{BESIDE, COMMIT};
use weights::{BundleError, Difference, FetchError, Silent};

/// What the set calls the file of the second repository, and that repository.
const UNET: &str = "unet/model.safetensors";
const UNET_THERE: &str = "tiny_unet.safetensors";

fn bench() -> HubBench {
    HubBench::of(&[
        (CONFIG, b"{\"model_type\": \"tiny\"}".to_vec()),
        (MODEL, noise(1000)),
        ("acme/beside/tiny_unet.safetensors", noise(3000)),
        ("acme/beside/config.json", b"another".to_vec()),
    ])
}

fn joined() -> WeightSet {
    let mut joined = set("main");
    if let Source::Hub { others, .. } = &mut joined.source {
        others.push(Repository {
            name: BESIDE.into(),
            revision: "main".into(),
        });
    }
    let file = |path: &str, repository, there: &str| WeightFile {
        path: path.into(),
        sha256: None,
        origin: Origin::Hub {
            repository,
            path: there.into(),
        },
    };
    joined.files = vec![
        file(UNET, 1, UNET_THERE),
        file(CONFIG, 0, CONFIG),
        file(MODEL, 0, MODEL),
    ];
    joined.disk_bytes = 4022;
    joined
}

#[test]
fn each_file_comes_from_its_own_repository() {
    let bench = bench();
    let (store, joined) = (bench.store(), joined());
    assert!(!store.is_complete(&joined));
    let files = store.fetch(&joined, &Silent).unwrap();
    assert_eq!(files.folder(), bench.home().join("store/tiny"));
    assert_eq!(files.folder(), store.folder(&joined));
    for (name, served) in [
        (UNET, "acme/beside/tiny_unet.safetensors"),
        (CONFIG, CONFIG),
        (MODEL, MODEL),
    ] {
        let path = files.get(name).unwrap();
        assert_eq!(
            fs::read(path).unwrap(),
            bench.server.bytes(served),
            "{name}"
        );
    }
    // Both are as Python would have them, and nothing is there that was not asked for.
    let beside = bench.home().join("cache/models--acme--beside");
    let snapshot = beside.join("snapshots").join(COMMIT);
    let there: Vec<_> = fs::read_dir(&snapshot).unwrap().flatten().collect();
    assert_eq!((there.len(), there[0].file_name()), (1, UNET_THERE.into()));
    assert!(
        bench
            .repository()
            .join("snapshots")
            .join(COMMIT)
            .join(MODEL)
            .is_file()
    );
    assert_eq!(
        fs::read_to_string(beside.join("refs/main")).unwrap(),
        COMMIT
    );

    bench.server.forget();
    assert!(store.is_complete(&joined));
    store.fetch(&joined, &Silent).unwrap();
    store.verify(&joined).unwrap();
    assert_eq!(store.bytes_on_disk(&joined), 4022);
    assert_eq!(bench.server.seen().len(), 0);
}

#[test]
fn a_bundle_does_not_hold_it() {
    let bench = bench();
    let (store, joined) = (bench.store(), joined());
    store.fetch(&joined, &Silent).unwrap();
    let bundle = bench.home().join("bundle.tar");
    let refused = store.export(&bundle, &[&joined], &Silent);
    assert!(matches!(refused, Err(BundleError::Joined { set }) if set == joined.name));
    assert!(!bundle.exists());
}

#[test]
fn what_was_fetched_of_it_is_removed_though_it_was_never_whole() {
    let bench = bench();
    let (store, joined) = (bench.store(), joined());
    assert!(!store.has_some(&joined));
    let folder = store.fetch(&joined, &Silent).unwrap().folder().to_owned();
    fs::remove_dir_all(folder).unwrap();
    assert!(store.has_some(&joined), "its own part");
    assert!(store.remove(&joined).unwrap());
    assert!(!store.has_some(&joined));
    assert!(!store.remove(&joined).unwrap());
}

#[test]
fn links_are_made_again_without_the_hub() {
    let mut bench = bench();
    let joined = joined();
    let folder = bench
        .store()
        .fetch(&joined, &Silent)
        .unwrap()
        .folder()
        .to_owned();
    bench.options.offline = true;
    let store = bench.store();
    let broken = |breaks: &dyn Fn()| {
        breaks();
        assert!(!store.is_complete(&joined));
        let damaged = store.verify(&joined).unwrap_err();
        assert!(damaged.to_string().contains(UNET), "{damaged}");
        store.fetch(&joined, &Silent).unwrap();
        assert!(store.is_complete(&joined));
        let bytes = bench.server.bytes("acme/beside/tiny_unet.safetensors");
        assert_eq!(fs::read(folder.join(UNET)).unwrap(), bytes);
    };
    broken(&|| fs::remove_file(folder.join(UNET)).unwrap());
    broken(&|| fs::remove_dir_all(&folder).unwrap());
    broken(&|| {
        fs::remove_file(folder.join(UNET)).unwrap();
        std::os::unix::fs::symlink(folder.join(MODEL), folder.join(UNET)).unwrap();
    });
}

#[test]
fn a_damaged_part_is_found_and_fetched_again() {
    let bench = bench();
    let (store, joined) = (bench.store(), joined());
    let folder = store.fetch(&joined, &Silent).unwrap().folder().to_owned();
    let blob = fs::canonicalize(folder.join(UNET)).unwrap();
    fs::write(&blob, "no model").unwrap();
    let damaged = store.verify(&joined).unwrap_err();
    assert!(damaged.to_string().contains(UNET_THERE), "{damaged}");
    assert!(!store.is_complete(&joined));
    bench.server.forget();
    store.fetch(&joined, &Silent).unwrap();
    store.verify(&joined).unwrap();
    let seen = bench.server.seen();
    let other = |seen: &hub_server::Seen| seen.target.contains(BESIDE);
    assert!(!seen.is_empty() && seen.iter().all(other), "{seen:?}");
}

#[test]
fn removing_leaves_what_may_be_another_sets() {
    let bench = bench();
    let (store, joined) = (bench.store(), joined());
    let folder = store.fetch(&joined, &Silent).unwrap().folder().to_owned();
    let blob = fs::canonicalize(folder.join(UNET)).unwrap();
    assert!(store.remove(&joined).unwrap());
    assert!(!store.is_complete(&joined) && !folder.exists());
    assert!(!bench.repository().join("snapshots").join(COMMIT).exists());
    assert!(blob.is_file(), "the other repository's file stays");
    assert!(!store.remove(&joined).unwrap());
}

#[test]
fn an_entry_is_held_against_both_repositories() {
    let bench = bench();
    let mut joined = joined();
    let compare = |joined: &WeightSet| bench.store().compare_with_hub(joined, &Silent).unwrap();
    let found = compare(&joined);
    assert_eq!((found.bytes, found.differences), (Some(4022), vec![]));
    joined.disk_bytes = 1022;
    let (written, on_hub) = (1022, 4022);
    let differs = compare(&joined).differences;
    assert_eq!(differs, [Difference::Size { written, on_hub }]);
    if let Origin::Hub { path, .. } = &mut joined.files[0].origin {
        *path = "wrong.safetensors".into();
    }
    let missing = Difference::Missing {
        file: "wrong.safetensors".into(),
        instead: vec![UNET_THERE.into()],
    };
    assert_eq!(compare(&joined).differences, [missing]);
}

#[test]
fn names_that_would_leave_the_cache_are_refused() {
    let bench = bench();
    let refused = |change: &dyn Fn(&mut WeightSet)| {
        let mut bad = joined();
        change(&mut bad);
        let error = bench.store().fetch(&bad, &Silent).unwrap_err();
        assert!(matches!(error, FetchError::Entry { .. }), "{error}");
    };
    let of = |repository, path: &str| Origin::Hub {
        repository,
        path: path.into(),
    };
    refused(&|bad| bad.files[0].path = "../x".into());
    refused(&|bad| bad.files[0].origin = of(1, "../x"));
    refused(&|bad| bad.files[0].origin = of(2, UNET_THERE));
    refused(&|bad| {
        if let Source::Hub { others, .. } = &mut bad.source {
            others[0].name = "../x/y".into();
        }
    });
    assert_eq!(bench.server.seen().len(), 0);
}
