//! Who answers the items of batches: one at a time, when nobody else waits.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use engine::Class;
use futures_util::FutureExt;
use ledger::{Item, ItemOutcome, Ledger, LedgerError, Taken};
use serde_json::Value;
use tasks::Failure;

use crate::App;
use crate::errors::{Refusal, RequestId, text};
use crate::run::{Call, answer_json};

/// How long an item gives way to requests that somebody waits for. Where these never leave a gap, an item is begun
/// this often all the same, so that no batch waits for ever.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often the queue is looked at without being told of a batch.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Pause after the ledger or the engine refused.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// How often one item is asked for while the engine is full or the minute's requests are used up: more than a minute.
const BUSY_ATTEMPTS: u32 = 90;
/// An item that was begun so often and never answered has ended its process each time.
const ATTEMPTS_MAX: u32 = 3;

/// Answers batches; one for a surface. It does nothing until it is run.
pub struct BatchRunner {
    app: Arc<App>,
}

impl BatchRunner {
    pub(crate) fn new(app: Arc<App>) -> Self {
        Self { app }
    }

    /// Runs until it is dropped. An item that it was at then is answered anew after the next start.
    pub async fn run(self) {
        let Some(ledger) = self.app.settings.ledger.clone() else {
            return std::future::pending().await;
        };
        loop {
            match take(&ledger).await {
                Ok(Some(taken)) => self.answer(taken).await,
                Ok(None) => {
                    // Told, or not: the queue is looked at again.
                    let told = self.app.batches.notified();
                    let _ = tokio::time::timeout(LOOK_EVERY, told).await;
                }
                Err(error) => {
                    tracing::error!("batches: {error}");
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        }
    }

    async fn answer(&self, taken: Taken) {
        let outcome = if taken.item.attempts > ATTEMPTS_MAX {
            let text = format!("given up: {ATTEMPTS_MAX} attempts ended with the server itself");
            ItemOutcome::Failed(text)
        } else {
            self.app.interactive.give_way(PATIENCE).await;
            self.outcome(&taken.item).await
        };
        let name = format!(
            "batch {} item {}",
            taken.item.request_id, taken.item.position
        );
        // What was answered is written however often that takes: to answer again would cost again.
        let taken = Arc::new((taken, outcome));
        loop {
            let finished = taken.clone();
            let finish = move || finished.0.finish(&finished.1, SystemTime::now());
            match tokio::task::spawn_blocking(finish).await {
                Ok(Ok(())) => return,
                Ok(Err(error @ LedgerError::AlreadyAnswered { .. })) => {
                    return tracing::error!("{name}: {error}");
                }
                Ok(Err(error)) => tracing::error!("{name}: {error}; it is written again"),
                Err(error) => return tracing::error!("{name}: {error}"),
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    async fn outcome(&self, item: &Item) -> ItemOutcome {
        let id = RequestId::new();
        let mut attempts = 0;
        loop {
            // A bug in a task's code is that item's failure, not the end of all batches.
            let answered = AssertUnwindSafe(self.ask(item, id)).catch_unwind().await;
            let answered = answered.unwrap_or_else(|_| {
                Err(Failure::Internal("answering an item panicked".into()).into())
            });
            attempts += 1;
            match answered {
                Ok(result) => return answered_with(&result),
                Err(Refusal::Failure(Failure::Busy) | Refusal::RateLimited)
                    if attempts < BUSY_ATTEMPTS =>
                {
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
                Err(refusal) => return ItemOutcome::Failed(text(&refusal, &item.model, id)),
            }
        }
    }

    async fn ask(&self, item: &Item, id: RequestId) -> Result<Value, Refusal> {
        let call = Call::of(&self.app, &item.model, id)?;
        let input = serde_json::from_str(&item.input)
            .map_err(|error| Failure::Internal(format!("an item that is no JSON: {error}")))?;
        // A batch's items may share what they begin with; others' batches see nothing of it.
        let call = call.of_tenant(item.request_id).of_class(Class::Batch);
        answer_json(call, input).await
    }
}

fn answered_with(result: &Value) -> ItemOutcome {
    let tokens = |name| result["usage"][name].as_u64().unwrap_or(0);
    ItemOutcome::Answered {
        json: result.to_string(),
        prompt_tokens: tokens("prompt_tokens"),
        completion_tokens: tokens("completion_tokens"),
    }
}

async fn take(ledger: &Ledger) -> Result<Option<Taken>, LedgerError> {
    let ledger = ledger.clone();
    let taken = tokio::task::spawn_blocking(move || ledger.take()).await;
    taken.unwrap_or(Ok(None)) // the runtime is ending
}
