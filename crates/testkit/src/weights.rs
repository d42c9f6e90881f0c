//! Real weights, fetched once into the build folder, and golden files of the source tree.

use std::path::{Path, PathBuf};

use catalog::Catalog;
use weights::{Options, Silent, Store};

/// A `--home` that all tests share: beside the build's output, so that a clean build starts clean.
pub fn weights_home() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows where it is");
    test.ancestors()
        .find(|folder| folder.join("CACHEDIR.TAG").is_file())
        .expect("tests run from cargo's target folder")
        .join("test-home")
}

/// The folder of a set of weights of models.toml, fetched if need be.
pub fn weights(name: &str) -> PathBuf {
    let catalog = Catalog::builtin().unwrap();
    let set = catalog.weights(name).expect("models.toml has the set");
    let store = Store::open(weights_home().join("weights"), Options::default());
    let files = store
        .fetch(set, &Silent)
        .unwrap_or_else(|error| panic!("{name} cannot be fetched: {error}"));
    files.folder().to_path_buf()
}

/// A file or folder of tests/golden.
pub fn golden(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/golden")
        .join(path)
}
