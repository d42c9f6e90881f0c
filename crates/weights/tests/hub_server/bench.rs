//! A server, a cache and a set of three files, and what must hold of the cache whatever happened.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use catalog::{Origin, Source, WeightFile, WeightSet};
use weights::{HubOptions, Options, Secret, Store};

use super::{COMMIT, Fault, HubServer, REPOSITORY, etag};

pub(crate) const MODEL: &str = "model.safetensors";
pub(crate) const CONFIG: &str = "config.json";
pub(crate) const DEEP: &str = "1_Pooling/config.json";
pub(crate) const NAMES: [&str; 3] = [CONFIG, DEEP, MODEL];

pub(crate) struct HubBench {
    home: tempfile::TempDir,
    pub(crate) server: HubServer,
    pub(crate) options: Options,
}

/// Bytes that differ everywhere, so that a shifted part is a wrong one.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut rng = Rng(length as u64 + 1);
    (0..length).map(|_| rng.next() as u8).collect()
}

impl HubBench {
    /// With a model of `length` bytes.
    pub(crate) fn new(length: usize) -> Self {
        Self::of(&[
            (CONFIG, b"{\"model_type\": \"tiny\"}".to_vec()),
            (DEEP, b"{\"pooling\": \"mean\"}".to_vec()),
            (MODEL, noise(length)),
        ])
    }

    pub(crate) fn of(files: &[(&str, Vec<u8>)]) -> Self {
        let server = HubServer::new(files);
        let home = tempfile::tempdir().expect("a temporary folder");
        let options = options(&server.endpoint(), &home.path().join("cache"));
        Self {
            home,
            server,
            options,
        }
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    pub(crate) fn store(&self) -> Store {
        Store::open(self.home().join("store"), self.options.clone())
    }

    pub(crate) fn repository(&self) -> PathBuf {
        self.home().join("cache/models--acme--tiny")
    }

    pub(crate) fn blob(&self, name: &str) -> PathBuf {
        let etag = etag(name, &self.server.bytes(name));
        self.repository().join("blobs").join(etag)
    }

    pub(crate) fn partial(&self) -> PathBuf {
        let blob = self.blob(MODEL);
        PathBuf::from(format!("{}.incomplete", blob.display()))
    }

    /// Every name of a snapshot and every whole blob has the promised bytes, and nothing left the cache.
    pub(crate) fn assert_sound(&self, when: &str) {
        for entry in fs::read_dir(self.repository().join("blobs"))
            .into_iter()
            .flatten()
        {
            let path = entry.expect("an entry").path();
            let name = path
                .file_name()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            if name.contains('.') {
                continue;
            }
            let bytes = fs::read(&path).expect("a blob");
            let like = if name.len() == 64 { MODEL } else { CONFIG };
            assert_eq!(etag(like, &bytes), name, "{when}");
        }
        for name in NAMES {
            let pointer = self.repository().join("snapshots").join(COMMIT).join(name);
            if let Ok(target) = fs::read_link(&pointer) {
                assert!(
                    pointer.is_file(),
                    "{when}: {name} leads to {}",
                    target.display()
                );
            }
        }
        let mut above: Vec<_> = fs::read_dir(self.home())
            .expect("it is there")
            .flatten()
            .collect();
        above.retain(|entry| {
            !matches!(
                entry.file_name().to_str(),
                Some("cache" | "store" | "endpoint")
            )
        });
        assert!(above.is_empty(), "{when}: {above:?}");
    }

    /// Every file is there with the bytes that the server has now.
    pub(crate) fn assert_whole(&self, when: &str) {
        let store = self.store();
        assert!(store.is_complete(&set("main")), "{when}");
        let files = store
            .verify(&set("main"))
            .unwrap_or_else(|error| panic!("{when}: {error}"));
        for name in NAMES {
            let path = files.get(name).expect("a file of the set");
            let same = fs::read(path).expect("a file") == self.server.bytes(name);
            assert!(same, "{when}: {name}");
        }
    }
}

/// Quick to give up.
pub(crate) fn options(endpoint: &str, cache: &Path) -> Options {
    Options {
        hub: HubOptions {
            endpoint: endpoint.to_owned(),
            cache: Some(cache.to_owned()),
            token: Some(Secret::new("hf_test")),
            stall: Duration::from_secs(10),
            attempts: 3,
            pause: Duration::from_millis(1),
            ..HubOptions::default()
        },
        ..Options::default()
    }
}

pub(crate) fn set(revision: &str) -> WeightSet {
    let files = NAMES.map(|name| WeightFile {
        path: name.to_owned(),
        sha256: None,
        origin: Origin::Hub {
            repository: 0,
            path: name.to_owned(),
        },
    });
    WeightSet {
        name: "tiny".to_owned(),
        architecture: "none".to_owned(),
        licence: "MIT".to_owned(),
        window: None,
        download_bytes: 0,
        disk_bytes: 0,
        memory_bytes: 0,
        source: Source::Hub {
            repository: REPOSITORY.to_owned(),
            revision: revision.to_owned(),
            gated: false,
            unchecked: false,
            others: Vec::new(),
        },
        files: files.to_vec(),
    }
}

/// Marsaglia's xorshift: the same faults for the same seed.
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 8
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.next() as usize % bound
    }

    pub(crate) fn fault(&mut self, length: usize) -> Fault {
        let at = self.below(length);
        let statuses = [401, 403, 404, 408, 429, 500, 502, 503];
        match self.below(22) {
            0 => Fault::Silence,
            1 => Fault::HangUp,
            2 => Fault::Noise,
            3 | 4 => Fault::Status(statuses[self.below(statuses.len())]),
            5 => Fault::LoginPage,
            6 => Fault::LoginRedirect,
            7 => Fault::NoEtag,
            8 => Fault::EvilEtag,
            9 => Fault::NoCommit,
            10 => Fault::WrongSize(if at.is_multiple_of(2) { 7 } else { -7 }),
            11 => Fault::NewVersion,
            12 | 13 => Fault::Cut(at),
            14 => Fault::Stall(at),
            15 => Fault::TooLong,
            16 => Fault::WrongBytes,
            17 => Fault::IgnoreRange,
            18 => Fault::WrongRange,
            19 => Fault::NoRange,
            20 => Fault::OtherStorage,
            _ => Fault::Nothing,
        }
    }
}
