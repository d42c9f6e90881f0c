//! A set of the hub after its fetch: hashed again, or removed.

use std::path::Path;

use catalog::WeightFile;

use crate::fetch_error::{FetchError, writing};
use crate::files::Files;
use crate::hub::cache::etag_of;
use crate::hub::{HubSet, remove_file};
use crate::set_lock::SetLock;

impl HubSet<'_> {
    /// Hashes every file again.
    pub(crate) fn verify(&self) -> Result<Files, FetchError> {
        let commit = self.repository().commit(self.revision).unwrap_or_default();
        let wrong = |file: &&WeightFile| commit.is_empty() || self.hashed(&commit, file).is_none();
        let damaged: Vec<String> = self
            .set
            .files
            .iter()
            .filter(wrong)
            .map(|file| file.path.clone())
            .collect();
        if damaged.is_empty() {
            return Ok(self.files(&commit));
        }
        Err(FetchError::Damaged {
            set: self.set.name.clone(),
            folder: self.folder(),
            files: damaged,
        })
    }

    /// Removes the set's files, and what no other snapshot or file then needs.
    pub(crate) fn remove(&self) -> Result<bool, FetchError> {
        let repository = self.repository();
        let Some(commit) = repository.commit(self.revision) else {
            return Ok(false);
        };
        let folder = repository.snapshot(&commit);
        let mut there = false;
        for file in &self.set.files {
            let pointer = folder.join(&file.path);
            if pointer.symlink_metadata().is_err() {
                continue;
            }
            there = true;
            let Some(etag) = etag_of(&pointer) else {
                remove_file(&pointer)?;
                continue;
            };
            let path = repository.lock(&etag);
            let locks = path.parent().unwrap_or(&path);
            std::fs::create_dir_all(locks).map_err(writing(locks))?;
            let Some(_lock) = SetLock::try_take(&path)? else {
                return Err(FetchError::Busy {
                    set: self.set.name.clone(),
                });
            };
            remove_file(&pointer)?;
            if !repository.referenced()?.contains(&etag) {
                remove_file(&repository.blob(&etag))?;
            }
        }
        remove_empty(&folder, &self.set.files);
        if !folder.exists() {
            repository.forget(&commit)?;
        }
        for path in repository.leftovers() {
            remove_file(&path)?;
        }
        let _ = std::fs::remove_dir_all(&self.work);
        Ok(there)
    }
}

/// Removes the folders that the files were in, the snapshot's own last, where nothing else is in them.
fn remove_empty(folder: &Path, files: &[WeightFile]) {
    for file in files {
        for parent in Path::new(&file.path).ancestors().skip(1) {
            // A folder that is not empty stays.
            let _ = std::fs::remove_dir(folder.join(parent));
        }
    }
}
