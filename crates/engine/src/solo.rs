//! The Solo loop: one long job at a time, with events on the way and an end when nobody listens.

use std::sync::mpsc;

use tasks::Task;

use crate::lease::Lease;
use crate::model::{Outlet, SoloModel};
use crate::replies::{Reader, Reply};
use crate::thread::{DeviceHalf, Turn};

/// Events that a job may be ahead of its reader; one that is further behind counts as gone.
const AHEAD_MAX_EVENTS: usize = 1024;

/// A request and its reader.
pub(crate) struct Job<T: Task> {
    request: T::Request,
    reader: Reader<T::Event>,
}

impl<T: Task> Job<T> {
    pub(crate) fn new(
        request: T::Request,
        lease: Lease,
    ) -> (Self, tokio::sync::mpsc::Receiver<Reply<T::Event>>) {
        let (reader, receiver) = Reader::channel(AHEAD_MAX_EVENTS, lease);
        (Self { request, reader }, receiver)
    }
}

/// A solo model and its queue.
pub(crate) struct SoloLane<T: Task, M: SoloModel<T>> {
    model: M,
    incoming: mpsc::Receiver<Job<T>>,
}

impl<T: Task, M: SoloModel<T>> SoloLane<T, M> {
    pub(crate) fn new(model: M, incoming: mpsc::Receiver<Job<T>>) -> Self {
        Self { model, incoming }
    }
}

impl<E> Outlet<E> for Reader<E> {
    fn send(&mut self, event: E) -> bool {
        self.event(event)
    }
}

impl<T: Task, M: SoloModel<T>> DeviceHalf for SoloLane<T, M> {
    fn turn(&mut self) -> Turn {
        let Ok(mut job) = self.incoming.try_recv() else {
            return Turn::Idle;
        };
        if !job.reader.has_left() {
            match self.model.run(job.request, &mut job.reader) {
                Ok(()) => job.reader.end(),
                Err(failure) => job.reader.fail(failure),
            }
        }
        Turn::Worked
    }
}
