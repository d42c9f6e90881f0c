//! The Sessions loop: long jobs that live side by side in one model, which does a bounded piece of work
//! for all of them a turn.
//!
//! What a job does next depends on what came of its last piece (the next window of a long sound, another try
//! at one, the next step of a picture), so that the model keeps the jobs' states, while the loop keeps their queue,
//! their readers and their ends.

use std::collections::{BTreeMap, VecDeque};
use std::sync::mpsc;

use tasks::Task;

use crate::QUEUE_MAX_JOBS;
use crate::lease::Lease;
use crate::model::{Said, SequenceId, SessionModel};
use crate::replies::{Reader, Reply};
use crate::steps::next_id;
use crate::thread::{DeviceHalf, Turn};

/// Events that a session may be ahead of its reader; one that is further behind counts as gone.
const AHEAD_MAX_EVENTS: usize = 1024;

/// Prepared work and its reader.
pub(crate) struct Job<T: Task, W> {
    work: W,
    reader: Reader<T::Event>,
}

impl<T: Task, W> Job<T, W> {
    pub(crate) fn new(
        work: W,
        lease: Lease,
    ) -> (Self, tokio::sync::mpsc::Receiver<Reply<T::Event>>) {
        let (reader, receiver) = Reader::channel(AHEAD_MAX_EVENTS, lease);
        (Self { work, reader }, receiver)
    }
}

/// A session model, its queue and its sessions.
pub(crate) struct SessionLane<T: Task, M: SessionModel<T>> {
    model: M,
    incoming: mpsc::Receiver<Job<T, M::Work>>,
    waiting: VecDeque<Job<T, M::Work>>,
    live: BTreeMap<SequenceId, Reader<T::Event>>,
}

impl<T: Task, M: SessionModel<T>> SessionLane<T, M> {
    pub(crate) fn new(model: M, incoming: mpsc::Receiver<Job<T, M::Work>>) -> Self {
        Self {
            model,
            incoming,
            waiting: VecDeque::new(),
            live: BTreeMap::new(),
        }
    }

    /// Ends the sessions whose readers have left, and begins others in their places.
    fn exchange(&mut self) {
        let model = &mut self.model;
        self.live.retain(|&id, reader| {
            let stays = !reader.has_left();
            if !stays {
                model.end(id);
            }
            stays
        });
        self.waiting.retain(|job| !job.reader.has_left());
        let room = QUEUE_MAX_JOBS.saturating_sub(self.waiting.len());
        self.waiting.extend(self.incoming.try_iter().take(room));
        while self.live.len() < self.model.sessions().max(1) {
            let Some(Job { work, reader }) = self.waiting.pop_front() else {
                break;
            };
            let id = next_id();
            match self.model.begin(id, work) {
                Ok(()) => {
                    self.live.insert(id, reader);
                }
                Err(failure) => reader.fail(failure),
            }
        }
    }
}

impl<T: Task, M: SessionModel<T>> DeviceHalf for SessionLane<T, M> {
    fn turn(&mut self) -> Turn {
        self.exchange();
        if self.live.is_empty() {
            return Turn::Idle;
        }
        for (id, said) in self.model.turn() {
            match said {
                Said::Event(event) => {
                    let heard = self.live.get(&id).is_some_and(|reader| reader.event(event));
                    if !heard && self.live.remove(&id).is_some() {
                        self.model.end(id);
                    }
                }
                Said::End => {
                    if let Some(reader) = self.live.remove(&id) {
                        self.model.end(id);
                        reader.end();
                    }
                }
                Said::Failed(failure) => {
                    if let Some(reader) = self.live.remove(&id) {
                        self.model.end(id);
                        reader.fail(failure);
                    }
                }
            }
        }
        Turn::Worked
    }
}
