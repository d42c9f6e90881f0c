//! The house rules that a program can check: arrows, file sizes, module docs, names.
#![allow(clippy::unwrap_used)] // helpers of tests panic as tests do

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, MetadataCommand};

/// Who may use whom (ARCHITECTURE.md). `tests`, `bench` and `testkit` may use anything.
const ARROWS: &[(&str, &[&str])] = &[
    ("tasks", &[]),
    ("catalog", &["tasks"]),
    ("weights", &["catalog", "tasks"]),
    ("engine", &["tasks"]),
    ("models", &["engine", "kernels", "tasks"]),
    ("doubles", &["engine", "catalog", "tasks"]),
    ("kernels", &[]),
    ("ledger", &[]),
    ("api", &["engine", "catalog", "ledger", "tasks"]),
    (
        "hearth",
        &[
            "api", "engine", "ledger", "models", "doubles", "weights", "catalog", "tasks",
        ],
    ),
];

/// Crates from outside that a crate of ours must not see.
const FORBIDDEN: &[(&str, &[&str])] = &[
    ("tasks", &["serde_json", "tokio", "axum", "candle-core"]),
    ("catalog", &["tokio", "axum", "candle-core"]),
    ("engine", &["candle-core", "axum", "hyper", "serde_json"]),
    ("models", &["axum", "hyper", "tokio"]),
    (
        "api",
        &["candle-core", "candle-nn", "candle-transformers", "ureq"],
    ),
    ("weights", &["candle-core", "tokio", "axum"]),
    ("ledger", &["candle-core", "tokio", "axum"]),
];

/// Lines at which a source file has to be cut.
const FILE_MAX_LINES: usize = 700;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![
        root().join("crates"),
        root().join("tests"),
        root().join("bench"),
    ];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            let name = entry.file_name();
            let generated = ["node_modules", "golden", "target"]
                .iter()
                .any(|n| name == *n);
            if path.is_dir() && !generated {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    assert!(found.len() > 30, "the walk found the sources");
    found
}

#[test]
fn crates_use_each_other_along_the_arrows_only() {
    let metadata = MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .exec()
        .unwrap();
    let ours: BTreeMap<_, _> = ARROWS.iter().copied().collect();
    let forbidden: BTreeMap<_, _> = FORBIDDEN.iter().copied().collect();
    for package in &metadata.packages {
        let name = package.name.as_str();
        if ["tests", "bench", "testkit"].contains(&name) {
            continue;
        }
        let allowed = ours
            .get(name)
            .unwrap_or_else(|| panic!("{name} has no row in ARROWS"));
        for dependency in &package.dependencies {
            if dependency.kind != DependencyKind::Normal {
                continue;
            }
            let used = dependency.name.as_str();
            let is_ours = dependency.path.is_some();
            assert!(
                !is_ours || allowed.contains(&used),
                "{name} must not use {used}"
            );
            let refused = forbidden.get(name).is_some_and(|list| list.contains(&used));
            assert!(!refused, "{name} must not see {used}");
        }
    }
}

#[test]
fn files_are_short_start_with_what_they_are_and_have_real_names() {
    for path in sources() {
        let text = std::fs::read_to_string(&path).unwrap();
        let shown = path.display();
        let lines = text.lines().count();
        assert!(lines <= FILE_MAX_LINES, "{shown} has {lines} lines; cut it");
        assert!(
            text.starts_with("//! "),
            "{shown} does not say what it is (`//!`)"
        );
        let name = path.file_stem().unwrap().to_str().unwrap();
        for vague in [
            "utils", "util", "helpers", "misc", "common", "types", "handlers",
        ] {
            assert_ne!(name, vague, "{shown}: a file is a noun");
        }
    }
}

#[test]
fn device_features_are_known_to_one_file() {
    for path in sources() {
        let text = std::fs::read_to_string(&path).unwrap();
        let knows = ["cuda", "metal", "flash-attn"]
            .iter()
            .any(|feature| text.contains(&format!("feature = {feature:?}")));
        let allowed = path.ends_with("crates/models/src/device.rs");
        assert!(
            !knows || allowed,
            "{} asks for a device feature",
            path.display()
        );
    }
}

#[test]
fn every_architecture_of_models_toml_is_built_here_and_every_row_has_a_golden_checkpoint() {
    let catalog = catalog::Catalog::builtin().unwrap();
    for set in catalog.weight_sets() {
        assert!(
            models::ARCHITECTURES
                .iter()
                .any(|row| row.name == set.architecture),
            "{} wants the architecture {}, which is not in the table",
            set.name,
            set.architecture
        );
    }
    for row in models::ARCHITECTURES {
        let folder = testkit::golden(row.golden);
        assert!(
            folder.is_dir(),
            "{} has no golden folder {}",
            row.name,
            row.golden
        );
    }
}
