//! From a job's events to the answer's form.

mod chat;
mod legacy;
mod logprobs;
mod plain;
mod response;
mod verdict;

use catalog::Rate;
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};
use tasks::{ChatEvent, Failure, Finish, ToolCall, Usage};
use uuid::Uuid;

use super::outcome::Outcome;
use super::read::ResponseWords;
use crate::run::events::{Lines, Scribe};

/// What an answer looks like.
#[derive(Debug)]
pub(super) enum Form {
    /// `{"response", "tool_calls", "usage"}`.
    Legacy(Calls),
    /// `{"response", "usage"}` of the moderator, its verdict as words or as JSON.
    Verdict { as_json: bool },
    /// `chat.completion` in the key order of the common back end. Native: as the run routes have it,
    /// with fields of that back end, and a stream's native last frame.
    Plain { is_native: bool },
    /// `text_completion`.
    Continuation,
    /// `chat.completion` of the chat classes: keys in the order of the alphabet.
    Chat { is_native: bool },
    /// `response` of OpenAI's Responses.
    Response(Box<ResponseWords>),
}

/// How a legacy answer tells of tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Calls {
    /// `{"name", "arguments"}`, in one frame of a stream.
    Bare,
    /// `{"id", "type", "function"}`, in some frames of a stream.
    Wrapped {
        /// A stream with tools begins with a frame of two dialects.
        is_merged: bool,
    },
}

/// What a form needs to know beside the events.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools)] // each says one thing of the request
pub(super) struct Dress {
    /// The model's public name.
    pub(super) model: String,
    pub(super) rate: Option<Rate>,
    /// The text is JSON, and was checked.
    pub(super) wants_json: bool,
    pub(super) includes_usage: bool,
    pub(super) has_tools: bool,
    pub(super) one_call: bool,
    /// How likely tokens were is told.
    pub(super) logprobs: bool,
}

impl Form {
    /// The whole answer.
    pub(super) fn write(&self, dress: &Dress, outcomes: Vec<Outcome>, usage: Usage) -> Value {
        match self {
            Self::Legacy(calls) => legacy::write(*calls, dress, outcomes, usage),
            Self::Verdict { as_json } => verdict::write(*as_json, outcomes, usage),
            Self::Plain { is_native } => plain::write(*is_native, dress, outcomes, usage),
            Self::Continuation => plain::continuation(dress, outcomes, usage),
            Self::Chat { .. } => chat::write(dress, outcomes, usage),
            Self::Response(words) => response::write(words, dress, outcomes, usage),
        }
    }

    /// Whether an answer says that it was cut: then JSON that is not whole is no error.
    pub(super) fn tells_length(&self) -> bool {
        !matches!(self, Self::Legacy(_) | Self::Verdict { .. })
    }

    /// Who writes the stream of so many choices. Forms that do not stream never ask.
    pub(super) fn scribe(
        &self,
        dress: Dress,
        choices: usize,
    ) -> Box<dyn Scribe<Event = ChatEvent>> {
        match self {
            Self::Legacy(calls) => Box::new(legacy::Stream::new(*calls, dress)),
            Self::Plain { is_native } => Box::new(plain::Stream::new(
                plain::Kind::Chat,
                *is_native,
                dress,
                choices,
            )),
            Self::Continuation => {
                Box::new(plain::Stream::new(plain::Kind::Text, true, dress, choices))
            }
            Self::Chat { is_native } => Box::new(chat::Stream::new(*is_native, dress, choices)),
            Self::Verdict { .. } | Self::Response(_) => {
                Box::new(legacy::Stream::new(Calls::Bare, dress))
            }
        }
    }
}

impl Scribe for Box<dyn Scribe<Event = ChatEvent>> {
    type Event = ChatEvent;

    fn tell(&mut self, choice: usize, event: ChatEvent, out: &mut Lines) -> Result<bool, Failure> {
        (**self).tell(choice, event, out)
    }

    fn close(&mut self, out: &mut Lines) -> Result<(), Failure> {
        (**self).close(out)
    }
}

/// What `id` and `created` are made of.
fn since_1970() -> std::time::Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// 32 hex digits that never come again.
fn hex() -> String {
    Uuid::new_v4().simple().to_string()
}

/// The id of a call: its own, or a new one.
fn call_id(call: &ToolCall) -> String {
    match &call.id {
        Some(id) => id.clone(),
        None => format!("chatcmpl-tool-{}", hex()),
    }
}

/// A call as OpenAI has it: the arguments are text.
fn call_words(call: &ToolCall) -> Value {
    json!({
        "id": call_id(call),
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments.0},
    })
}

/// The arguments of a call as an object; text that is none stays text.
fn arguments(call: &ToolCall) -> Value {
    let parsed = serde_json::from_str(&call.arguments.0);
    parsed.unwrap_or_else(|_| Value::String(call.arguments.0.clone()))
}

/// The wire's word for the end.
fn finish_word(finish: Finish, has_calls: bool) -> &'static str {
    match finish {
        Finish::Length => "length",
        Finish::ToolCalls => "tool_calls",
        Finish::Stop if has_calls => "tool_calls",
        Finish::Stop => "stop",
    }
}
