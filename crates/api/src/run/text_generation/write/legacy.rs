//! `{"response", "tool_calls", "usage"}`: the answers of the legacy classes, and their streams.

use serde::Serialize;
use serde_json::{Value, json};
use tasks::{ChatEvent, Failure, ToolCall, Usage};

use super::{Calls, Dress, arguments, call_id};
use crate::run::events::{Lines, Scribe, padding};
use crate::run::text_generation::outcome::Outcome;
use crate::run::text_generation::usage::UsageWords;

/// Thinking stands in the text of these models, between these.
const THOUGHT: (&str, &str) = ("<think>\n", "\n</think>\n\n");

pub(super) fn write(calls: Calls, dress: &Dress, outcomes: Vec<Outcome>, usage: Usage) -> Value {
    let mut text = String::new();
    let mut told = Vec::new();
    for outcome in outcomes {
        if !outcome.reasoning.is_empty() {
            text = format!("{}{}{}", THOUGHT.0, outcome.reasoning, THOUGHT.1);
        }
        text.push_str(&outcome.text);
        told.extend(outcome.calls.iter().map(|call| call_words(calls, call)));
    }
    let response = if text.is_empty() && !told.is_empty() {
        Value::Null
    } else if dress.wants_json {
        serde_json::from_str(&text).unwrap_or(Value::String(text))
    } else {
        Value::String(text)
    };
    json!({"response": response, "tool_calls": told, "usage": UsageWords::from(usage)})
}

fn call_words(calls: Calls, call: &ToolCall) -> Value {
    let function = json!({"name": call.name, "arguments": arguments(call)});
    match calls {
        Calls::Bare => function,
        Calls::Wrapped { .. } => {
            json!({"id": call_id(call), "type": "function", "function": function})
        }
    }
}

/// The frames of a stream.
pub(super) struct Stream {
    calls: Calls,
    dress: Dress,
    has_begun: bool,
    thinks: bool,
    called: usize,
    usage: Usage,
}

impl Stream {
    pub(super) fn new(calls: Calls, dress: Dress) -> Self {
        Self {
            calls,
            dress,
            has_begun: false,
            thinks: false,
            called: 0,
            usage: Usage::default(),
        }
    }

    fn begin(&mut self, out: &mut Lines) -> Result<(), Failure> {
        let is_merged = self.calls == Calls::Wrapped { is_merged: true };
        if !std::mem::replace(&mut self.has_begun, true) && is_merged && self.dress.has_tools {
            let delta = json!({"delta": {"content": "", "role": "assistant"}});
            out.push(&json!({"choices": [delta], "response": "", "tool_calls": []}))?;
        }
        Ok(())
    }

    fn end_thought(&mut self, out: &mut Lines) -> Result<(), Failure> {
        if std::mem::take(&mut self.thinks) {
            say(THOUGHT.1, out)?;
        }
        Ok(())
    }

    fn call(&mut self, call: &ToolCall, out: &mut Lines) -> Result<(), Failure> {
        let index = self.called;
        self.called += 1;
        if self.calls == Calls::Bare {
            return out.push(&json!({"tool_calls": [call_words(self.calls, call)]}));
        }
        let frame = |call: Value| json!({"tool_calls": [call], "p": padding()});
        let begun = json!({
            "id": call_id(call),
            "type": "function",
            "index": index,
            "function": {"name": call.name},
        });
        out.push(&json!({"response": "", "tool_calls": [begun], "p": padding()}))?;
        let arguments = json!({"arguments": call.arguments.0});
        out.push(&frame(json!({"index": index, "function": arguments})))?;
        let nothing = json!({"name": null, "arguments": ""});
        out.push(&frame(
            json!({"id": null, "type": null, "index": index, "function": nothing}),
        ))
    }
}

/// More of the text.
#[derive(Serialize)]
struct Say<'a> {
    response: &'a str,
    p: &'static str,
}

fn say(text: &str, out: &mut Lines) -> Result<(), Failure> {
    out.push(&Say {
        response: text,
        p: padding(),
    })
}

impl Scribe for Stream {
    type Event = ChatEvent;

    fn tell(&mut self, _: usize, event: ChatEvent, out: &mut Lines) -> Result<bool, Failure> {
        self.begin(out)?;
        match event {
            // No class that is answered so can ask for them.
            ChatEvent::Read { .. } | ChatEvent::Logprobs(_) => {}
            ChatEvent::Reasoning(text) => {
                if !std::mem::replace(&mut self.thinks, true) {
                    say(THOUGHT.0, out)?;
                }
                say(&text, out)?;
            }
            ChatEvent::Text(text) => {
                self.end_thought(out)?;
                say(&text, out)?;
            }
            ChatEvent::ToolCall(call) => {
                self.end_thought(out)?;
                self.call(&call, out)?;
            }
            ChatEvent::Done { usage, .. } => {
                self.end_thought(out)?;
                self.usage = usage;
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn close(&mut self, out: &mut Lines) -> Result<(), Failure> {
        out.push(&json!({"response": "", "usage": UsageWords::from(self.usage)}))
    }
}
