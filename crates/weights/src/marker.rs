//! The mark of a complete set: the size and hash of each file, written after all were verified.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use catalog::WeightSet;
use serde::{Deserialize, Serialize};

use crate::digest::{HashedFile, Sum};
use crate::fetch_error::{FetchError, writing};

/// The mark's file name inside a set's folder.
pub(crate) const NAME: &str = ".complete.json";

/// No mark is longer than this; a longer one is not ours.
const MARKER_MAX_BYTES: u64 = 4 * 1024 * 1024;

/// What was verified.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Marker {
    files: BTreeMap<String, Entry>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Entry {
    sha256: String,
    bytes: u64,
}

impl Marker {
    pub(crate) fn insert(&mut self, name: &str, sum: Sum) {
        let Sum { sha256, bytes } = sum;
        self.files.insert(name.to_owned(), Entry { sha256, bytes });
    }

    pub(crate) fn get(&self, name: &str) -> Option<Sum> {
        self.files.get(name).map(|entry| Sum {
            sha256: entry.sha256.clone(),
            bytes: entry.bytes,
        })
    }

    /// Writes the mark into `folder`, on the disk before it has its name.
    pub(crate) fn write(&self, folder: &Path) -> Result<(), FetchError> {
        let path = folder.join(NAME);
        let draft = folder.join(format!("{NAME}.new"));
        let text = serde_json::to_vec_pretty(self).map_err(|error| writing(&path)(error.into()))?;
        // A draft may be there from a run that was killed in between.
        let _ = std::fs::remove_file(&draft);
        let mut file = HashedFile::create(&draft)?;
        file.append(&text)?;
        file.finish()?;
        std::fs::rename(&draft, &path).map_err(writing(&path))
    }

    /// The mark in `folder`, if there is one that can be read.
    pub(crate) fn read(folder: &Path) -> Option<Self> {
        let file = File::open(folder.join(NAME)).ok()?;
        let mut text = Vec::new();
        file.take(MARKER_MAX_BYTES).read_to_end(&mut text).ok()?;
        serde_json::from_slice(&text).ok()
    }
}

/// Whether `folder` holds the set as the catalogue wants it, by mark and sizes; nothing is hashed.
pub(crate) fn is_complete(folder: &Path, set: &WeightSet) -> bool {
    let Some(marker) = Marker::read(folder) else {
        return false;
    };
    set.files.iter().all(|file| {
        marker.files.get(&file.path).is_some_and(|entry| {
            file.sha256.as_ref() == Some(&entry.sha256)
                && std::fs::metadata(folder.join(&file.path))
                    .is_ok_and(|found| found.is_file() && found.len() == entry.bytes)
        })
    })
}
