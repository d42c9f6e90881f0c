//! Sets of several repositories of the hub, in a store.

use std::path::PathBuf;

use catalog::WeightSet;

use super::{Store, remove_if_there};
use crate::fetch_error::FetchError;
use crate::files::Files;
use crate::hub::joined::{join, leads, links, parts};
use crate::progress::Progress;

impl Store {
    fn links(&self, set: &WeightSet) -> Vec<(PathBuf, PathBuf)> {
        let parts = parts(set);
        let snapshots: Vec<_> = parts.iter().map(|part| self.folder(part)).collect();
        links(set, &self.folder(set), &snapshots)
    }

    fn files_of(&self, set: &WeightSet) -> Files {
        let names = set.files.iter().map(|file| file.path.clone());
        Files::new(self.folder(set), names)
    }

    pub(super) fn is_joined(&self, set: &WeightSet) -> bool {
        parts(set).iter().all(|part| self.is_complete(part)) && self.links(set).iter().all(leads)
    }

    pub(super) fn fetch_joined(
        &self,
        set: &WeightSet,
        progress: &dyn Progress,
    ) -> Result<Files, FetchError> {
        for part in &parts(set) {
            self.fetch_from_hub(part, progress)?;
        }
        join(&self.links(set))?;
        Ok(self.files_of(set))
    }

    pub(super) fn verify_joined(&self, set: &WeightSet) -> Result<Files, FetchError> {
        for part in &parts(set) {
            self.verify(part)?;
        }
        let links = self.links(set);
        let wrong = set
            .files
            .iter()
            .zip(&links)
            .filter(|(_, link)| !leads(link));
        let damaged: Vec<_> = wrong.map(|(file, _)| file.path.clone()).collect();
        if damaged.is_empty() {
            return Ok(self.files_of(set));
        }
        Err(FetchError::Damaged {
            set: set.name.clone(),
            folder: self.folder(set),
            files: damaged,
        })
    }

    pub(super) fn remove_joined(&self, set: &WeightSet) -> Result<bool, FetchError> {
        // The links last: while they are there, so is something that can be removed.
        let own = match parts(set).first() {
            Some(own) => self.remove(own)?,
            None => false,
        };
        let folder = self.folder(set);
        let was_joined = folder.exists();
        remove_if_there(&folder)?;
        Ok(was_joined || own)
    }
}
