//! Server-sent events of text generation, as the legacy models of the service send them.

use std::io;

use axum::body::Body;
use bytes::Bytes;
use catalog::Rate;
use futures_util::stream::unfold;
use rand::Rng;
use serde::Serialize;
use tasks::{ChatEvent, Failure, Usage};

use super::job::Job;
use super::text_generation::UsageWords;
use super::{Call, neurons};
use crate::errors::RequestId;
use crate::manage::Meter;

/// The last frame.
const DONE: &str = "data: [DONE]\n\n";

/// What the padding `p` is cut from; it hides the lengths of tokens from whoever sees only sizes.
const PADDING: &str = "abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz0123456789";

/// A stream in progress.
struct Frames {
    job: Job<ChatEvent>,
    /// The event that was awaited before the answer began.
    first: Option<ChatEvent>,
    is_over: bool,
    id: RequestId,
    meter: Meter,
    rate: Option<Rate>,
}

/// The body of a stream whose first event is there. Dropping it cancels the job; a failure in the
/// middle breaks the connection off, for the contract has no frame to tell it with.
pub(super) fn body(job: Job<ChatEvent>, first: ChatEvent, call: Call<'_>) -> Body {
    let frames = Frames {
        job,
        first: Some(first),
        is_over: false,
        id: call.id,
        meter: call.meter(),
        rate: call.card.neurons,
    };
    Body::from_stream(unfold(frames, async |mut frames| {
        if frames.is_over {
            return None;
        }
        let frame = frames.next().await;
        Some((frame, frames))
    }))
}

impl Frames {
    fn count(&self, usage: Usage) {
        let (read, written) = (usage.prompt_tokens.into(), usage.completion_tokens.into());
        self.meter.tokens(read, written);
        self.meter
            .streamed(neurons::of_tokens(self.rate, read, written));
    }

    async fn next(&mut self) -> io::Result<Bytes> {
        let event = match self.first.take() {
            Some(event) => Ok(Some(event)),
            None => self.job.next().await,
        };
        let frame = event.and_then(|event| match event {
            Some(ChatEvent::Text(text)) => text_frame(&text),
            Some(ChatEvent::Done { usage, .. }) => {
                self.is_over = true;
                self.count(usage);
                usage_frame(&usage.into()).map(|frame| frame + DONE)
            }
            Some(ChatEvent::Reasoning(_) | ChatEvent::ToolCall(_)) => Ok(String::new()),
            None => Err(Failure::Internal(
                "the stream ended without its last event".into(),
            )),
        });
        frame.map(Bytes::from).map_err(|failure| {
            self.is_over = true;
            tracing::error!("a stream was broken off: {failure} ({})", self.id);
            io::Error::other(failure)
        })
    }
}

fn text_frame(text: &str) -> Result<String, Failure> {
    #[derive(Serialize)]
    struct Frame<'a> {
        response: &'a str,
        p: &'static str,
    }
    let length = rand::rng().random_range(1..=PADDING.len());
    frame(&Frame {
        response: text,
        p: &PADDING[..length],
    })
}

fn usage_frame(usage: &UsageWords) -> Result<String, Failure> {
    #[derive(Serialize)]
    struct Frame<'a> {
        response: &'a str,
        usage: &'a UsageWords,
    }
    frame(&Frame {
        response: "",
        usage,
    })
}

fn frame(json: &impl Serialize) -> Result<String, Failure> {
    let json = serde_json::to_string(json);
    let json = json.map_err(|error| Failure::Internal(format!("writing a frame: {error}")))?;
    Ok(format!("data: {json}\n\n"))
}
