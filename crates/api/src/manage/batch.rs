//! Asynchronous batches on the surfaces: `queueRequest` with `requests` puts one in the queue, `request_id` asks for
//! it. Who answers the items is in `runner`.

use std::future::ready;
use std::io;
use std::time::SystemTime;

use axum::http::StatusCode;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, Stream, StreamExt};
use ledger::{
    BATCH_MAX_BYTES, Finished, ItemOutcome, ItemResult, Ledger, LedgerError, Polled,
    Request as BatchRequest, Uuid,
};
use serde::Serialize;
use serde_json::Value;
use tasks::Failure;

use super::envelope::NO_LEDGER;
use crate::blocking::blocking;
use crate::errors::Refusal;
use crate::run::{Call, Input, Options};

/// The fields of a body that make it one of a batch.
const REQUESTS: &str = "requests";
const REQUEST_ID: &str = "request_id";
/// The caller's own name of an item.
const REFERENCE: &str = "external_reference";

/// An answer about a batch: bare JSON.
pub(crate) struct Told {
    pub(crate) status: StatusCode,
    pub(crate) content: Telling,
}

/// The JSON.
pub(crate) enum Telling {
    Whole(Vec<u8>),
    /// What is too long to be held at once.
    Pieces(Pieces),
}

/// Pieces of JSON as they are read.
pub(crate) type Pieces = BoxStream<'static, io::Result<Bytes>>;

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
        Ok::<_, Failure>((id.map_err(failure)?, model))
    };
    let (id, model) = blocking("the ledger", accept).await?;
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
            Some(Polled::Done(finished)) => Some(done(ledger, finished)?),
        };
        Ok::<_, Failure>(told)
    };
    blocking("the ledger", look).await?.ok_or_else(unknown)
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
        content: Telling::Whole(written(&progress)?),
    })
}

/// Results of a batch that are still on disk.
struct Rest {
    ledger: Ledger,
    finished: Finished,
    /// The next item's place.
    next: u32,
}

impl Rest {
    /// The next page of results as JSON, and whether it is the last one.
    fn page(&mut self) -> Result<(Vec<u8>, bool), Failure> {
        let page = self
            .ledger
            .page(&self.finished, self.next)
            .map_err(failure)?;
        let mut json = Vec::new();
        for result in page {
            if result.position > 0 {
                json.push(b',');
            }
            self.next = result.position + 1;
            write_item(result, &mut json)?;
        }
        Ok((json, self.next >= self.finished.items))
    }
}

/// Every item by its place, and what all used together. More than a page is read as the client reads.
fn done(ledger: Ledger, finished: Finished) -> Result<Told, Failure> {
    #[derive(Serialize)]
    #[allow(clippy::struct_field_names)] // the wire's own names
    struct Usage {
        prompt_tokens: u64,
        completion_tokens: u64,
        total_tokens: u64,
    }
    let usage = Usage {
        prompt_tokens: finished.prompt_tokens,
        completion_tokens: finished.completion_tokens,
        total_tokens: finished.prompt_tokens + finished.completion_tokens,
    };
    let tail = [&br#"],"usage":"#[..], &written(&usage)?, b"}"].concat();
    let mut rest = Rest {
        ledger,
        finished,
        next: 0,
    };
    let (page, is_last) = rest.page()?;
    let mut json = br#"{"responses":["#.to_vec();
    json.extend_from_slice(&page);
    let content = if is_last {
        json.extend_from_slice(&tail);
        Telling::Whole(json)
    } else {
        let first = stream::once(ready(Ok(json.into())));
        let tail = stream::once(ready(Ok(tail.into())));
        Telling::Pieces(first.chain(pages(rest)).chain(tail).boxed())
    };
    Ok(Told {
        status: StatusCode::OK,
        content,
    })
}

/// The further pages. A batch that is removed meanwhile breaks the connection off.
fn pages(rest: Rest) -> impl Stream<Item = io::Result<Bytes>> + Send {
    stream::unfold(Some(rest), async |rest| {
        let mut rest = rest?;
        let read = move || Ok::<_, Failure>((rest.page()?, rest));
        Some(match blocking("reading a batch", read).await {
            Ok(((json, is_last), rest)) => (Ok(json.into()), (!is_last).then_some(rest)),
            Err(failure) => {
                tracing::error!("a poll was broken off: {failure}");
                (Err(io::Error::other(failure)), None)
            }
        })
    })
}

fn write_item(result: ItemResult, json: &mut Vec<u8>) -> Result<(), Failure> {
    let reference = written(&result.reference)?;
    let (key, body, success) = match result.outcome {
        ItemOutcome::Answered { json, .. } => ("result", json.into_bytes(), true),
        ItemOutcome::Failed(text) => ("error", written(&text)?, false),
    };
    let head = format!(r#"{{"id":{},"{key}":"#, result.position);
    let middle = format!(r#","success":{success},"external_reference":"#);
    for part in [head.as_bytes(), &body, middle.as_bytes(), &reference, b"}"] {
        json.extend_from_slice(part);
    }
    Ok(())
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
