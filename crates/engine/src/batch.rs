//! The Batch loop: what waits goes into one forward pass, up to a token budget.
//!
//! There is no timer: an idle device starts at once with what is there, and what arrives while it
//! works is the next batch.

use std::collections::VecDeque;
use std::sync::mpsc;

use tasks::{Failure, Task};

use crate::QUEUE_MAX_JOBS;
use crate::lease::Lease;
use crate::model::{self, BatchModel};
use crate::replies::{Reader, Reply};
use crate::thread::{DeviceHalf, Turn};

/// A prepared job and its reader.
pub(crate) struct Job<T: Task, W> {
    work: W,
    cost: usize,
    reader: Reader<T::Event>,
}

impl<T: Task, W> Job<T, W> {
    pub(crate) fn new(
        job: model::Job<W>,
        lease: Lease,
    ) -> (Self, tokio::sync::mpsc::Receiver<Reply<T::Event>>) {
        let (reader, receiver) = Reader::channel(1, lease);
        let job = Self {
            work: job.work,
            cost: job.cost,
            reader,
        };
        (job, receiver)
    }
}

/// A batch model and its queue.
pub(crate) struct BatchLane<T: Task, M: BatchModel<T>> {
    model: M,
    incoming: mpsc::Receiver<Job<T, M::Work>>,
    waiting: VecDeque<Job<T, M::Work>>,
}

impl<T: Task, M: BatchModel<T>> BatchLane<T, M> {
    pub(crate) fn new(model: M, incoming: mpsc::Receiver<Job<T, M::Work>>) -> Self {
        Self {
            model,
            incoming,
            waiting: VecDeque::new(),
        }
    }

    /// The oldest jobs whose readers are still there, within the budget; at least one.
    fn gather(&mut self) -> Vec<Job<T, M::Work>> {
        let room = QUEUE_MAX_JOBS.saturating_sub(self.waiting.len());
        self.waiting.extend(self.incoming.try_iter().take(room));
        self.waiting.retain(|job| !job.reader.has_left());
        let mut left = self.model.budget();
        let mut batch = Vec::new();
        while let Some(job) = self.waiting.front() {
            if !batch.is_empty() && job.cost > left {
                break;
            }
            left = left.saturating_sub(job.cost);
            batch.extend(self.waiting.pop_front());
        }
        batch
    }
}

impl<T: Task, M: BatchModel<T>> DeviceHalf for BatchLane<T, M> {
    fn turn(&mut self) -> Turn {
        let batch = self.gather();
        if batch.is_empty() {
            return Turn::Idle;
        }
        let (work, readers): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|job| (job.work, job.reader)).unzip();
        let mut answers = self.model.run(work).into_iter();
        for reader in readers {
            match answers.next() {
                Some(Ok(event)) => {
                    reader.event(event);
                    reader.end();
                }
                Some(Err(failure)) => reader.fail(failure),
                None => reader.fail(Failure::Internal("fewer answers than jobs".into())),
            }
        }
        Turn::Worked
    }
}
