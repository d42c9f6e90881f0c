//! A job in the engine, and the patience of a request that waits for it.

use std::time::Duration;

use catalog::ModelCard;
use engine::Replies;
use tasks::{Failure, Served, Task};
use tokio::time::{Instant, timeout_at};

use crate::App;

/// A job and its answers. Dropping it cancels the job.
pub(super) struct Job<E> {
    replies: Replies<E>,
    timeout: Duration,
    deadline: Instant,
}

impl<E> Job<E> {
    /// Submits a request, loading its model if need be.
    ///
    /// # Errors
    /// What the engine says, or [`Failure::Timeout`].
    pub(super) async fn submit<T>(
        app: &App,
        card: &ModelCard,
        request: T::Request,
    ) -> Result<Self, Failure>
    where
        T: Task<Event = E>,
    {
        let timeout = app.settings.request_timeout;
        let deadline = Instant::now() + timeout;
        let submitted = app.engine.submit::<T>(&card.name, request);
        let replies = timeout_at(deadline, submitted)
            .await
            .map_err(|_| Failure::Timeout)??;
        Ok(Self {
            replies,
            timeout,
            deadline,
        })
    }

    /// The next event; `None` after the last one.
    pub(super) async fn next(&mut self) -> Result<Option<E>, Failure> {
        let next = timeout_at(self.deadline, self.replies.next()).await;
        self.deadline = Instant::now() + self.timeout;
        next.map_err(|_| Failure::Timeout)?.transpose()
    }

    pub(super) fn served(&self) -> &Served {
        self.replies.served()
    }
}

/// A job that ended before its last event: a broken promise of a model.
pub(super) fn ended_early(card: &ModelCard) -> Failure {
    Failure::Internal(format!(
        "{}: the job ended without its last event",
        card.name
    ))
}
