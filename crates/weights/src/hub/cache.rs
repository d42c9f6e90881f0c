//! The cache that Python's `huggingface_hub` and hf-hub share: where things are in it, and how they get there.
//!
//! ```text
//! models--<owner>--<name>/blobs/<etag>                 the bytes, named by their hash
//! models--<owner>--<name>/blobs/<etag>.incomplete      what came of them so far
//! models--<owner>--<name>/snapshots/<commit>/<path>    a relative link to the blob
//! models--<owner>--<name>/refs/<revision>              the commit that a branch or tag was last seen at
//! .locks/models--<owner>--<name>/<etag>.lock           held while a blob is fetched
//! ```

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::digest::sync;
use crate::fetch_error::{FetchError, reading, writing};

/// A commit's name in hexadecimal digits.
const COMMIT_DIGITS: usize = 40;

/// Whether `revision` names a commit, which cannot move.
pub(crate) fn is_commit(revision: &str) -> bool {
    revision.len() == COMMIT_DIGITS && revision.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// One repository's part of the cache.
#[derive(Debug, Clone)]
pub(crate) struct Repository {
    cache: PathBuf,
    name: String,
}

impl Repository {
    pub(crate) fn new(cache: PathBuf, repository: &str) -> Self {
        let name = format!("models--{}", repository.replace('/', "--"));
        Self { cache, name }
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.cache.join(&self.name)
    }

    pub(crate) fn blobs(&self) -> PathBuf {
        self.folder().join("blobs")
    }

    pub(crate) fn blob(&self, etag: &str) -> PathBuf {
        self.blobs().join(etag)
    }

    pub(crate) fn partial(&self, etag: &str) -> PathBuf {
        self.blobs().join(format!("{etag}.incomplete"))
    }

    pub(crate) fn lock(&self, etag: &str) -> PathBuf {
        let locks = self.cache.join(".locks").join(&self.name);
        locks.join(format!("{etag}.lock"))
    }

    pub(crate) fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder().join("snapshots").join(commit)
    }

    fn refs(&self) -> PathBuf {
        self.folder().join("refs")
    }

    /// The commit of `revision`, as far as the cache knows it.
    pub(crate) fn commit(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.to_owned());
        }
        read_commit(&self.refs().join(revision))
    }

    /// Notes that `revision` is at `commit`.
    pub(crate) fn refer(&self, revision: &str, commit: &str) -> Result<(), FetchError> {
        if is_commit(revision) || self.commit(revision).as_deref() == Some(commit) {
            return Ok(());
        }
        let path = self.refs().join(revision);
        let folder = path.parent().unwrap_or(&path);
        std::fs::create_dir_all(folder).map_err(writing(folder))?;
        // Beside its name first: a reader must never see half a commit.
        let mut draft = tempfile::NamedTempFile::new_in(self.folder()).map_err(writing(&path))?;
        draft.write_all(commit.as_bytes()).map_err(writing(&path))?;
        draft.as_file().sync_all().map_err(writing(&path))?;
        draft
            .persist(&path)
            .map_err(|error| writing(&path)(error.error))?;
        sync(folder)
    }

    /// Lets `path` of the snapshot lead to the blob, whose lock the caller holds.
    pub(crate) fn point(&self, commit: &str, path: &str, etag: &str) -> Result<(), FetchError> {
        let pointer = self.snapshot(commit).join(path);
        let folder = pointer.parent().unwrap_or(&pointer);
        std::fs::create_dir_all(folder).map_err(writing(folder))?;
        // Up from the file's folder to the snapshot, then out of it and out of `snapshots`.
        let mut target: PathBuf = (0..=path.split('/').count()).map(|_| "..").collect();
        target.extend(["blobs", etag]);
        if std::fs::read_link(&pointer).is_ok_and(|old| old == target) {
            return Ok(());
        }
        // Only the holder of the blob's lock makes this name; a killed one may have left it.
        let draft = self.blobs().join(format!("{etag}.link"));
        let _ = std::fs::remove_file(&draft);
        make_link(&target, &self.blob(etag), &draft).map_err(writing(&pointer))?;
        std::fs::rename(&draft, &pointer).map_err(writing(&pointer))?;
        sync(folder)
    }

    /// The names of all blobs that some snapshot leads to.
    pub(crate) fn referenced(&self) -> Result<BTreeSet<String>, FetchError> {
        let mut names = BTreeSet::new();
        walk(&self.folder().join("snapshots"), &mut |path| {
            names.extend(etag_of(path));
            Ok(())
        })?;
        Ok(names)
    }

    /// Removes the references that lead to `commit`.
    pub(crate) fn forget(&self, commit: &str) -> Result<(), FetchError> {
        walk(&self.refs(), &mut |path| {
            if read_commit(path).as_deref() == Some(commit) {
                std::fs::remove_file(path).map_err(writing(path))?;
            }
            Ok(())
        })
    }

    /// What is left of downloads that were never finished; nothing where some snapshot is still there.
    pub(crate) fn leftovers(&self) -> Vec<PathBuf> {
        let snapshots = std::fs::read_dir(self.folder().join("snapshots"));
        if snapshots.is_ok_and(|mut entries| entries.next().is_some()) {
            return Vec::new();
        }
        std::fs::read_dir(self.blobs())
            .map(|entries| entries.flatten().map(|entry| entry.path()))
            .map(|paths| paths.filter(|path| path.extension().is_some_and(|e| e == "incomplete")))
            .map(Iterator::collect)
            .unwrap_or_default()
    }
}

/// The name of the blob that a file of a snapshot leads to; `None` where the system has no links.
pub(crate) fn etag_of(pointer: &Path) -> Option<String> {
    let target = std::fs::read_link(pointer).ok()?;
    target.file_name()?.to_str().map(str::to_owned)
}

fn read_commit(path: &Path) -> Option<String> {
    let mut text = String::new();
    let most = COMMIT_DIGITS as u64 + 2;
    File::open(path)
        .ok()?
        .take(most)
        .read_to_string(&mut text)
        .ok()?;
    let commit = text.trim();
    is_commit(commit).then(|| commit.to_owned())
}

/// Gives every file and link under `folder` to `each`. Links are not followed.
fn walk(
    folder: &Path,
    each: &mut dyn FnMut(&Path) -> Result<(), FetchError>,
) -> Result<(), FetchError> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(reading(folder)(error)),
    };
    for entry in entries {
        let entry = entry.map_err(reading(folder))?;
        if entry.file_type().map_err(reading(folder))?.is_dir() {
            walk(&entry.path(), each)?;
        } else {
            each(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(unix)]
pub(crate) fn make_link(target: &Path, _blob: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

/// Links need a privilege here; a second name for the bytes, or a copy of them, does as well.
#[cfg(not(unix))]
pub(crate) fn make_link(_target: &Path, blob: &Path, link: &Path) -> io::Result<()> {
    std::fs::hard_link(blob, link).or_else(|_| std::fs::copy(blob, link).map(drop))
}
