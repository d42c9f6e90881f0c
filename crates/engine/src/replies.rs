//! The answers of one job, from the device thread to whoever asked.

use tasks::{Failure, Served};
use tokio::sync::mpsc;

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
#[derive(Debug)]
pub struct Replies<E> {
    served: Served,
    receiver: mpsc::Receiver<Reply<E>>,
    over: bool,
}

impl<E> Replies<E> {
    pub(crate) fn new(served: Served, receiver: mpsc::Receiver<Reply<E>>) -> Self {
        Self {
            served,
            receiver,
            over: false,
        }
    }

    /// The weights that answer.
    pub fn served(&self) -> &Served {
        &self.served
    }

    /// The next event; `None` after the last one. A failure is the last item.
    pub async fn next(&mut self) -> Option<Result<E, Failure>> {
        if self.over {
            return None;
        }
        match self.receiver.recv().await {
            Some(Reply::Event(event)) => return Some(Ok(event)),
            Some(Reply::End) => self.over = true,
            Some(Reply::Failed(failure)) => {
                self.over = true;
                return Some(Err(failure));
            }
            None => {
                self.over = true;
                return Some(Err(Failure::Internal(format!(
                    "{} stopped in the middle of a job",
                    self.served.weights
                ))));
            }
        }
        None
    }
}
