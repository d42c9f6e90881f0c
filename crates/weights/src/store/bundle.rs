//! Bundles: whole sets of weights in one tar file, for a machine without a network.
//!
//! A bundle holds plain files named `<set>/<file>` and nothing else. The catalogue of the program that imports it
//! says which names may occur: a name in a bundle is looked up there, and never becomes a path. Every header is
//! judged before anything is written, and every byte is hashed before a set gets its name in the store.

mod contents;
mod export;
mod import;

use std::io;
use std::path::{Path, PathBuf};

use crate::fetch_error::FetchError;

/// A set of a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// Its name.
    pub set: String,
    /// Its folder.
    pub folder: PathBuf,
    /// Whether the bundle brought it; otherwise the store had it already.
    pub is_new: bool,
}

/// Why a bundle was not written or not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// The file cannot be read as a tar file.
    #[error("{path} is no bundle of weights: {detail}; nothing was written", path = path.display())]
    NotABundle {
        /// The bundle.
        path: PathBuf,
        /// What the reader says.
        detail: String,
    },
    /// A member that no bundle of hearth holds. The name is shown escaped.
    #[error("{path}: the member {member:?} {what}; nothing was written", path = path.display())]
    Member {
        /// The bundle.
        path: PathBuf,
        /// The member's name.
        member: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A set of which the bundle lacks files.
    #[error("{path}: the set {set} is not whole, it lacks {files}; nothing was written", path = path.display(), files = files.join(", "))]
    Incomplete {
        /// The bundle.
        path: PathBuf,
        /// The set.
        set: String,
        /// The files that are missing.
        files: Vec<String>,
    },
    /// A set of the user's own files cannot be bundled.
    #[error(
        "weights {set} are files of your own; copy them and name their folder on the other machine"
    )]
    OwnFiles {
        /// The set.
        set: String,
    },
    /// A set of several repositories cannot be bundled.
    #[error(
        "weights {set} have files of several repositories, which a bundle does not tell apart; copy the hub's cache instead"
    )]
    Joined {
        /// The set.
        set: String,
    },
    /// The file to write is there already.
    #[error("{path} is there already; remove it, or choose another name", path = path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The bundle cannot be written.
    #[error("cannot write {path}: {source}", path = path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// What the store says.
    #[error(transparent)]
    Store(#[from] FetchError),
}

/// For `map_err`: a write of the bundle `path` failed.
fn bundling(path: &Path) -> impl FnOnce(io::Error) -> BundleError {
    let path = path.to_owned();
    move |source| BundleError::Write { path, source }
}
