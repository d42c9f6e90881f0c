//! Server-sent events: a stream's frames as its jobs' events come.

use std::collections::VecDeque;
use std::io;

use axum::body::Body;
use bytes::Bytes;
use futures_util::future::select_all;
use futures_util::stream::unfold;
use rand::Rng;
use serde::Serialize;
use tasks::{ChatEvent, DescribeEvent, Failure, Usage};

use super::Call;
use super::job::Job;
use super::till::Till;
use crate::errors::RequestId;

/// The last frame.
const DONE: &str = "data: [DONE]\n\n";

/// What the padding `p` is cut from; it hides the lengths of tokens from whoever sees only sizes.
const PADDING: &str = "abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz0123456789";

/// Padding of a random length.
pub(super) fn padding() -> &'static str {
    let length = rand::rng().random_range(1..=PADDING.len());
    &PADDING[..length]
}

/// Bytes that a frame of one token takes, most often.
const FRAME_BYTES: usize = 512;

/// Frames that are ready to be sent.
pub(super) struct Lines(Vec<u8>);

impl Lines {
    fn new() -> Self {
        Self(Vec::with_capacity(FRAME_BYTES))
    }

    /// # Errors
    /// [`Failure::Internal`] for what is no JSON.
    pub(super) fn push(&mut self, json: &impl Serialize) -> Result<(), Failure> {
        self.0.extend_from_slice(b"data: ");
        serde_json::to_writer(&mut self.0, json)
            .map_err(|error| Failure::Internal(format!("writing a frame: {error}")))?;
        self.0.extend_from_slice(b"\n\n");
        Ok(())
    }
}

/// What an event tells of a job's cost.
pub(super) trait Counted {
    /// Adds what the event tells to the count of its job; the last event tells all of it.
    fn count(&self, usage: &mut Usage);
}

impl Counted for ChatEvent {
    fn count(&self, usage: &mut Usage) {
        match self {
            Self::Read {
                prompt_tokens,
                cached_tokens,
            } => (usage.prompt_tokens, usage.cached_tokens) = (*prompt_tokens, *cached_tokens),
            Self::Logprobs(_) => {}
            // A token, or the few that make a character.
            Self::Text(_) | Self::Reasoning(_) | Self::ToolCall(_) => one_more(usage),
            Self::Done { usage: all, .. } => *usage = *all,
        }
    }
}

impl Counted for DescribeEvent {
    fn count(&self, usage: &mut Usage) {
        match self {
            Self::Text(_) | Self::Reasoning(_) => one_more(usage),
            Self::Points(_) | Self::Boxes(_) => {}
            Self::Done { usage: all, .. } => *usage = *all,
        }
    }
}

fn one_more(usage: &mut Usage) {
    usage.completion_tokens = usage.completion_tokens.saturating_add(1);
}

/// The usage of some answers to one prompt, which counts once.
pub(super) fn sum(usages: impl Iterator<Item = Usage>) -> Usage {
    usages.fold(Usage::default(), |sum, usage| Usage {
        prompt_tokens: sum.prompt_tokens.max(usage.prompt_tokens),
        completion_tokens: sum
            .completion_tokens
            .saturating_add(usage.completion_tokens),
        cached_tokens: sum.cached_tokens.max(usage.cached_tokens),
    })
}

/// Writes the frames of one stream.
pub(super) trait Scribe: Send + 'static {
    /// What the jobs tell.
    type Event: Counted + Send + 'static;

    /// Writes what an event of a choice comes to; true for the choice's last event.
    fn tell(&mut self, choice: usize, event: Self::Event, out: &mut Lines)
    -> Result<bool, Failure>;

    /// Writes what follows when every choice has ended, without the frame that every stream ends
    /// with.
    fn close(&mut self, out: &mut Lines) -> Result<(), Failure>;
}

/// A stream in progress. It is booked when it is dropped: whole, or as far as a reader who left has let it come.
struct Frames<S: Scribe> {
    /// Those of choices that have not ended, with the choices' places.
    jobs: Vec<(usize, Job<S::Event>)>,
    /// Events that were awaited before the answer began.
    ready: VecDeque<(usize, S::Event)>,
    scribe: S,
    /// What each choice has told of its cost.
    counts: Vec<Usage>,
    till: Till,
    is_over: bool,
    id: RequestId,
}

/// The body of a stream whose first event is there: that of the first job. Dropping it cancels the
/// jobs; a failure in the middle breaks the connection off, for the contract has no frame to tell it
/// with.
pub(super) fn body<S: Scribe>(
    jobs: Vec<Job<S::Event>>,
    first: S::Event,
    scribe: S,
    call: Call<'_>,
) -> Body {
    let frames = Frames {
        counts: vec![Usage::default(); jobs.len()],
        jobs: jobs.into_iter().enumerate().collect(),
        ready: VecDeque::from([(0, first)]),
        scribe,
        till: Till::of(call),
        is_over: false,
        id: call.id,
    };
    Body::from_stream(unfold(frames, async |mut frames| {
        if frames.is_over {
            return None;
        }
        let lines = frames.next().await;
        let lines = lines.map(Bytes::from).map_err(|failure| {
            frames.is_over = true;
            tracing::error!("a stream was broken off: {failure} ({})", frames.id);
            io::Error::other(failure)
        });
        Some((lines, frames))
    }))
}

impl<S: Scribe> Frames<S> {
    /// The next frames; at least one.
    async fn next(&mut self) -> Result<Vec<u8>, Failure> {
        let mut lines = Lines::new();
        while lines.0.is_empty() {
            let (choice, event) = match self.ready.pop_front() {
                Some(ready) => ready,
                None => self.await_event().await?,
            };
            if let Some(counts) = self.counts.get_mut(choice) {
                event.count(counts);
            }
            if self.scribe.tell(choice, event, &mut lines)? {
                self.jobs.retain(|(place, _)| *place != choice);
            }
            if self.jobs.is_empty() {
                self.is_over = true;
                self.scribe.close(&mut lines)?;
                lines.0.extend_from_slice(DONE.as_bytes());
            }
        }
        Ok(lines.0)
    }

    /// The next event of whichever job has one.
    async fn await_event(&mut self) -> Result<(usize, S::Event), Failure> {
        if let [job] = &mut self.jobs[..] {
            return event_of(job).await;
        }
        let next = self.jobs.iter_mut().map(|job| Box::pin(event_of(job)));
        select_all(next).await.0
    }
}

async fn event_of<E>((choice, job): &mut (usize, Job<E>)) -> Result<(usize, E), Failure> {
    let event = job.next().await?;
    let ended = "the stream ended without its last event";
    let event = event.ok_or_else(|| Failure::Internal(ended.into()))?;
    Ok((*choice, event))
}

impl<S: Scribe> Drop for Frames<S> {
    fn drop(&mut self) {
        self.till.streamed(sum(self.counts.iter().copied()));
    }
}
