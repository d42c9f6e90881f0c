//! What has to survive a restart: asynchronous batches, what was used, fine-tunes. One SQLite file, and the
//! adapters' own files beside it. Nothing here waits for a socket or a model: callers in async code use a thread that
//! may block.
#![warn(missing_docs)]

mod adapter;
mod batches;
mod finetunes;
mod keeper;
mod ledger_error;
mod opening;
mod results;
mod schema;
mod upload;
mod usage;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use adapter::{ADAPTER_MAX_BYTES, Asset, CONFIG_MAX_BYTES, MODEL_TYPES};
pub use batches::{
    BATCH_KEPT_MAX_BYTES, BATCH_MAX_BYTES, BATCH_MAX_ITEMS, Item, ItemOutcome, ItemResult, Polled,
    RETENTION, Request, STORED_MAX_BYTES, Taken,
};
pub use finetunes::{
    DESCRIPTION_MAX_CHARACTERS, FINETUNES_MAX, Finetune, NAME_MAX_CHARACTERS, NewFinetune,
    RESERVED_PREFIX,
};
pub use ledger_error::LedgerError;
pub use results::{Finished, PAGE_MAX_BYTES};
use rusqlite::Connection;
pub use upload::Upload;
pub use usage::{Units, Used};
pub use uuid::Uuid;

/// The file's name in its folder.
pub const FILE_NAME: &str = "ledger.sqlite";

/// The records of one server. Cloning is cheap; all clones are one. What was counted is on disk at the latest when
/// the last one is dropped, or [`Ledger::flush`] is called.
#[derive(Debug, Clone)]
pub struct Ledger {
    shared: Arc<Shared>,
    _keeper: Arc<keeper::Keeper>,
}

/// What clones and the keeper's thread share.
#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    usage: usage::Buffer,
    folder: PathBuf,
    /// Held while a file of a fine-tune is put in its place.
    placing: Mutex<()>,
    /// Held while the ledger lives; the system frees it when the process dies.
    _lock: std::fs::File,
}

/// The connection, and what is known of the file without asking it.
#[derive(Debug)]
pub(crate) struct State {
    connection: Connection,
    /// Bytes that batches keep, results included.
    stored_bytes: u64,
    /// Items that are being answered: batch and position.
    taken: HashSet<(i64, u32)>,
}

/// An opened ledger, and what had to be done for it.
#[derive(Debug)]
pub struct Opened {
    /// The ledger.
    pub ledger: Ledger,
    /// Where the file is that could not be read, if there was one: it was moved, not removed.
    pub moved_aside: Option<PathBuf>,
}

impl Ledger {
    /// Opens the ledger of a folder, and makes both if need be. One process owns it at a time.
    ///
    /// # Errors
    /// [`LedgerError::InUse`] while another process has it, [`LedgerError::Newer`] for a file of a later version,
    /// [`LedgerError::Disk`]. A file that is no ledger, or is damaged, is moved aside and told in [`Opened`].
    pub fn open(folder: &Path) -> Result<Opened, LedgerError> {
        let opening::Ready {
            connection,
            lock,
            moved_aside,
        } = opening::open(folder)?;
        let stored_bytes = batches::stored_bytes(&connection)?;
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                connection,
                stored_bytes,
                taken: HashSet::new(),
            }),
            usage: usage::Buffer::default(),
            folder: folder.to_owned(),
            placing: Mutex::new(()),
            _lock: lock,
        });
        upload::remove_leftovers(folder);
        let keeper = keeper::Keeper::start(shared.clone())?;
        Ok(Opened {
            ledger: Self {
                shared,
                _keeper: Arc::new(keeper),
            },
            moved_aside,
        })
    }

    /// The folder that it was opened in.
    pub fn folder(&self) -> &Path {
        &self.shared.folder
    }

    /// Puts on disk what was counted.
    ///
    /// # Errors
    /// [`LedgerError::Sqlite`]; what was counted is kept for the next time.
    pub fn flush(&self) -> Result<(), LedgerError> {
        self.shared.flush()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }
}

impl Shared {
    /// A panic under this lock can leave no half-done change: every one is a transaction.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn placing(&self) -> MutexGuard<'_, ()> {
        self.placing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
