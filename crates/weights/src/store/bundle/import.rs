//! Taking a bundle: all sets are unpacked aside and hashed, and only then get their names in the store.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use catalog::Catalog;

use super::contents::{self, BundledSet};
use super::{BundleError, Imported};
use crate::assemble::{Meter, check};
use crate::digest::{CHUNK_BYTES, HashedFile, sync};
use crate::fetch_error::{FetchError, reading, writing};
use crate::marker::Marker;
use crate::progress::Progress;
use crate::set_lock::SetLock;
use crate::store::{SPARE_BYTES, Store, partial_folder, settle};

/// A set that is unpacked and verified, and waits for its name. Dropped without it, it leaves nothing.
struct Staged {
    made: PathBuf,
    folder: PathBuf,
    partial: tempfile::TempDir,
    _lock: SetLock,
}

impl Store {
    /// Takes the sets of the bundle at `path` that the store has not. Needs no network. Tells of each set of the
    /// bundle whether it is new.
    ///
    /// # Errors
    /// Every [`BundleError`]; the store then holds the sets that it held before.
    pub fn import(
        &self,
        path: &Path,
        catalog: &Catalog,
        progress: &dyn Progress,
    ) -> Result<Vec<Imported>, BundleError> {
        let file = File::open(path).map_err(reading(path))?;
        let bundled = contents::read(path, &file, catalog)?;
        let wanted: Vec<&BundledSet> = bundled
            .iter()
            .filter(|bundled| !self.is_complete(bundled.set))
            .collect();
        if !wanted.is_empty() {
            self.check_room(&wanted)?;
        }
        let mut staged = Vec::with_capacity(wanted.len());
        for bundled in &wanted {
            let stage = format!("{}: unpack", bundled.set.name);
            progress.started(&stage, bytes_of(bundled));
            let made = self.stage(bundled, path, &file, progress);
            progress.finished();
            staged.extend(made?);
        }
        for set in &staged {
            settle(&set.made, &set.folder, set.partial.path())?;
        }
        if !staged.is_empty() {
            sync(&self.root)?;
        }
        Ok(bundled
            .iter()
            .map(|bundled| {
                let folder = self.folder(bundled.set);
                let is_new = staged.iter().any(|staged| staged.folder == folder);
                Imported {
                    set: bundled.set.name.clone(),
                    folder,
                    is_new,
                }
            })
            .collect())
    }

    fn check_room(&self, wanted: &[&BundledSet]) -> Result<(), FetchError> {
        std::fs::create_dir_all(&self.root).map_err(writing(&self.root))?;
        let sum: u64 = wanted.iter().map(|bundled| bytes_of(bundled)).sum();
        let need = sum.saturating_add(SPARE_BYTES);
        let have = fs4::available_space(&self.root).map_err(reading(&self.root))?;
        if have < need {
            return Err(FetchError::DiskSpace {
                at: self.root.clone(),
                need,
                have,
            });
        }
        Ok(())
    }

    /// Unpacks and verifies one set beside the store's sets. `None`: another run brought it in the meantime.
    fn stage(
        &self,
        bundled: &BundledSet,
        path: &Path,
        mut file: &File,
        progress: &dyn Progress,
    ) -> Result<Option<Staged>, FetchError> {
        let set = bundled.set;
        let work = self.work(set);
        std::fs::create_dir_all(&work).map_err(writing(&work))?;
        // Sets come in the catalogue's order in every process, so that two imports do not wait for each other.
        let lock = SetLock::wait(&work.join("lock"), &set.name, progress)?.ok_or_else(|| {
            FetchError::Cancelled {
                set: set.name.clone(),
            }
        })?;
        if self.is_complete(set) {
            return Ok(None);
        }
        let partial = partial_folder(&work)?;
        let made = partial.path().join("set");
        std::fs::create_dir(&made).map_err(writing(&made))?;
        let mut meter = Meter::new(set, progress);
        let mut marker = Marker::default();
        let mut chunk = vec![0; CHUNK_BYTES];
        for (weight_file, extent) in &bundled.files {
            file.seek(SeekFrom::Start(extent.offset))
                .map_err(reading(path))?;
            let mut bytes = file.take(extent.bytes);
            let mut output = HashedFile::create(&made.join(&weight_file.path))?;
            loop {
                match bytes.read(&mut chunk) {
                    Ok(0) => break,
                    Ok(read) => {
                        meter.add(&weight_file.path, read)?;
                        progress.advanced(meter.done);
                        output.append(&chunk[..read])?;
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(reading(path)(error)),
                }
            }
            let sum = output.finish()?;
            check(set, weight_file, &sum)?;
            marker.insert(&weight_file.path, sum);
        }
        marker.write(&made)?;
        Ok(Some(Staged {
            made,
            folder: self.folder(set),
            partial,
            _lock: lock,
        }))
    }
}

fn bytes_of(bundled: &BundledSet) -> u64 {
    bundled
        .files
        .iter()
        .fold(0, |sum, (_, extent)| sum.saturating_add(extent.bytes))
}
