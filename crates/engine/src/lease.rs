//! Who uses a model: a lease from the moment a request asks for it until its job has left the device.
//!
//! A model is unloaded only while no lease is out, and leases are given out under the same lock
//! under which that is decided (`slots.rs`).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::watch;

/// Tells those who wait that memory or leases have changed.
#[derive(Debug, Clone)]
pub(crate) struct Pulse(Arc<watch::Sender<()>>);

impl Pulse {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(())))
    }

    pub(crate) fn beat(&self) {
        self.0.send_replace(());
    }

    /// Sees every beat from now on.
    pub(crate) fn subscribe(&self) -> watch::Receiver<()> {
        self.0.subscribe()
    }
}

/// The leases of one model.
#[derive(Debug)]
pub(crate) struct Users {
    count: Mutex<Count>,
    pulse: Pulse,
}

#[derive(Debug)]
struct Count {
    leases: usize,
    /// Of the last lease's end, or the load's where there was none.
    idle_since: Instant,
}

impl Users {
    pub(crate) fn new(pulse: Pulse) -> Arc<Self> {
        let count = Count {
            leases: 0,
            idle_since: Instant::now(),
        };
        Arc::new(Self {
            count: Mutex::new(count),
            pulse,
        })
    }

    pub(crate) fn lease(self: &Arc<Self>) -> Lease {
        self.with(|count| count.leases += 1);
        Lease(self.clone())
    }

    /// Leases that are out: jobs that are prepared, queued or running.
    pub(crate) fn busy(&self) -> usize {
        self.with(|count| count.leases)
    }

    /// Since when no lease is out; `None` while one is.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        self.with(|count| (count.leases == 0).then_some(count.idle_since))
    }

    /// Begins the idle time anew: the model has just become ready.
    pub(crate) fn touch(&self) {
        self.with(|count| count.idle_since = Instant::now());
    }

    fn with<R>(&self, act: impl FnOnce(&mut Count) -> R) -> R {
        act(&mut self.count.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Keeps a model from being unloaded.
#[derive(Debug)]
pub(crate) struct Lease(Arc<Users>);

impl Drop for Lease {
    fn drop(&mut self) {
        let idle = self.0.with(|count| {
            count.leases -= 1;
            count.idle_since = Instant::now();
            count.leases == 0
        });
        if idle {
            self.0.pulse.beat();
        }
    }
}
