//! Tools for checkpoints whose chat template knows none: they are described in a system turn, and calls and results
//! of the past are written out as text.
//!
//! The form is that of Hermes 2 Pro (NousResearch, 2024), which most models have seen; Gemma's is a block of code.

use serde_json::{Value, json};
use tasks::{Message, Tool, ToolCall};

use super::Dialect;

/// A tool as chat templates and OpenAI's API have it.
pub(in crate::text) fn described(tool: &Tool) -> Value {
    let parameters = tool.parameters.as_ref();
    let parameters = parameters.and_then(|json| serde_json::from_str::<Value>(&json.0).ok());
    let mut function = json!({ "name": tool.name });
    if let Some(description) = &tool.description {
        function["description"] = description.as_str().into();
    }
    function["parameters"] =
        parameters.unwrap_or_else(|| json!({"type": "object", "properties": {}}));
    json!({"type": "function", "function": function})
}

/// The turns, with tools in words.
pub(in crate::text) fn turns(
    messages: &[Message],
    tools: &[Tool],
    dialect: Dialect,
) -> Vec<Message> {
    let mut turns: Vec<Message> = messages
        .iter()
        .map(|turn| in_words(turn, dialect))
        .collect();
    if tools.is_empty() {
        return turns;
    }
    let text = system(tools, dialect);
    match turns.first_mut() {
        Some(first) if first.role == "system" => {
            first.content = format!("{}\n\n{text}", first.content);
        }
        _ => turns.insert(0, Message::text("system", text)),
    }
    turns
}

/// The same for templates that take no system turn: what it says comes first in the first turn of the user.
pub(in crate::text) fn without_system(mut turns: Vec<Message>) -> Vec<Message> {
    if turns.first().is_some_and(|first| first.role == "system") {
        let system = turns.remove(0);
        match turns.iter_mut().find(|turn| turn.role == "user") {
            Some(user) => user.content = format!("{}\n\n{}", system.content, user.content),
            None => turns.insert(0, Message::text("user", system.content)),
        }
    }
    turns
}

fn system(tools: &[Tool], dialect: Dialect) -> String {
    let (begin, end) = around(dialect);
    let list: Vec<_> = tools
        .iter()
        .map(|tool| described(tool).to_string())
        .collect();
    format!(
        "You can call functions to help the user. These are their signatures:\n<tools>\n{}\n</tools>\n\n\
         To call one, write its name and its arguments as a JSON object, like this, and nothing after it:\n\
         {begin}{{\"name\": <name>, \"arguments\": <arguments>}}{end}\n\
         Otherwise answer in plain text.",
        list.join("\n")
    )
}

fn around(dialect: Dialect) -> (&'static str, &'static str) {
    match dialect {
        Dialect::Gemma => ("```tool_code\n", "\n```"),
        _ => ("<tool_call>\n", "\n</tool_call>"),
    }
}

fn in_words(turn: &Message, dialect: Dialect) -> Message {
    let mut words = turn.clone();
    if turn.role == "tool" {
        words.role = "user".into();
        words.content = match dialect {
            Dialect::Gemma => format!("```tool_output\n{}\n```", turn.content),
            _ => format!("<tool_response>\n{}\n</tool_response>", turn.content),
        };
    }
    let calls = turn
        .tool_calls
        .iter()
        .map(|call| call_in_words(call, dialect));
    let parts = Some(words.content).filter(|text| !text.is_empty());
    words.content = parts
        .into_iter()
        .chain(calls)
        .collect::<Vec<_>>()
        .join("\n");
    words.tool_calls.clear();
    words.tool_call_id = None;
    words
}

fn call_in_words(call: &ToolCall, dialect: Dialect) -> String {
    let (begin, end) = around(dialect);
    let name = Value::from(call.name.as_str());
    let arguments = &call.arguments.0;
    format!("{begin}{{\"name\": {name}, \"arguments\": {arguments}}}{end}")
}
