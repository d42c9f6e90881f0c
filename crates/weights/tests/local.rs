//! A user's own files: checked, never fetched, changed or removed.

use std::fs;
use std::path::Path;

use catalog::{Origin, Source, WeightFile, WeightSet};
use weights::{FetchError, Options, Silent, Store};

/// SHA-256 of `abc`, from FIPS 180.
const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

fn set(path: &Path, files: &[(&str, Option<&str>)]) -> WeightSet {
    WeightSet {
        name: "mine".to_owned(),
        architecture: "none".to_owned(),
        licence: "none".to_owned(),
        window: None,
        download_bytes: 0,
        disk_bytes: 0,
        memory_bytes: 0,
        source: Source::Local {
            path: path.to_owned(),
        },
        files: files
            .iter()
            .map(|(path, sha256)| WeightFile {
                path: (*path).to_owned(),
                sha256: sha256.map(str::to_owned),
                origin: Origin::InPlace,
            })
            .collect(),
    }
}

fn store() -> Store {
    let options = Options {
        offline: true,
        ..Options::default()
    };
    Store::open("/nonexistent-store".into(), options)
}

#[test]
fn a_folder_and_a_single_file_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("some-model.gguf");
    fs::write(&model, "abc").unwrap();
    fs::write(folder.path().join("config.json"), "{}").unwrap();
    let whole = set(
        folder.path(),
        &[("some-model.gguf", Some(ABC)), ("config.json", None)],
    );
    let files = store().fetch(&whole, &Silent).unwrap();
    assert_eq!(files.get("some-model.gguf"), Some(model.as_path()));
    assert_eq!(files.folder(), folder.path());
    assert!(store().is_complete(&whole));

    let single = set(&model, &[("model.gguf", Some(ABC))]);
    let files = store().fetch(&single, &Silent).unwrap();
    assert_eq!(files.get("model.gguf"), Some(model.as_path()));
    assert_eq!(files.folder(), folder.path());
    store().verify(&single).unwrap();
}

#[test]
fn what_is_wrong_is_told_with_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model.gguf");
    fs::write(&model, "abd").unwrap();
    fs::create_dir(folder.path().join("a-folder")).unwrap();
    let told = |set: &WeightSet| store().fetch(set, &Silent).unwrap_err();
    for (source, names, expected) in [
        (
            folder.path(),
            &[("absent", None)][..],
            "absent is not there",
        ),
        (
            folder.path(),
            &[("a-folder", None)],
            "a-folder is not a file",
        ),
        (
            &folder.path().join("nowhere"),
            &[("model.gguf", None)],
            "nowhere is not there",
        ),
        (&model, &[("a", None), ("b", None)], "the set has several"),
    ] {
        let set = set(source, names);
        let error = told(&set);
        assert!(matches!(error, FetchError::Local { .. }), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
        assert!(!store().is_complete(&set));
    }
    let error = told(&set(folder.path(), &[("model.gguf", Some(ABC))]));
    assert!(matches!(error, FetchError::FileHash { .. }), "{error}");
}

#[test]
fn it_is_never_removed() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("model.gguf"), "abc").unwrap();
    let mine = set(folder.path(), &[("model.gguf", None)]);
    assert!(store().remove(&mine).is_err());
    assert!(folder.path().join("model.gguf").is_file());
}
