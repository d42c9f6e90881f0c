//! `chat.completion` and `text_completion` in the key order of the common back end, and their
//! streams: OpenAI's route with legacy models, and the run routes with those that complete.

use serde::Serialize;
use serde_json::{Value, json};
use tasks::{ChatEvent, Failure, TokenLogprobs, Usage};

use super::{Dress, call_words, finish_word, logprobs, since_1970};
use crate::run::events::{Lines, Scribe, sum};
use crate::run::text_generation::outcome::Outcome;
use crate::run::text_generation::usage::UsageWords;

pub(super) fn write(is_native: bool, dress: &Dress, outcomes: Vec<Outcome>, usage: Usage) -> Value {
    let choice = |(index, outcome): (usize, Outcome)| {
        let finish = finish_word(outcome.finish, !outcome.calls.is_empty());
        let logprobs = logprobs::write(dress.logprobs, &outcome.logprobs);
        let message = message(outcome);
        if is_native {
            json!({
                "index": index,
                "message": message,
                "finish_reason": finish,
                "stop_reason": null,
                "logprobs": logprobs,
            })
        } else {
            json!({"index": index, "message": message, "logprobs": logprobs, "finish_reason": finish})
        }
    };
    let choices: Vec<_> = outcomes.into_iter().enumerate().map(choice).collect();
    let mut completion = head(dress, "chat.completion");
    completion["choices"] = choices.into();
    completion["usage"] = json!(UsageWords::from(usage));
    if is_native {
        completion["prompt_logprobs"] = Value::Null;
    }
    completion
}

pub(super) fn continuation(dress: &Dress, outcomes: Vec<Outcome>, usage: Usage) -> Value {
    let choice = |(index, outcome): (usize, Outcome)| {
        json!({
            "index": index,
            "text": outcome.text,
            "finish_reason": finish_word(outcome.finish, false),
            "stop_reason": null,
            "logprobs": null,
            "prompt_logprobs": null,
        })
    };
    let choices: Vec<_> = outcomes.into_iter().enumerate().map(choice).collect();
    let mut completion = head(dress, "text_completion");
    completion["choices"] = choices.into();
    completion["usage"] = json!(UsageWords::from(usage));
    completion
}

/// The keys that come first.
fn head(dress: &Dress, object: &str) -> Value {
    let now = since_1970();
    json!({
        "id": format!("id-{}", now.as_millis()),
        "object": object,
        "created": now.as_secs(),
        "model": dress.model,
    })
}

fn message(outcome: Outcome) -> Value {
    let Outcome {
        text,
        reasoning,
        calls,
        ..
    } = outcome;
    let content = if text.is_empty() && !calls.is_empty() {
        Value::Null
    } else {
        Value::String(text)
    };
    let mut message = json!({"role": "assistant", "content": content});
    if !reasoning.is_empty() {
        message["reasoning_content"] = reasoning.into();
    }
    if !calls.is_empty() {
        message["tool_calls"] = calls.iter().map(call_words).collect();
    }
    message
}

/// What a stream's chunks hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `delta` of a message.
    Chat,
    /// `text`.
    Text,
}

/// What a frame of a stream is.
#[derive(Serialize)]
struct Chunk<'a, D> {
    id: &'a str,
    created: u64,
    model: &'a str,
    object: &'static str,
    choices: &'a [Choice<'a, D>],
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<UsageWords>,
}

/// More of a choice: `delta` or `text`.
#[derive(Serialize)]
struct Choice<'a, D> {
    index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    delta: Option<D>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finish_reason: Option<&'a str>,
}

/// The delta of a token.
#[derive(Serialize)]
struct Content<'a> {
    content: &'a str,
}

/// The frames of a stream.
pub(super) struct Stream {
    kind: Kind,
    is_native: bool,
    dress: Dress,
    id: String,
    created: u64,
    /// Calls of each choice.
    called: Vec<usize>,
    /// Of the tokens of each choice's next chunk.
    logprobs: Vec<Vec<TokenLogprobs>>,
    usages: Vec<Usage>,
}

impl Stream {
    pub(super) fn new(kind: Kind, is_native: bool, dress: Dress, choices: usize) -> Self {
        let now = since_1970();
        Self {
            kind,
            is_native,
            dress,
            id: format!("id-{}", now.as_millis()),
            created: now.as_secs(),
            called: vec![0; choices],
            logprobs: vec![Vec::new(); choices],
            usages: Vec::new(),
        }
    }

    fn chunk<'a, D>(&'a self, choices: &'a [Choice<'a, D>]) -> Chunk<'a, D> {
        Chunk {
            id: &self.id,
            created: self.created,
            model: &self.dress.model,
            object: match self.kind {
                Kind::Chat => "chat.completion.chunk",
                Kind::Text => "text_completion",
            },
            choices,
            usage: None,
        }
    }

    /// A chunk with more of a choice, and its end if it has one. `text` is what a delta comes to without its names.
    fn push(
        &mut self,
        index: usize,
        (delta, text): (impl Serialize, &str),
        finish: Option<&str>,
        out: &mut Lines,
    ) -> Result<(), Failure> {
        let tokens = std::mem::take(&mut self.logprobs[index]);
        let is_chat = self.kind == Kind::Chat;
        let choice = Choice {
            index,
            delta: is_chat.then_some(delta),
            text: (!is_chat).then_some(text),
            logprobs: (!tokens.is_empty()).then(|| logprobs::write(true, &tokens)),
            finish_reason: finish,
        };
        out.push(&self.chunk(&[choice]))
    }
}

impl Scribe for Stream {
    type Event = ChatEvent;

    fn tell(&mut self, index: usize, event: ChatEvent, out: &mut Lines) -> Result<bool, Failure> {
        match event {
            ChatEvent::Read { .. } => {}
            ChatEvent::Logprobs(more) => self.logprobs[index].extend(more),
            ChatEvent::Text(text) => {
                let content = &text;
                self.push(index, (Content { content }, content), None, out)?;
            }
            ChatEvent::Reasoning(text) => {
                if self.kind == Kind::Chat {
                    let delta = json!({"reasoning_content": text});
                    self.push(index, (delta, ""), None, out)?;
                }
            }
            ChatEvent::ToolCall(call) => {
                let place = self.called[index];
                if self.kind == Kind::Text || self.dress.one_call && place > 0 {
                    return Ok(false);
                }
                self.called[index] += 1;
                let mut words = json!({"index": place});
                if let (Some(words), Value::Object(call)) =
                    (words.as_object_mut(), call_words(&call))
                {
                    words.extend(call);
                }
                self.push(index, (json!({"tool_calls": [words]}), ""), None, out)?;
            }
            ChatEvent::Done { finish, usage } => {
                let word = finish_word(finish, self.called[index] > 0);
                self.push(index, (json!({}), ""), Some(word), out)?;
                self.usages.push(usage);
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn close(&mut self, out: &mut Lines) -> Result<(), Failure> {
        let usage = sum(self.usages.iter().copied());
        let words = UsageWords::from(usage);
        if self.is_native {
            out.push(&json!({"response": "", "usage": words}))?;
        } else if self.dress.includes_usage {
            out.push(&Chunk {
                usage: Some(words),
                ..self.chunk::<Value>(&[])
            })?;
        }
        Ok(())
    }
}
