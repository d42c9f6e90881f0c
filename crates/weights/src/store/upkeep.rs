//! What a store holds and what of it nothing needs: sizes, room, and leftovers.

use std::fs::{DirEntry, FileType};
use std::io;
use std::path::{Path, PathBuf};

use catalog::{Catalog, Source, WeightSet};

use super::{PACKED_FOLDER, Store, WORK_FOLDER, partial_folder};
use crate::fetch_error::{FetchError, reading, writing};
use crate::hub::Comparison;
use crate::hub::joined::parts;
use crate::pip::Pip;
use crate::progress::Progress;
use crate::set_lock::SetLock;
use crate::{marker, names};

/// The lock's file name in a set's work folder.
const LOCK: &str = "lock";

/// Something in a store that nothing needs. [`Store::leftovers`] finds it, [`Store::clear`] removes it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Leftover {
    /// What it is.
    pub kind: LeftoverKind,
    /// The set that it belongs or belonged to.
    pub set: String,
    /// Where it is.
    pub path: PathBuf,
    /// Bytes that it takes.
    pub bytes: u64,
}

/// What a leftover is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeftoverKind {
    /// A whole set that the catalogue does not name.
    Unlisted,
    /// Packed weights of a set that is not there, or that the catalogue does not name.
    Packed,
    /// Downloads and work of a fetch that did not come to its end; a further fetch would go on from some of it.
    Unfinished,
}

impl LeftoverKind {
    /// The kind in words.
    pub fn word(self) -> &'static str {
        match self {
            Self::Unlisted => "not in the catalogue",
            Self::Packed => "packed weights without their set",
            Self::Unfinished => "unfinished download",
        }
    }
}

impl Store {
    /// Bytes that the set and its packed weights take on disk; 0 where neither is there. A user's own files are counted
    /// too.
    pub fn bytes_on_disk(&self, set: &WeightSet) -> u64 {
        let packed = bytes_under(&self.packed_folder(set));
        let folder = self.folder(set);
        if !matches!(set.source, Source::Hub { .. }) {
            return packed + bytes_under(&folder);
        }
        // Its files are links into the cache, where other sets have theirs, too.
        let sizes = set.files.iter().map(|file| {
            let found = std::fs::metadata(folder.join(&file.path));
            found.map_or(0, |found| found.len())
        });
        packed + sizes.sum::<u64>()
    }

    /// Holds a set's entry against what the hub says of its repository. Fetches no file of it.
    ///
    /// # Errors
    /// [`FetchError::Offline`] where the hub may not be asked, [`FetchError::Unreachable`] and [`FetchError::Hub`] as
    /// for a fetch, [`FetchError::Entry`] for a set of another source.
    pub fn compare_with_hub(
        &self,
        set: &WeightSet,
        progress: &dyn Progress,
    ) -> Result<Comparison, FetchError> {
        names::check(set)?;
        let mut whole: Option<Comparison> = None;
        for part in &parts(set) {
            let Some(hub) = self.hub(part) else {
                continue;
            };
            if self.options.offline || self.options.hub.offline {
                return Err(FetchError::Offline {
                    set: set.name.clone(),
                    folder: hub.folder(),
                    download_bytes: set.download_bytes,
                });
            }
            let found = hub.compare(progress)?;
            whole = Some(match whole {
                None => found,
                Some(whole) => whole.with(found),
            });
        }
        let whole = whole.ok_or_else(|| FetchError::Entry {
            set: set.name.clone(),
            what: "it does not come from the hub".to_owned(),
        })?;
        Ok(whole.sized(set.disk_bytes))
    }

    /// Bytes free where the store is or would be.
    ///
    /// # Errors
    /// The system's.
    pub fn free_bytes(&self) -> io::Result<u64> {
        fs4::available_space(self.nearest_folder())
    }

    /// Whether files can be made where the store is or would be. Leaves nothing behind.
    ///
    /// # Errors
    /// [`FetchError::ReadOnly`] or [`FetchError::Write`].
    pub fn check_writable(&self) -> Result<(), FetchError> {
        let folder = self.nearest_folder();
        tempfile::tempfile_in(folder)
            .map(drop)
            .map_err(writing(folder))
    }

    /// The command that wheels are asked of, such as `python3 -m pip`; `Err` holds the commands tried.
    pub fn pip(&self) -> Result<String, String> {
        let scratch =
            tempfile::tempdir().map_err(|error| format!("no temporary folder: {error}"))?;
        Pip::find(self.options.python.as_deref(), scratch.path()).map(|pip| pip.words())
    }

    /// Everything that a store may hold and nothing needs: sets that `catalog` does not name, packed weights of sets
    /// that are not there, and what fetches left. Folders that do not bear the mark of a set are not the store's and are not looked at.
    ///
    /// # Errors
    /// [`FetchError::Read`].
    pub fn leftovers(&self, catalog: &Catalog) -> Result<Vec<Leftover>, FetchError> {
        let mut found = Vec::new();
        for (name, entry, kind) in entries(&self.root)? {
            let is_set = kind.is_dir() && entry.path().join(marker::NAME).is_file();
            if is_set && catalog.weights(&name).is_none() {
                found.push(leftover(LeftoverKind::Unlisted, name, entry.path()));
            }
        }
        for (set, folder, _) in entries(&self.root.join(PACKED_FOLDER))? {
            let listed = catalog.weights(&set);
            if !listed.is_some_and(|set| self.is_complete(set)) {
                found.push(leftover(LeftoverKind::Packed, set, folder.path()));
            }
        }
        for (set, folder, kind) in entries(&self.root.join(WORK_FOLDER))? {
            if !kind.is_dir() {
                continue;
            }
            for (name, entry, _) in entries(&folder.path())? {
                if name != LOCK {
                    found.push(leftover(
                        LeftoverKind::Unfinished,
                        set.clone(),
                        entry.path(),
                    ));
                }
            }
        }
        Ok(found)
    }

    /// Removes a leftover.
    ///
    /// # Errors
    /// [`FetchError::Busy`] while its set is being fetched; what the disk says.
    pub fn clear(&self, leftover: &Leftover) -> Result<(), FetchError> {
        let work = self.root.join(WORK_FOLDER).join(&leftover.set);
        std::fs::create_dir_all(&work).map_err(writing(&work))?;
        let Some(_lock) = SetLock::try_take(&work.join(LOCK))? else {
            return Err(FetchError::Busy {
                set: leftover.set.clone(),
            });
        };
        let path = &leftover.path;
        match leftover.kind {
            LeftoverKind::Unlisted => {
                // Out of its name first: a half removed set must not look like a set.
                let aside = partial_folder(&work)?;
                std::fs::rename(path, aside.path().join("old")).map_err(writing(path))?;
                aside.close().map_err(writing(&work))
            }
            LeftoverKind::Packed | LeftoverKind::Unfinished => {
                let is_folder = std::fs::symlink_metadata(path).is_ok_and(|found| found.is_dir());
                let removed = if is_folder {
                    std::fs::remove_dir_all(path)
                } else {
                    std::fs::remove_file(path)
                };
                removed.map_err(writing(path))
            }
        }
    }

    /// The store's folder, or the nearest one above it that is there.
    fn nearest_folder(&self) -> &Path {
        self.root
            .ancestors()
            .find(|folder| folder.is_dir())
            .unwrap_or(&self.root)
    }
}

fn leftover(kind: LeftoverKind, set: String, path: PathBuf) -> Leftover {
    Leftover {
        kind,
        set,
        bytes: bytes_under(&path),
        path,
    }
}

/// The entries of a folder, in the order of their names; none where there is no folder. Links are not followed, and
/// names that are no text are nobody's.
fn entries(folder: &Path) -> Result<Vec<(String, DirEntry, FileType)>, FetchError> {
    let found = match std::fs::read_dir(folder) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(reading(folder)(error)),
    };
    let mut listed = Vec::new();
    for entry in found {
        let entry = entry.map_err(reading(folder))?;
        let kind = entry.file_type().map_err(reading(folder))?;
        if let Ok(name) = entry.file_name().into_string() {
            listed.push((name, entry, kind));
        }
    }
    listed.sort_by(|(a, ..), (b, ..)| a.cmp(b));
    Ok(listed)
}

/// Bytes of a file, or of all files under a folder. Links are not followed; what cannot be read counts nothing.
fn bytes_under(path: &Path) -> u64 {
    let Ok(found) = std::fs::symlink_metadata(path) else {
        return 0;
    };
    if !found.is_dir() {
        return found.len();
    }
    let (mut bytes, mut folders) = (0, vec![path.to_owned()]);
    while let Some(folder) = folders.pop() {
        for (_, entry, kind) in entries(&folder).unwrap_or_default() {
            if kind.is_dir() {
                folders.push(entry.path());
            } else {
                bytes += entry.metadata().map_or(0, |found| found.len());
            }
        }
    }
    bytes
}
