//! What a model that generates token by token has done since it was loaded.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use cpu_time::ThreadTime;

/// Work of the device's thread for one model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Work {
    /// Forward passes.
    pub steps: u64,
    /// Rows of them: tokens of prompts, generated tokens, and guesses.
    pub rows: u64,
    /// Tokens that were sampled.
    pub tokens: u64,
    /// In forward passes.
    pub forward: Spent,
    /// From logits to tokens, with what a grammar takes away before.
    pub sampling: Spent,
}

/// Time that something took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spent {
    /// By the clock.
    pub wall: Duration,
    /// Of a processor, by the device's thread alone: without other threads that compute, and without what it waited for.
    /// Zero on systems that do not say.
    pub cpu: Duration,
}

/// The begin of something that is timed, on one thread.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    wall: Instant,
    cpu: Option<ThreadTime>,
}

impl Moment {
    pub(crate) fn now() -> Self {
        Self {
            wall: Instant::now(),
            cpu: ThreadTime::try_now().ok(),
        }
    }

    /// Since then.
    pub(crate) fn spent(self) -> Spent {
        let cpu = self.cpu.and_then(|begun| begun.try_elapsed().ok());
        Spent {
            wall: self.wall.elapsed(),
            cpu: cpu.unwrap_or_default(),
        }
    }
}

/// Counts work on the device's thread; read from others.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    steps: AtomicU64,
    rows: AtomicU64,
    tokens: AtomicU64,
    forward: Clock,
    sampling: Clock,
}

/// A sum of times, in nanoseconds.
#[derive(Debug, Default)]
struct Clock {
    wall: AtomicU64,
    cpu: AtomicU64,
}

impl Clock {
    fn add(&self, spent: Spent) {
        self.wall.fetch_add(spent.wall.as_nanos() as u64, Relaxed);
        self.cpu.fetch_add(spent.cpu.as_nanos() as u64, Relaxed);
    }

    fn read(&self) -> Spent {
        Spent {
            wall: Duration::from_nanos(self.wall.load(Relaxed)),
            cpu: Duration::from_nanos(self.cpu.load(Relaxed)),
        }
    }
}

impl Meter {
    /// A forward pass has run.
    pub(crate) fn step(&self, rows: usize, spent: Spent) {
        self.steps.fetch_add(1, Relaxed);
        self.rows.fetch_add(rows as u64, Relaxed);
        self.forward.add(spent);
    }

    /// A token was sampled.
    pub(crate) fn token(&self, spent: Spent) {
        self.tokens.fetch_add(1, Relaxed);
        self.sampling.add(spent);
    }

    /// All so far. Whoever has an event of a token finds it counted.
    pub(crate) fn read(&self) -> Work {
        Work {
            steps: self.steps.load(Relaxed),
            rows: self.rows.load(Relaxed),
            tokens: self.tokens.load(Relaxed),
            forward: self.forward.read(),
            sampling: self.sampling.read(),
        }
    }
}
