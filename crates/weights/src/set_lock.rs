//! One lock file a set: a set is made or removed by one at a time, over processes and threads.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::time::Duration;

use crate::fetch_error::{FetchError, writing};
use crate::progress::Progress;

/// How often a waiting run looks whether the lock is free.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Held until dropped. The system frees it when the process dies, so no stale lock can be left.
#[derive(Debug)]
pub(crate) struct SetLock {
    file: File,
    /// Whether the file system can lock at all; some network file systems cannot.
    pub(crate) exclusive: bool,
}

impl Drop for SetLock {
    // Closing frees the lock only with the last copy of the descriptor, and a process that this one is
    // just starting has one for a moment.
    fn drop(&mut self) {
        let _ = self.file.unlock();
    }
}

impl SetLock {
    /// Takes the lock, or tells that another holds it.
    pub(crate) fn try_take(path: &Path) -> Result<Option<Self>, FetchError> {
        // The file stays for ever: whoever removed it could give two runs two different locks.
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .map_err(writing(path))?;
        let exclusive = match file.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock) => return Ok(None),
            // The rename into place stays atomic without it; at worst two runs fetch the same.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => false,
            Err(TryLockError::Error(error)) => return Err(writing(path)(error)),
        };
        Ok(Some(Self { file, exclusive }))
    }

    /// Takes the lock, and waits for it while another holds it. `None` when the caller wants to stop.
    pub(crate) fn wait(
        path: &Path,
        set: &str,
        progress: &dyn Progress,
    ) -> Result<Option<Self>, FetchError> {
        let mut told = false;
        loop {
            if let Some(lock) = Self::try_take(path)? {
                return Ok(Some(lock));
            }
            if progress.cancelled() {
                return Ok(None);
            }
            if !told {
                progress.note(&format!("{set}: waiting for another run that fetches it"));
                told = true;
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}
