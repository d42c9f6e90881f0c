//! Sets of the Hugging Face Hub: found in the cache that Python shares, or fetched into it.

mod address;
mod attempts;
mod cache;
mod client;
mod comparison;
mod content;
mod hub_error;
pub(crate) mod joined;
mod listing;
mod options;
mod remote;
mod transfer;
mod upkeep;

use std::path::{Path, PathBuf};

use catalog::{WeightFile, WeightSet};

use crate::digest::Sum;
use crate::fetch_error::{FetchError, writing};
use crate::files::Files;
use crate::marker::Marker;
use crate::progress::Progress;
use crate::set_lock::SetLock;
use crate::store::SPARE_BYTES;
use attempts::Attempts;
use cache::{Repository, etag_of, is_commit};
use client::Client;
use content::{Promise, check};
use hub_error::Trouble;
use remote::{About, Remote, describe};
use transfer::Transfer;

pub use comparison::{Comparison, Difference, SIZE_TOLERANCE_PERCENT};
pub use hub_error::HubError;
pub use options::{HubOptions, Secret};

/// One set of the hub, with all that its steps need.
pub(crate) struct HubSet<'a> {
    pub(crate) set: &'a WeightSet,
    /// `owner/name`.
    pub(crate) name: &'a str,
    pub(crate) revision: &'a str,
    pub(crate) gated: bool,
    pub(crate) options: &'a HubOptions,
    /// The cache's folder.
    pub(crate) cache: PathBuf,
    /// Where the store notes what it verified.
    pub(crate) work: PathBuf,
}

impl HubSet<'_> {
    fn repository(&self) -> Repository {
        Repository::new(self.cache.clone(), self.name)
    }

    /// The folder of the snapshot; of the revision's own name while its commit is not known.
    pub(crate) fn folder(&self) -> PathBuf {
        let repository = self.repository();
        let commit = repository.commit(self.revision);
        repository.snapshot(commit.as_deref().unwrap_or(self.revision))
    }

    /// Whether every file is there, with the size that was verified if it was. Nothing is hashed.
    pub(crate) fn is_complete(&self) -> bool {
        let Some(commit) = self.repository().commit(self.revision) else {
            return false;
        };
        let folder = self.repository().snapshot(&commit);
        let marker = Marker::read(&self.work).unwrap_or_default();
        !self.set.files.is_empty()
            && self.set.files.iter().all(|file| {
                std::fs::metadata(folder.join(&file.path)).is_ok_and(|found| {
                    let noted = marker.get(&noted_as(&commit, file));
                    found.is_file() && noted.is_none_or(|sum| sum.bytes == found.len())
                })
            })
    }

    fn files(&self, commit: &str) -> Files {
        let names = self.set.files.iter().map(|file| file.path.clone());
        Files::new(self.repository().snapshot(commit), names)
    }

    /// The set's files, fetched where they are not there. What others put into the cache is hashed once.
    pub(crate) fn fetch(
        &self,
        offline: bool,
        progress: &dyn Progress,
    ) -> Result<Files, FetchError> {
        let mut marker = Marker::read(&self.work).unwrap_or_default();
        let known = self.repository().commit(self.revision);
        if let Some(commit) = known.filter(|_| self.is_complete()) {
            let damaged = self.damaged(&commit, &mut marker);
            if damaged.is_empty() {
                self.note(&marker);
                return Ok(self.files(&commit));
            }
            if offline {
                return Err(FetchError::Damaged {
                    set: self.set.name.clone(),
                    folder: self.repository().snapshot(&commit),
                    files: damaged,
                });
            }
        }
        if offline {
            return Err(FetchError::Offline {
                set: self.set.name.clone(),
                folder: self.folder(),
                download_bytes: self.set.download_bytes,
            });
        }
        let mut what = String::new();
        self.bring(&mut marker, progress, &mut what)
            .map_err(|trouble| self.told(trouble, &what))
    }

    /// Fetches what is missing. `what` is left at the file that was at hand, for messages.
    fn bring(
        &self,
        marker: &mut Marker,
        progress: &dyn Progress,
        what: &mut String,
    ) -> Result<Files, Trouble> {
        let client = Client::new(self.options)?;
        let mut attempts = Attempts::new(self.options, &self.set.name, progress);
        let mut commit = is_commit(self.revision).then(|| self.revision.to_owned());
        let mut missing = Vec::new();
        for file in &self.set.files {
            what.clone_from(&file.path);
            let there = commit
                .as_ref()
                .and_then(|commit| self.trusted(commit, file, marker));
            if let (Some(sum), Some(commit)) = (there, &commit) {
                marker.insert(&noted_as(commit, file), sum);
                continue;
            }
            attempts.restart();
            let at = commit.as_deref().unwrap_or(self.revision);
            let remote = self.remote(&client, at, file, &mut attempts, progress)?;
            commit = Some(remote.commit.clone());
            missing.push((file, remote));
        }
        let Some(commit) = commit else {
            return Err(self.wrong("it lists no files".to_owned()).into());
        };
        self.make_room(&missing)?;
        for (file, remote) in missing {
            what.clone_from(&file.path);
            attempts.restart();
            let sum = self.file(&client, file, remote, &mut attempts, progress)?;
            marker.insert(&noted_as(&commit, file), sum);
        }
        self.repository().refer(self.revision, &commit)?;
        self.note(marker);
        Ok(self.files(&commit))
    }

    /// Asks what a file is, until there is an answer.
    fn remote(
        &self,
        client: &Client<'_>,
        revision: &str,
        file: &WeightFile,
        attempts: &mut Attempts<'_>,
        progress: &dyn Progress,
    ) -> Result<Remote, Trouble> {
        let url = address::resolve(&self.options.endpoint, self.name, revision, &file.path);
        loop {
            match describe(client, self.about(), &url, progress) {
                Ok(remote) if is_commit(revision) && remote.commit != revision => {
                    let what = format!("{url} is of commit {}", remote.commit);
                    return Err(HubError::Reply { what }.into());
                }
                Ok(remote) => {
                    attempts.reached();
                    return Ok(remote);
                }
                Err(trouble) => attempts.failed(trouble)?,
            }
        }
    }

    /// Brings one file into the snapshot, under the lock of its blob.
    fn file(
        &self,
        client: &Client<'_>,
        file: &WeightFile,
        mut remote: Remote,
        attempts: &mut Attempts<'_>,
        progress: &dyn Progress,
    ) -> Result<Sum, Trouble> {
        let repository = self.repository();
        let commit = remote.commit.clone();
        let url = address::resolve(&self.options.endpoint, self.name, &commit, &file.path);
        loop {
            let promise = promise(file, &remote.etag);
            if !promise.is_kept_by_hash() {
                let what = format!("{url}: neither the ETag nor the catalogue gives a hash");
                return Err(HubError::Reply { what }.into());
            }
            if let Some(want) = other_hash(file, &remote.etag) {
                return Err(FetchError::FileHash {
                    set: self.set.name.clone(),
                    file: file.path.clone(),
                    want,
                    have: remote.etag,
                }
                .into());
            }
            let lock = repository.lock(&remote.etag);
            for folder in [lock.parent().unwrap_or(&lock), repository.blobs().as_path()] {
                std::fs::create_dir_all(folder).map_err(writing(folder))?;
            }
            let _lock =
                SetLock::wait(&lock, &self.set.name, progress)?.ok_or(Trouble::Cancelled)?;
            let blob = repository.blob(&remote.etag);
            let sum = if let Some(sum) = check(&blob, promise) {
                Ok(sum)
            } else {
                // What has the blob's name and is something else.
                remove_file(&blob)?;
                let title = format!("{}: download {}", self.set.name, file.path);
                progress.started(&title, remote.bytes);
                let transfer = Transfer {
                    client,
                    about: self.about(),
                    repository: &repository,
                    url: &url,
                    remote: &remote,
                    promise,
                    progress,
                };
                let sum = transfer.run(attempts);
                progress.finished();
                sum
            };
            match sum {
                Ok(sum) => {
                    repository.point(&commit, &file.path, &remote.etag)?;
                    return Ok(sum);
                }
                Err(Trouble::Hub(HubError::Changed)) => {
                    attempts.failed(HubError::Changed.into())?;
                    remote = self.remote(client, &commit, file, attempts, progress)?;
                }
                Err(trouble) => return Err(trouble),
            }
        }
    }

    /// Refuses to begin where the disk could not take the end.
    fn make_room(&self, missing: &[(&WeightFile, Remote)]) -> Result<(), FetchError> {
        let repository = self.repository();
        let size = |path: &Path| std::fs::metadata(path).map_or(0, |found| found.len());
        let need = missing
            .iter()
            .filter(|(_, remote)| !repository.blob(&remote.etag).exists())
            .map(|(_, remote)| {
                remote
                    .bytes
                    .saturating_sub(size(&repository.partial(&remote.etag)))
            })
            .fold(0u64, u64::saturating_add);
        if need == 0 {
            return Ok(());
        }
        std::fs::create_dir_all(&self.cache).map_err(writing(&self.cache))?;
        let have = fs4::available_space(&self.cache).map_err(writing(&self.cache))?;
        let need = need.saturating_add(SPARE_BYTES);
        if have < need {
            let at = self.cache.clone();
            return Err(FetchError::DiskSpace { at, need, have });
        }
        Ok(())
    }

    /// What a file of the snapshot is, where it is the promised one: as noted, or else by its hash.
    fn trusted(&self, commit: &str, file: &WeightFile, marker: &Marker) -> Option<Sum> {
        let path = self.repository().snapshot(commit).join(&file.path);
        let noted = marker.get(&noted_as(commit, file)).filter(|sum| {
            let same = file.sha256.as_ref().is_none_or(|want| *want == sum.sha256);
            same && std::fs::metadata(&path).is_ok_and(|found| found.len() == sum.bytes)
        });
        noted.or_else(|| self.hashed(commit, file))
    }

    fn hashed(&self, commit: &str, file: &WeightFile) -> Option<Sum> {
        let path = self.repository().snapshot(commit).join(&file.path);
        let etag = etag_of(&path).unwrap_or_default();
        check(&path, promise(file, &etag))
    }

    /// The files that are not what they should be; the others are noted.
    fn damaged(&self, commit: &str, marker: &mut Marker) -> Vec<String> {
        let mut damaged = Vec::new();
        for file in &self.set.files {
            match self.trusted(commit, file, marker) {
                Some(sum) => marker.insert(&noted_as(commit, file), sum),
                None => damaged.push(file.path.clone()),
            }
        }
        damaged
    }

    /// Writes down what was verified. Where that cannot be, the next run hashes again.
    fn note(&self, marker: &Marker) {
        let made = std::fs::create_dir_all(&self.work);
        if made.is_ok() && Marker::read(&self.work).as_ref() != Some(marker) {
            let _ = marker.write(&self.work);
        }
    }

    fn about(&self) -> About<'_> {
        About {
            endpoint: &self.options.endpoint,
            repository: self.name,
            gated: self.gated,
            token: self.options.token.is_some(),
        }
    }

    fn wrong(&self, what: String) -> FetchError {
        FetchError::Entry {
            set: self.set.name.clone(),
            what,
        }
    }

    /// The trouble in the words of the crate's border.
    fn told(&self, trouble: Trouble, file: &str) -> FetchError {
        let set = self.set.name.clone();
        match trouble {
            Trouble::Cancelled => FetchError::Cancelled { set },
            Trouble::Machine(error) => error.or_full(&self.cache, self.set.disk_bytes),
            Trouble::Hub(HubError::Unreachable { detail }) => FetchError::Unreachable {
                set,
                endpoint: self.options.endpoint.clone(),
                detail,
            },
            Trouble::Hub(source) => FetchError::Hub {
                set,
                file: format!("{}@{}/{file}", self.name, self.revision)
                    .trim_end_matches('/')
                    .to_owned(),
                source,
            },
        }
    }
}

/// What the mark calls a file: a commit's files never change.
fn noted_as(commit: &str, file: &WeightFile) -> String {
    format!("{commit}/{}", file.path)
}

fn promise<'p>(file: &'p WeightFile, etag: &'p str) -> Promise<'p> {
    Promise {
        etag,
        sha256: file.sha256.as_deref(),
    }
}

/// The catalogue's hash, where the hub already says that it has another file.
fn other_hash(file: &WeightFile, etag: &str) -> Option<String> {
    let want = file.sha256.as_ref()?;
    (etag.len() == want.len() && !want.eq_ignore_ascii_case(etag)).then(|| want.clone())
}

fn remove_file(path: &Path) -> Result<(), FetchError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(writing(path)(error)),
        _ => Ok(()),
    }
}
