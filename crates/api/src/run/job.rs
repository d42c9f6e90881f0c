//! A job in the engine, and the patience of a request that waits for it.

use std::pin::Pin;
use std::time::Duration;

use catalog::ModelCard;
use engine::Replies;
use futures_util::{StreamExt, stream};
use tasks::{Failure, Served, Task};
use tokio::time::{Instant, Sleep, sleep_until, timeout, timeout_at};

use super::Call;

/// Jobs that one request may have in the engine at once.
const REQUEST_MAX_JOBS: usize = 32;

/// A job and its answers. Dropping it cancels the job.
pub(super) struct Job<E> {
    replies: Replies<E>,
    timeout: Duration,
    /// When the next event has to be there.
    deadline: Instant,
    /// Ends at some deadline so far: it is set anew when it has ended, not for each event.
    patience: Pin<Box<Sleep>>,
}

impl<E> Job<E> {
    /// Submits a request, loading its model if need be.
    ///
    /// # Errors
    /// What the engine says, or [`Failure::Timeout`].
    pub(super) async fn submit<T>(call: Call<'_>, request: T::Request) -> Result<Self, Failure>
    where
        T: Task<Event = E>,
    {
        let Call { app, card, .. } = call;
        let timeout = app.settings.request_timeout;
        let deadline = Instant::now() + timeout;
        let submitted = app.engine.submit_for::<T>(call.caller, &card.name, request);
        let replies = timeout_at(deadline, submitted)
            .await
            .map_err(|_| Failure::Timeout)??;
        Ok(Self {
            replies,
            timeout,
            deadline,
            patience: Box::pin(sleep_until(deadline)),
        })
    }

    /// The next event; `None` after the last one.
    pub(super) async fn next(&mut self) -> Result<Option<E>, Failure> {
        loop {
            tokio::select! {
                biased;
                next = self.replies.next() => {
                    self.deadline = Instant::now() + self.timeout;
                    return next.transpose();
                }
                () = self.patience.as_mut() => {
                    if Instant::now() >= self.deadline {
                        return Err(Failure::Timeout);
                    }
                    self.patience.as_mut().reset(self.deadline);
                }
            }
        }
    }

    pub(super) fn served(&self) -> &Served {
        self.replies.served()
    }
}

/// Runs a job that answers with one event.
///
/// # Errors
/// What the engine or the model says.
pub(super) async fn one<T: Task>(
    call: Call<'_>,
    request: T::Request,
) -> Result<(T::Event, Served), Failure> {
    let mut job = Job::submit::<T>(call, request).await?;
    let event = job.next().await?.ok_or_else(|| ended_early(call.card))?;
    Ok((event, job.served().clone()))
}

/// What each of many jobs answered, in their order. Inputs that are too long for the model are told
/// one by one; any other failure is the failure of all.
pub(super) struct Many<E> {
    pub(super) events: Vec<Result<E, Failure>>,
    pub(super) served: Served,
}

impl<E> Many<E> {
    /// The events, where none of the inputs was too long.
    ///
    /// # Errors
    /// [`Failure::ContextExceeded`].
    pub(super) fn all(self) -> Result<(Vec<E>, Served), Failure> {
        let events = self.events.into_iter().collect::<Result<_, _>>()?;
        Ok((events, self.served))
    }
}

/// Runs jobs that answer with one event each, some at a time.
///
/// # Errors
/// As [`one`].
pub(super) async fn many<T: Task>(
    call: Call<'_>,
    requests: impl IntoIterator<Item = T::Request>,
) -> Result<Many<T::Event>, Failure> {
    let jobs = requests.into_iter().map(async |request| {
        let places = call.app.list_places.acquire();
        let _place = timeout(call.app.settings.request_timeout, places)
            .await
            .map_err(|_| Failure::Timeout)?; // the semaphore is never closed
        one::<T>(call, request).await
    });
    let mut jobs = stream::iter(jobs).buffered(REQUEST_MAX_JOBS);
    let mut events = Vec::new();
    let mut served = None;
    while let Some(answer) = jobs.next().await {
        events.push(match answer {
            Ok((event, by)) => {
                served = Some(by);
                Ok(event)
            }
            Err(failure @ Failure::ContextExceeded { .. }) => Err(failure),
            Err(failure) => return Err(failure),
        });
    }
    let served = match served {
        Some(served) => served,
        None => call.app.engine.served(&call.card.name)?, // no job, or none that was answered
    };
    Ok(Many { events, served })
}

/// A job that ended before its last event: a broken promise of a model.
pub(super) fn ended_early(card: &ModelCard) -> Failure {
    Failure::Internal(format!(
        "{}: the job ended without its last event",
        card.name
    ))
}
