//! `response`: the answer of OpenAI's Responses, whole and as a stream of events.

use serde_json::{Value, json};
use tasks::{ChatEvent, Failure, Finish, ToolCall, Usage};

use super::{Dress, hex, since_1970};
use crate::run::events::{Lines, Scribe};
use crate::run::text_generation::outcome::Outcome;
use crate::run::text_generation::read::ResponseWords;

/// What a response begins with, and repeats of its request.
struct Head {
    id: String,
    created: u64,
    model: String,
    words: ResponseWords,
}

impl Head {
    fn new(words: &ResponseWords, dress: &Dress) -> Self {
        Self {
            id: format!("resp_{}", hex()),
            created: since_1970().as_secs(),
            model: dress.model.clone(),
            words: words.clone(),
        }
    }

    fn write(&self, status: &str, output: &[Value], usage: Option<Usage>) -> Value {
        let words = &self.words;
        json!({
            "id": self.id,
            "created_at": self.created,
            "object": "response",
            "model": self.model,
            "status": status,
            "instructions": words.instructions,
            "error": null,
            "incomplete_details": if status == INCOMPLETE {
                json!({"reason": "max_output_tokens"})
            } else {
                Value::Null
            },
            "output": output,
            "parallel_tool_calls": words.parallel_tool_calls,
            "temperature": words.temperature,
            "top_p": words.top_p,
            "tool_choice": words.tool_choice,
            "tools": words.tools,
            "max_output_tokens": words.max_output_tokens,
            "usage": usage.map(|usage| json!({
                "input_tokens": usage.prompt_tokens,
                "output_tokens": usage.completion_tokens,
                "total_tokens": usage.prompt_tokens.saturating_add(usage.completion_tokens),
            })),
        })
    }
}

/// `status` of what ended by itself, at its last token, and not yet.
const COMPLETED: &str = "completed";
const INCOMPLETE: &str = "incomplete";
const IN_PROGRESS: &str = "in_progress";

pub(super) fn write(
    words: &ResponseWords,
    dress: &Dress,
    outcomes: Vec<Outcome>,
    usage: Usage,
) -> Value {
    let is_cut = outcomes
        .iter()
        .any(|outcome| outcome.finish == Finish::Length);
    let output: Vec<_> = outcomes.into_iter().flat_map(items).collect();
    Head::new(words, dress).write(status(is_cut), &output, Some(usage))
}

fn status(is_cut: bool) -> &'static str {
    if is_cut { INCOMPLETE } else { COMPLETED }
}

/// Thoughts, text, and calls, each an item.
fn items(outcome: Outcome) -> Vec<Value> {
    let mut items = Vec::new();
    if !outcome.reasoning.is_empty() {
        items.push(reasoning(&item_id("rs"), &outcome.reasoning));
    }
    if !outcome.text.is_empty() || outcome.calls.is_empty() {
        let status = status(outcome.finish == Finish::Length);
        items.push(message(&item_id("msg"), &outcome.text, status));
    }
    for call in outcome.calls {
        let arguments = call.arguments.0.clone();
        items.push(function_call(
            &item_id("fc"),
            &call_id(&call),
            &call.name,
            (&arguments, COMPLETED),
        ));
    }
    items
}

fn item_id(kind: &str) -> String {
    format!("{kind}_{}", hex())
}

fn call_id(call: &ToolCall) -> String {
    call.id.clone().unwrap_or_else(|| item_id("call"))
}

fn reasoning(id: &str, text: &str) -> Value {
    json!({
        "id": id,
        "type": "reasoning",
        "summary": [],
        "content": [{"type": "reasoning_text", "text": text}],
        "status": null,
    })
}

fn message(id: &str, text: &str, status: &str) -> Value {
    json!({
        "id": id,
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": [{"type": "output_text", "text": text, "annotations": []}],
    })
}

fn function_call(id: &str, call_id: &str, name: &str, (arguments, status): (&str, &str)) -> Value {
    json!({
        "type": "function_call",
        "id": id,
        "call_id": call_id,
        "name": name,
        "arguments": arguments,
        "status": status,
    })
}

/// A text that is being written.
struct Open {
    is_thought: bool,
    id: String,
    text: String,
}

impl Open {
    fn item(&self, status: &str) -> Value {
        if self.is_thought {
            reasoning(&self.id, &self.text)
        } else {
            message(&self.id, &self.text, status)
        }
    }

    /// The kind of its events.
    fn kind(&self) -> &'static str {
        if self.is_thought {
            "response.reasoning_text"
        } else {
            "response.output_text"
        }
    }
}

/// The events of a stream. A part of a text is there from its item's beginning, for the published types have no event
/// that adds one.
pub(super) struct Stream {
    head: Head,
    one_call: bool,
    /// `sequence_number` of the next event.
    next: u64,
    open: Option<Open>,
    /// Items that are whole.
    output: Vec<Value>,
    called: usize,
    end: Option<(Finish, Usage)>,
}

impl Stream {
    pub(super) fn new(words: &ResponseWords, dress: &Dress) -> Self {
        Self {
            head: Head::new(words, dress),
            one_call: dress.one_call,
            next: 0,
            open: None,
            output: Vec::new(),
            called: 0,
            end: None,
        }
    }

    /// An event of this type with these fields.
    fn push(&mut self, kind: &str, fields: Value, out: &mut Lines) -> Result<(), Failure> {
        let mut event = json!({"type": kind, "sequence_number": self.next});
        if let (Some(event), Value::Object(fields)) = (event.as_object_mut(), fields) {
            event.extend(fields);
        }
        self.next += 1;
        out.push(&event)
    }

    fn begin(&mut self, out: &mut Lines) -> Result<(), Failure> {
        if self.next > 0 {
            return Ok(());
        }
        let response = self.head.write(IN_PROGRESS, &[], None);
        self.push("response.created", json!({"response": response}), out)
    }

    fn add(&mut self, item: &Value, out: &mut Lines) -> Result<(), Failure> {
        let fields = json!({"output_index": self.output.len(), "item": item});
        self.push("response.output_item.added", fields, out)
    }

    fn done(&mut self, item: Value, out: &mut Lines) -> Result<(), Failure> {
        let fields = json!({"output_index": self.output.len(), "item": item});
        self.push("response.output_item.done", fields, out)?;
        self.output.push(item);
        Ok(())
    }

    /// More of a text.
    fn say(&mut self, is_thought: bool, text: &str, out: &mut Lines) -> Result<(), Failure> {
        if self
            .open
            .as_ref()
            .is_none_or(|open| open.is_thought != is_thought)
        {
            self.end_text(COMPLETED, out)?;
            let open = Open {
                is_thought,
                id: item_id(if is_thought { "rs" } else { "msg" }),
                text: String::new(),
            };
            self.add(&open.item(IN_PROGRESS), out)?;
            self.open = Some(open);
        }
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        open.text.push_str(text);
        let kind = format!("{}.delta", open.kind());
        let fields = json!({
            "item_id": open.id,
            "output_index": self.output.len(),
            "content_index": 0,
            "delta": text,
        });
        self.push(&kind, fields, out)
    }

    fn end_text(&mut self, status: &str, out: &mut Lines) -> Result<(), Failure> {
        let Some(open) = self.open.take() else {
            return Ok(());
        };
        let fields = json!({
            "item_id": open.id,
            "output_index": self.output.len(),
            "content_index": 0,
            "text": open.text,
        });
        self.push(&format!("{}.done", open.kind()), fields, out)?;
        self.done(open.item(status), out)
    }

    fn call(&mut self, call: &ToolCall, out: &mut Lines) -> Result<(), Failure> {
        self.end_text(COMPLETED, out)?;
        self.called += 1;
        let (id, call_id) = (item_id("fc"), call_id(call));
        let arguments = call.arguments.0.as_str();
        let item =
            |arguments, status| function_call(&id, &call_id, &call.name, (arguments, status));
        self.add(&item("", IN_PROGRESS), out)?;
        let index = self.output.len();
        let fields = json!({"item_id": id, "output_index": index, "delta": arguments});
        self.push("response.function_call_arguments.delta", fields, out)?;
        let fields = json!({"item_id": id, "output_index": index, "arguments": arguments});
        self.push("response.function_call_arguments.done", fields, out)?;
        self.done(item(arguments, COMPLETED), out)
    }
}

impl Scribe for Stream {
    type Event = ChatEvent;

    fn tell(&mut self, _: usize, event: ChatEvent, out: &mut Lines) -> Result<bool, Failure> {
        self.begin(out)?;
        match event {
            // The form has no place for how likely tokens were.
            ChatEvent::Read { .. } | ChatEvent::Logprobs(_) => {}
            ChatEvent::Reasoning(text) => self.say(true, &text, out)?,
            ChatEvent::Text(text) => self.say(false, &text, out)?,
            ChatEvent::ToolCall(_) if self.one_call && self.called > 0 => {}
            ChatEvent::ToolCall(call) => self.call(&call, out)?,
            ChatEvent::Done { finish, usage } => {
                self.end = Some((finish, usage));
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn close(&mut self, out: &mut Lines) -> Result<(), Failure> {
        let Some((finish, usage)) = self.end else {
            return Ok(());
        };
        let status = status(finish == Finish::Length);
        // An answer without a word and without a call is an empty message, as where it is whole.
        let is_message = |item: &Value| item["type"] == "message";
        let says = self.open.as_ref().is_some_and(|open| !open.is_thought);
        if self.called == 0 && !says && !self.output.iter().any(is_message) {
            self.say(false, "", out)?;
        }
        self.end_text(status, out)?;
        let output = std::mem::take(&mut self.output);
        let response = self.head.write(status, &output, Some(usage));
        self.push(
            &format!("response.{status}"),
            json!({"response": response}),
            out,
        )
    }
}
