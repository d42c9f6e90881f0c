//! Asynchronous batches on the surfaces: `queueRequest` with `requests` puts one in the queue, `request_id` asks for
//! it. Who answers the items is in `runner`.

use std::io::Write;
use std::time::SystemTime;

use axum::http::StatusCode;
use ledger::{
    BATCH_MAX_BYTES, ItemOutcome, ItemResult, Ledger, LedgerError, Polled, Request as BatchRequest,
    Uuid,
};
use serde::Serialize;
use serde_json::Value;
use tasks::Failure;

use super::envelope::NO_LEDGER;
use crate::errors::Refusal;
use crate::run::{Call, Input, Options};

/// The fields of a body that make it one of a batch.
const REQUESTS: &str = "requests";
const REQUEST_ID: &str = "request_id";
/// The caller's own name of an item.
const REFERENCE: &str = "external_reference";

/// An answer about a batch: bare JSON.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) status: StatusCode,
    pub(crate) json: Vec<u8>,
}

/// The answer to an input that is about a batch; `None` for any other, which the model answers at once: with
/// `queueRequest` too, where the input is no batch or the model has no queue.
///
/// # Errors
/// [`Failure::Schema`], [`Refusal::NoSuchBatch`], [`Failure::TooLarge`], [`Failure::Unavailable`] without a ledger
/// or room in it.
pub(crate) async fn ask(
    call: Call<'_>,
    input: &mut Value,
    options: &Options,
) -> Result<Option<Told>, Refusal> {
    if !call.card.flags.async_queue {
        return Ok(None);
    }
    if let (Some(id), None) = (
        input.get(REQUEST_ID).and_then(Value::as_str),
        input.get(REQUESTS),
    ) {
        return poll(call, id).await.map(Some);
    }
    if options.queues && input.get(REQUESTS).is_some() {
        return submit(call, input.take()).await.map(Some);
    }
    Ok(None)
}

fn ledger(call: Call<'_>) -> Result<Ledger, Failure> {
    let ledger = call.app.settings.ledger.clone();
    ledger.ok_or_else(|| Failure::Unavailable(NO_LEDGER.into()))
}

async fn submit(call: Call<'_>, input: Value) -> Result<Told, Refusal> {
    let ledger = ledger(call)?;
    let input = Input::checked(input, call.class()?).await?;
    let model = call.card.name.clone();
    let accept = move || {
        let requests = read(input.fields)?;
        let id = ledger.accept(&model, &requests, SystemTime::now());
        Ok((id.map_err(failure)?, model))
    };
    let (id, model) = blocking(accept).await?;
    call.app.batches.notify_one();
    Ok(progress("queued", &model, id, StatusCode::OK)?)
}

/// The requests of a validated body.
fn read(mut fields: Value) -> Result<Vec<BatchRequest>, Failure> {
    let Value::Array(items) = fields[REQUESTS].take() else {
        return Err(Failure::BadInput("requests is no list".into()));
    };
    let request = |item: Value| {
        let Value::Object(mut item) = item else {
            return Err(Failure::BadInput("requests[] is no object".into()));
        };
        let reference = match item.shift_remove(REFERENCE) {
            Some(Value::String(reference)) => Some(reference),
            _ => None,
        };
        Ok(BatchRequest {
            input: Value::Object(item).to_string(),
            reference,
        })
    };
    items.into_iter().map(request).collect()
}

async fn poll(call: Call<'_>, id: &str) -> Result<Told, Refusal> {
    let ledger = ledger(call)?;
    let unknown = || Refusal::NoSuchBatch(id.to_owned());
    let id = id.parse::<Uuid>().map_err(|_| unknown())?;
    let model = call.card.name.clone();
    let look = move || {
        let polled = ledger.poll(id, &model, SystemTime::now());
        let told = match polled.map_err(failure)? {
            None => None,
            Some(Polled::Queued) => Some(progress("queued", &model, id, StatusCode::ACCEPTED)?),
            Some(Polled::Running) => Some(progress("running", &model, id, StatusCode::ACCEPTED)?),
            Some(Polled::Done(results)) => Some(done(results)?),
        };
        Ok(told)
    };
    blocking(look).await?.ok_or_else(unknown)
}

fn progress(
    status: &'static str,
    model: &str,
    id: Uuid,
    code: StatusCode,
) -> Result<Told, Failure> {
    #[derive(Serialize)]
    struct Progress<'a> {
        status: &'static str,
        model: &'a str,
        request_id: String,
    }
    let progress = Progress {
        status,
        model,
        request_id: id.to_string(),
    };
    Ok(Told {
        status: code,
        json: written(&progress)?,
    })
}

/// Every item by its place, and what all used together.
fn done(results: Vec<ItemResult>) -> Result<Told, Failure> {
    #[derive(Default, Serialize)]
    #[allow(clippy::struct_field_names)] // the wire's own names
    struct Usage {
        prompt_tokens: u64,
        completion_tokens: u64,
        total_tokens: u64,
    }
    let mut usage = Usage::default();
    let mut json = br#"{"responses":["#.to_vec();
    for (index, result) in results.into_iter().enumerate() {
        if index > 0 {
            json.push(b',');
        }
        let reference = written(&result.reference)?;
        let (key, body, success) = match result.outcome {
            ItemOutcome::Answered {
                json,
                prompt_tokens,
                completion_tokens,
            } => {
                usage.prompt_tokens += prompt_tokens;
                usage.completion_tokens += completion_tokens;
                ("result", json.into_bytes(), true)
            }
            ItemOutcome::Failed(text) => ("error", written(&text)?, false),
        };
        let head = format!(r#"{{"id":{},"{key}":"#, result.position);
        let middle = format!(r#","success":{success},"external_reference":"#);
        for part in [head.as_bytes(), &body, middle.as_bytes(), &reference, b"}"] {
            json.extend_from_slice(part);
        }
    }
    usage.total_tokens = usage.prompt_tokens + usage.completion_tokens;
    let tail = write!(
        json,
        r#"],"usage":{}}}"#,
        String::from_utf8_lossy(&written(&usage)?)
    );
    tail.map_err(|error| Failure::Internal(format!("writing a batch: {error}")))?;
    Ok(Told {
        status: StatusCode::OK,
        json,
    })
}

fn written(value: &impl Serialize) -> Result<Vec<u8>, Failure> {
    let json = serde_json::to_vec(value);
    json.map_err(|error| Failure::Internal(format!("writing a batch: {error}")))
}

fn failure(error: LedgerError) -> Failure {
    match error {
        LedgerError::EmptyBatch => Failure::BadInput(error.to_string()),
        LedgerError::BatchTooLarge { .. } => {
            tracing::info!("{error}");
            Failure::TooLarge {
                limit_bytes: BATCH_MAX_BYTES,
            }
        }
        LedgerError::Full { .. } => Failure::Unavailable(error.to_string()),
        error => Failure::Internal(error.to_string()),
    }
}

/// Runs what waits for the disk on a thread that may.
async fn blocking<R: Send + 'static>(
    work: impl FnOnce() -> Result<R, Failure> + Send + 'static,
) -> Result<R, Failure> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Failure::Internal(format!("the ledger: {error}")))?
}
