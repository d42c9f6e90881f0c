//! Packed weights that are kept on disk: they are read instead of the checkpoint's, to the bit, and nothing that does
//! not fit is ever read.
#![allow(clippy::unwrap_used)] // helpers of tests panic as tests do

mod common;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use common::families;
use engine::model::{SequenceId, Span, Step, StepModel};
use models::decoder::Decoder;
use models::device::Device;
use models::{Files, Keep};

/// Rows in pairs and in halves, heads of their own and the embedding's; `floats4.rs` has experts.
const FAMILIES: [&str; 4] = ["tiny-llama", "tiny-qwen2", "tiny-gemma", "tiny-phi"];
/// The bytes of the header, as `kept/form.rs` has them.
const HEADER_BYTES: usize = 64;
/// Where the header says where the table begins.
const TABLE_AT: usize = 36;

/// A checkpoint whose packed weights are kept beside it.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new(family: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = Self { folder };
        let mut file = families::widened(family);
        file.text("general.name", family);
        std::fs::write(place.gguf(), file.bytes()).unwrap();
        place
    }

    fn gguf(&self) -> PathBuf {
        self.folder.path().join("model.gguf")
    }

    fn packed(&self) -> PathBuf {
        self.keep().folder.join("model.gguf.packed")
    }

    fn keep(&self) -> Keep {
        Keep {
            folder: self.folder.path().join("kept"),
            least_bytes: 0,
            room_bytes: u64::MAX,
        }
    }

    fn files(&self) -> Files {
        Files::new(self.folder.path().to_owned())
    }

    fn logits(&self) -> Vec<u32> {
        logits(&self.files().with_packed(self.keep()))
    }

    /// Changes the kept weights, so that it is noticed when they are read.
    fn poison(&self) -> Vec<u8> {
        let mut bytes = std::fs::read(self.packed()).unwrap();
        let table = table(&bytes);
        bytes[HEADER_BYTES..table]
            .iter_mut()
            .for_each(|byte| *byte ^= 1);
        std::fs::write(self.packed(), &bytes).unwrap();
        bytes
    }
}

/// Where the table of a file begins.
fn table(file: &[u8]) -> usize {
    u64::from_ne_bytes(*file[TABLE_AT..].first_chunk().unwrap()) as usize
}

fn touch(path: &Path, modified: SystemTime) {
    let file = File::options().write(true).open(path).unwrap();
    file.set_modified(modified).unwrap();
}

/// The bits of the logits of a prompt.
fn logits(files: &Files) -> Vec<u32> {
    let mut model = Decoder::load(files, &Device::Cpu).unwrap();
    let step = Step {
        tokens: (0..24).map(|row| row * 57 % 500).collect(),
        spans: vec![Span {
            sequence: SequenceId(1),
            rows: 0..24,
            start: 0,
            blocks: vec![0],
            logits: 1,
        }],
    };
    let rows = model.step(&step).unwrap();
    rows.logits.iter().map(|logit| logit.to_bits()).collect()
}

#[test]
fn a_second_load_reads_what_the_first_packed() {
    for family in FAMILIES {
        let place = Place::new(family);
        let plain = logits(&place.files());
        assert!(place.logits() == plain, "{family}: the first load");
        assert!(place.packed().is_file(), "{family}");
        assert!(place.logits() == plain, "{family}: the second load");
        place.poison();
        assert!(place.logits() != plain, "{family}: it packed again");
    }
}

#[test]
fn what_does_not_fit_is_packed_again() {
    let place = Place::new("tiny-llama");
    let plain = place.logits();
    let whole = std::fs::read(place.packed()).unwrap();
    let table = table(&whole);
    let poisoned = place.poison();
    let changed = |at: usize| {
        let mut bytes = poisoned.clone();
        bytes[at] ^= 16;
        bytes
    };
    let mut damaged: Vec<_> = (0..HEADER_BYTES)
        .chain((table..whole.len()).step_by(13))
        .map(|at| (format!("another byte at {at}"), changed(at)))
        .collect();
    for length in [0, 1, HEADER_BYTES, table, whole.len() - 1] {
        damaged.push((format!("{length} bytes"), poisoned[..length].to_vec()));
    }
    damaged.push(("a byte more".into(), [&poisoned[..], &[0]].concat()));
    for (what, bytes) in damaged {
        std::fs::write(place.packed(), bytes).unwrap();
        assert!(place.logits() == plain, "{what}");
        let again = std::fs::read(place.packed()).unwrap();
        assert!(again == whole, "{what}: it was not replaced");
    }
}

#[test]
fn another_checkpoint_is_packed_anew() {
    let place = Place::new("tiny-llama");
    let first = place.logits();
    // As long as the first, written later.
    let mut bytes = std::fs::read(place.gguf()).unwrap();
    let end = bytes.len() - bytes.len() / 3;
    bytes[end..].fill(0);
    let modified = place.gguf().metadata().unwrap().modified().unwrap();
    std::fs::write(place.gguf(), bytes).unwrap();
    touch(&place.gguf(), modified + Duration::from_millis(1));
    let second = logits(&place.files());
    assert!(second != first);
    assert!(place.logits() == second);
    // Of the same time, with another name in its metadata.
    place.poison();
    let mut bytes = std::fs::read(place.gguf()).unwrap();
    let name = bytes.windows(12).position(|part| part == b"general.name");
    bytes[name.unwrap() + 8] ^= 1;
    std::fs::write(place.gguf(), bytes).unwrap();
    touch(&place.gguf(), modified + Duration::from_millis(1));
    assert!(place.logits() == second);
}

#[test]
fn a_place_that_cannot_be_written_keeps_nothing_and_fails_nothing() {
    let place = Place::new("tiny-llama");
    let plain = logits(&place.files());
    let with = |keep| logits(&place.files().with_packed(keep));
    let small = Keep {
        least_bytes: u64::MAX,
        ..place.keep()
    };
    assert!(with(small) == plain, "too small to be kept");
    let full = Keep {
        room_bytes: 1000,
        ..place.keep()
    };
    assert!(with(full) == plain, "no room");
    assert!(!place.keep().folder.exists());
    // A folder cannot be made where a file is.
    std::fs::write(place.keep().folder, "").unwrap();
    assert!(place.logits() == plain, "no folder");
}

#[test]
fn what_does_not_fit_gives_its_room_to_what_does() {
    let place = Place::new("tiny-llama");
    let plain = logits(&place.files());
    let useless = vec![0; 50_000_000];
    std::fs::create_dir(place.keep().folder).unwrap();
    std::fs::write(place.packed(), &useless).unwrap();
    let full = Keep {
        room_bytes: 0,
        ..place.keep()
    };
    assert!(logits(&place.files().with_packed(full)) == plain);
    let kept = std::fs::metadata(place.packed()).unwrap().len();
    assert!(kept > 0 && kept < useless.len() as u64, "{kept}");
    place.poison();
    assert!(place.logits() != plain, "it packed again");
}

#[test]
fn first_loads_beside_each_other_write_one_file() {
    let place = Place::new("tiny-llama");
    let plain = logits(&place.files());
    // What a process that was killed left.
    std::fs::create_dir(place.keep().folder).unwrap();
    std::fs::write(place.keep().folder.join("model.gguf.packed.1.part"), "half").unwrap();
    // And what was made of a file that the set does not have any more.
    std::fs::write(place.keep().folder.join("old.gguf.packed"), "whole").unwrap();
    std::thread::scope(|scope| {
        let loads: Vec<_> = (0..4).map(|_| scope.spawn(|| place.logits())).collect();
        for load in loads {
            assert!(load.join().unwrap() == plain);
        }
    });
    let entries = std::fs::read_dir(place.keep().folder).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["lock", "model.gguf.packed"]);
    assert!(place.logits() == plain);
    place.poison();
    assert!(place.logits() != plain, "it packed again");
}
