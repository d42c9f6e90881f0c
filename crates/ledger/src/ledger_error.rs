//! What can go wrong with the records.

use std::io;
use std::path::PathBuf;

/// Why the ledger could not do something: what is wrong, where, and what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// Another process has the ledger.
    #[error(
        "{} is in use by another process: stop it, or give this one a folder of its own (--data)",
        .0.display()
    )]
    InUse(PathBuf),
    /// The file was made by a later version.
    #[error(
        "{} has the layout {found}, this version knows up to {known}: use the hearth that wrote it, or another folder \
         (--data)",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its layout.
        found: i64,
        /// The latest layout that is known here.
        known: i64,
    },
    /// A file or folder.
    #[error("{}: {error}", path.display())]
    Disk {
        /// Which.
        path: PathBuf,
        /// What happened.
        error: io::Error,
    },
    /// The database.
    #[error("the ledger: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// No room for another batch.
    #[error(
        "batches keep {stored_bytes} bytes here, and {asked_bytes} more would exceed {limit_bytes}: results are \
         removed a day after their batch was finished"
    )]
    Full {
        /// What is kept.
        stored_bytes: u64,
        /// What the new batch needs.
        asked_bytes: u64,
        /// The most that may be kept.
        limit_bytes: u64,
    },
    /// A batch that is too large.
    #[error("a batch of {found} {unit}: at most {limit} are taken")]
    BatchTooLarge {
        /// `bytes` or `requests`.
        unit: &'static str,
        /// What was given.
        found: usize,
        /// The most that is taken.
        limit: usize,
    },
    /// A batch without a request.
    #[error("a batch needs at least one request")]
    EmptyBatch,
    /// No batch or fine-tune has this name.
    #[error("{0} is not known here")]
    Unknown(String),
    /// An item has its result already.
    #[error("item {position} of {request_id} has its result already")]
    AlreadyAnswered {
        /// The batch.
        request_id: uuid::Uuid,
        /// The item.
        position: u32,
    },
    /// What was given for a fine-tune cannot be taken.
    #[error("{0}")]
    Refused(String),
    /// A file of a fine-tune is larger than may be.
    #[error("{name} is larger than {limit_bytes} bytes")]
    FileTooLarge {
        /// The file.
        name: &'static str,
        /// The most that is taken.
        limit_bytes: u64,
    },
    /// The fine-tune has this file already, and files are not replaced.
    #[error("{name} was uploaded already, and a fine-tune cannot be changed: create a new one")]
    AlreadyUploaded {
        /// The file.
        name: &'static str,
    },
}

/// Says which path an error of input or output is about.
pub(crate) fn at(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> LedgerError {
    let path = path.into();
    |error| LedgerError::Disk { path, error }
}
