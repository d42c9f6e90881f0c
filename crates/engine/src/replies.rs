//! The answers of one job, from the device thread to whoever asked.

use std::fmt;

use tasks::{Failure, Served};
use tokio::sync::mpsc;

use crate::lane::Source;
use crate::lease::Lease;

/// What travels from a lane to its reader. A channel that closes without `End` means that the
/// model died under the job.
#[derive(Debug)]
pub(crate) enum Reply<E> {
    Event(E),
    Failed(Failure),
    End,
}

/// The device's end of a job's channel. The job's model is not unloaded while it lives.
#[derive(Debug)]
pub(crate) struct Reader<E> {
    sender: mpsc::Sender<Reply<E>>,
    lease: Lease,
}

impl<E> Reader<E> {
    /// A channel that holds `events` events and the end, so that sending never waits: what a job
    /// can say is bounded before it is queued.
    pub(crate) fn channel(events: usize, lease: Lease) -> (Self, mpsc::Receiver<Reply<E>>) {
        let (sender, receiver) = mpsc::channel(events + 1);
        (Self { sender, lease }, receiver)
    }

    /// False when nobody reads any more, or the reader is further behind than the job's bound.
    pub(crate) fn event(&self, event: E) -> bool {
        self.sender.try_send(Reply::Event(event)).is_ok()
    }

    pub(crate) fn has_left(&self) -> bool {
        self.sender.is_closed()
    }

    pub(crate) fn end(self) {
        self.close(Reply::End);
    }

    pub(crate) fn fail(self, failure: Failure) {
        self.close(Reply::Failed(failure));
    }

    /// The lease goes first: whoever has seen the end finds the model idle.
    fn close(self, last: Reply<E>) {
        drop(self.lease);
        let _ = self.sender.try_send(last); // the reader may have left
    }
}

/// The answers to one request. Dropping it cancels the job, in whatever state it is.
pub struct Replies<E> {
    served: Served,
    /// `None` after the last event.
    source: Option<Source<E>>,
}

impl<E> fmt::Debug for Replies<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replies")
            .field("served", &self.served)
            .field("over", &self.source.is_none())
            .finish_non_exhaustive()
    }
}

impl<E> Replies<E> {
    pub(crate) fn new(served: Served, source: Source<E>) -> Self {
        Self {
            served,
            source: Some(source),
        }
    }

    /// The weights that answer.
    pub fn served(&self) -> &Served {
        &self.served
    }

    /// The next event; `None` after the last one. A failure is the last item.
    pub async fn next(&mut self) -> Option<Result<E, Failure>> {
        let next = match self.source.as_mut()? {
            Source::Queue(receiver) => match receiver.recv().await {
                Some(Reply::Event(event)) => Some(Ok(event)),
                Some(Reply::End) => None,
                Some(Reply::Failed(failure)) => Some(Err(failure)),
                None => Some(Err(Failure::Internal(format!(
                    "{} stopped in the middle of a job",
                    self.served.weights
                )))),
            },
            Source::Direct(running) => {
                // Its pieces are always there; a long answer lets others have their turn.
                tokio::task::coop::consume_budget().await;
                running.next()
            }
        };
        if !matches!(next, Some(Ok(_))) {
            self.source = None; // and with it the lease: whoever has seen the end finds the model idle
        }
        next
    }
}
