//! The words of hearth: for each task a request, its events, and the ways it can fail.
//!
//! No I/O, no async, no tensors, no JSON: wire types stop at the door of `api`, tensors stay
//! behind the door of `models`, and what passes between them is written here.
#![warn(missing_docs)]

mod chat;
mod embed;
mod failure;
mod served;
mod transcribe;

pub use chat::{Chat, ChatEvent, ChatRequest, Finish, Message, Prompt, Sampling, Usage};
pub use embed::{Embed, EmbedRequest, Embedding, Overlong, Pooling};
pub use failure::Failure;
pub use served::{Grade, Served};
pub use transcribe::{Transcribe, TranscribeEvent, TranscribeRequest};

/// A task: what is asked, what is answered, piece by piece.
pub trait Task: 'static {
    /// What one job asks.
    type Request: Send + 'static;
    /// One piece of the answer; a job answers with one or many.
    type Event: Send + 'static;
    /// The catalogue's name of the task, for logs and errors.
    const NAME: &'static str;
}
