//! The files of a set that is whole: what an architecture is loaded from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The files of a complete set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    folder: PathBuf,
    by_name: BTreeMap<String, PathBuf>,
}

impl Files {
    pub(crate) fn new(folder: PathBuf, names: impl IntoIterator<Item = String>) -> Self {
        let by_name = names
            .into_iter()
            .map(|name| {
                let path = folder.join(&name);
                (name, path)
            })
            .collect();
        Self { folder, by_name }
    }

    pub(crate) fn single(name: String, path: PathBuf) -> Self {
        let folder = path.parent().map(Path::to_owned).unwrap_or_default();
        Self {
            folder,
            by_name: BTreeMap::from([(name, path)]),
        }
    }

    /// The folder that holds them.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The path of the file that the catalogue calls `name`, such as `model.safetensors`.
    pub fn get(&self, name: &str) -> Option<&Path> {
        self.by_name.get(name).map(PathBuf::as_path)
    }

    /// All files by name, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Path)> {
        self.by_name
            .iter()
            .map(|(name, path)| (name.as_str(), path.as_path()))
    }
}
