//! The stub: for every task an answer that is true to its schema, at once and without weights.
//!
//! The same request always has the same answer, whatever its temperature, and the text of every
//! answer says that it is a stub's. What real weights would refuse (broken files, prompts beyond the
//! window, schemas that nothing satisfies) it refuses too.

mod chance;
mod chat;
mod decide;
mod embed;
mod json;
mod judge;
mod look;
mod paint;
mod picture;
mod prose;
mod score;
mod sound;
mod speak;
mod tokens;
mod tools;
mod transcribe;
mod turn;

use std::sync::Arc;

use engine::{Answer, DirectLane, Lane};
use tasks::{
    Chat, Classify, ClassifyImage, Decide, Describe, Detect, Embed, Paint, Rerank, Speak,
    Summarize, Transcribe, Translate, Turn,
};

/// Answers every task.
#[derive(Debug, Default)]
struct Stub {
    gate: picture::Gate,
}

/// A lane that answers every task and needs no memory.
pub fn lane() -> Lane {
    let stub = Arc::new(Stub::default());
    DirectLane::new()
        .quick::<Chat>(stub.clone())
        .quick::<Embed>(stub.clone())
        .quick::<Rerank>(stub.clone())
        .quick::<Classify>(stub.clone())
        .quick::<Translate>(stub.clone())
        .quick::<Summarize>(stub.clone())
        .quick::<Speak>(stub.clone())
        .quick::<Decide>(stub.clone())
        // Files have to be decoded, and pictures painted.
        .slow::<Transcribe>(stub.clone())
        .slow::<Turn>(stub.clone())
        .slow::<Paint>(stub.clone())
        .slow::<ClassifyImage>(stub.clone())
        .slow::<Detect>(stub.clone())
        .slow::<Describe>(stub)
        .into()
}

/// An answer of one piece.
fn once<E: Send + 'static>(event: E) -> Answer<E> {
    Box::new(std::iter::once(Ok(event)))
}

/// An answer of pieces that are there already.
fn pieces<E, I>(events: I) -> Answer<E>
where
    E: 'static,
    I: IntoIterator<Item = E>,
    I::IntoIter: Send + 'static,
{
    Box::new(events.into_iter().map(Ok))
}
