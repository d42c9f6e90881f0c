//! The words of hearth: for each task a request, its events, and the ways it can fail.
//!
//! No I/O, no async, no tensors, no JSON: wire types stop at the door of `api`, tensors stay
//! behind the door of `models`, and what passes between them is written here.
#![warn(missing_docs)]

mod chat;
mod classify;
mod decide;
mod embed;
mod failure;
mod json;
mod look;
mod paint;
mod rerank;
mod served;
mod speak;
mod summarize;
mod tool;
mod transcribe;
mod translate;
mod turn;

pub use chat::{
    Chat, ChatEvent, ChatOptions, ChatRequest, Finish, Format, Logprob, Lora, Message, Prompt,
    Sampling, TokenLogprobs, Usage,
};
pub use classify::{Classes, Classify, ClassifyRequest, Scored};
pub use decide::{Decide, DecideRequest, Decision, QuestionKind};
pub use embed::{Embed, EmbedRequest, Embedding, Overlong, Pooling};
pub use failure::Failure;
pub use json::Json;
pub use look::{
    ClassifyImage, Describe, DescribeEvent, DescribeRequest, Detect, ImageFile, Labels, Object,
    Objects, Question,
};
pub use paint::{Paint, PaintEvent, PaintRequest, Picture};
pub use rerank::{Relevance, Rerank, RerankRequest};
pub use served::{Grade, Served};
pub use speak::{Speak, SpeakEvent, SpeakRequest};
pub use summarize::{Summarize, SummarizeRequest, Summary};
pub use tool::{Tool, ToolCall, ToolChoice};
pub use transcribe::{
    Decoding, Transcribe, TranscribeEvent, TranscribeOptions, TranscribeRequest, Word,
};
pub use translate::{Translate, TranslateRequest, Translation};
pub use turn::{SampleFormat, Turn, TurnEnd, TurnRequest};

/// A task: what is asked, what is answered, piece by piece.
pub trait Task: 'static {
    /// What one job asks.
    type Request: Send + 'static;
    /// One piece of the answer; a job answers with one or many.
    type Event: Send + 'static;
    /// The catalogue's name of the task, for logs and errors.
    const NAME: &'static str;
}
