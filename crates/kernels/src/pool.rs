//! Threads that help with one piece of work at a time, and that nobody waits for in vain.
//!
//! The caller publishes work as numbered chunks, takes chunks itself, and at the end waits only for
//! helpers that are still inside a chunk. A helper that wakes late finds nothing and sleeps on: on a
//! busy machine the caller finishes alone, as fast as without helpers.
#![allow(unsafe_code)] // one lifetime is erased, see `run`

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::time::{Duration, Instant};

/// How long a helper looks for the next piece of work before it sleeps: about the time between two
/// products of one layer. An idle pool costs nothing after that.
const SPIN_MAX: Duration = Duration::from_micros(20);

/// What the caller asks for; lives on its stack.
struct Work<'a> {
    chunk: &'a (dyn Fn(usize) + Sync),
    chunks: usize,
    next: AtomicUsize,
    panicked: AtomicBool,
}

impl Work<'_> {
    /// Takes chunks until none is left.
    fn take(&self) {
        loop {
            let chunk = self.next.fetch_add(1, Ordering::Relaxed);
            if chunk >= self.chunks {
                return;
            }
            (self.chunk)(chunk);
        }
    }
}

#[derive(Default)]
struct State {
    /// The work of the moment, as long as the caller takes chunks.
    work: Option<&'static Work<'static>>,
    /// Helpers inside `take`.
    inside: usize,
    closed: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Counts pieces of work, for helpers that spin.
    generation: AtomicU64,
    published: Condvar,
    left: Condvar,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while the lock is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A caller and its helpers.
pub struct Pool {
    shared: Arc<Shared>,
    threads: usize,
    /// One piece of work at a time; a second caller works alone.
    busy: Mutex<()>,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pool of {} threads", self.threads)
    }
}

static THREADS: OnceLock<usize> = OnceLock::new();
static POOL: OnceLock<Pool> = OnceLock::new();

impl Pool {
    /// The process's pool: one thread for each physical core that the process may use, or as many
    /// as [`Pool::set_threads`] said before the first use.
    pub fn global() -> &'static Self {
        POOL.get_or_init(|| Self::new(*THREADS.get_or_init(Self::default_threads)))
    }

    /// One thread for each physical core that the process may use: its affinity and the quota of its control
    /// group count. Hyper-threads share the arithmetic of a core, so they gain nothing here.
    pub fn default_threads() -> usize {
        num_cpus::get_physical().min(num_cpus::get()).max(1)
    }

    /// Sets the size of the process's pool. Without effect once it is in use.
    pub fn set_threads(threads: usize) {
        let _ = THREADS.set(threads.max(1)); // the first word counts
    }

    /// A pool of `threads`, the caller counted. Fewer where the system gives no more.
    pub fn new(threads: usize) -> Self {
        let shared = Arc::new(Shared::default());
        let helpers = (1..threads)
            .map_while(|number| {
                let shared = shared.clone();
                let thread = std::thread::Builder::new().name(format!("kernels-{number}"));
                thread.spawn(move || help(&shared)).ok()
            })
            .count();
        Self {
            shared,
            threads: helpers + 1,
            busy: Mutex::new(()),
        }
    }

    /// Threads, the caller counted.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Calls `chunk` once for each number below `chunks`, on any of the threads, and returns when
    /// all have returned.
    ///
    /// # Panics
    /// When a chunk panics, after the others have returned.
    pub fn run(&self, chunks: usize, chunk: &(dyn Fn(usize) + Sync)) {
        let work = Work {
            chunk,
            chunks,
            next: AtomicUsize::new(0),
            panicked: AtomicBool::new(false),
        };
        let turn = (self.threads > 1 && chunks > 1)
            .then(|| match self.busy.try_lock() {
                Ok(turn) => Some(turn),
                // A chunk panicked; what the lock guards is in order all the same.
                Err(TryLockError::Poisoned(turn)) => Some(turn.into_inner()),
                Err(TryLockError::WouldBlock) => None,
            })
            .flatten();
        let Some(_turn) = turn else {
            return work.take();
        };
        // SAFETY: helpers reach the work through `state` only. Before this function returns or
        // unwinds, the work is taken out of it and no helper is inside any more.
        let lent = unsafe { std::mem::transmute::<&Work<'_>, &'static Work<'static>>(&work) };
        self.shared.state().work = Some(lent);
        self.shared.generation.fetch_add(1, Ordering::Release);
        self.shared.published.notify_all();
        let own = catch_unwind(AssertUnwindSafe(|| work.take()));
        work.next.store(chunks, Ordering::Relaxed); // after a panic: nobody begins another
        let mut state = self.shared.state();
        state.work = None;
        while state.inside > 0 {
            state = (self.shared.left.wait(state)).unwrap_or_else(PoisonError::into_inner);
        }
        drop(state);
        if let Err(panic) = own {
            resume_unwind(panic);
        }
        assert!(
            !work.panicked.load(Ordering::Acquire),
            "a chunk panicked on a helper"
        );
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.state().closed = true;
        self.shared.generation.fetch_add(1, Ordering::Release);
        self.shared.published.notify_all();
    }
}

fn help(shared: &Shared) {
    let mut seen = 0;
    loop {
        let spinning = Instant::now();
        while shared.generation.load(Ordering::Acquire) == seen && spinning.elapsed() < SPIN_MAX {
            std::hint::spin_loop();
        }
        let mut state = shared.state();
        while shared.generation.load(Ordering::Acquire) == seen && !state.closed {
            state = (shared.published.wait(state)).unwrap_or_else(PoisonError::into_inner);
        }
        seen = shared.generation.load(Ordering::Acquire);
        if state.closed {
            return;
        }
        let Some(work) = state.work else {
            continue; // too late: it is done
        };
        state.inside += 1;
        drop(state);
        if catch_unwind(AssertUnwindSafe(|| work.take())).is_err() {
            work.panicked.store(true, Ordering::Release);
            work.next.store(work.chunks, Ordering::Relaxed);
        }
        let mut state = shared.state();
        state.inside -= 1;
        if state.inside == 0 {
            shared.left.notify_all();
        }
    }
}
