//! The thread that does what nobody waits for: it puts counts on disk and removes what is past its time.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use crate::Shared;
use crate::ledger_error::LedgerError;

/// How old a count may be that is not on disk yet.
const FLUSH_EVERY: Duration = Duration::from_secs(3);

/// How often old rows are looked for.
const SWEEP_EVERY: Duration = Duration::from_mins(10);

/// The thread; it ends, after a last flush, when this is dropped.
#[derive(Debug)]
pub(crate) struct Keeper {
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    pub(crate) fn start(shared: Arc<Shared>) -> Result<Self, LedgerError> {
        let (stop, stopped) = sync_channel(1);
        let folder = shared.folder.clone();
        let work = move || {
            let mut swept: Option<Instant> = None;
            loop {
                let ends = stopped.recv_timeout(FLUSH_EVERY) != Err(RecvTimeoutError::Timeout);
                // Whoever reads the usage finds the counts in memory too; the next turn tries again.
                let _ = shared.flush();
                if ends {
                    return;
                }
                if swept.is_none_or(|at| at.elapsed() >= SWEEP_EVERY) {
                    let _ = shared.sweep(SystemTime::now());
                    swept = Some(Instant::now());
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("ledger".into())
            .spawn(work)
            .map_err(crate::ledger_error::at(folder))?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.stop = None; // the thread sees that its sender is gone
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // it panicked: there is nothing more to keep
        }
    }
}
