//! `response`: the answer of OpenAI's Responses.

use serde_json::{Value, json};
use tasks::{Finish, Usage};

use super::{Dress, hex, since_1970};
use crate::run::text_generation::outcome::Outcome;
use crate::run::text_generation::read::ResponseWords;

pub(super) fn write(
    words: &ResponseWords,
    dress: &Dress,
    outcomes: Vec<Outcome>,
    usage: Usage,
) -> Value {
    let is_whole = outcomes
        .iter()
        .all(|outcome| outcome.finish != Finish::Length);
    let output: Vec<_> = outcomes.into_iter().flat_map(items).collect();
    json!({
        "id": format!("resp_{}", hex()),
        "created_at": since_1970().as_secs(),
        "object": "response",
        "model": dress.model,
        "status": status(is_whole),
        "instructions": words.instructions,
        "error": null,
        "incomplete_details": if is_whole {
            Value::Null
        } else {
            json!({"reason": "max_output_tokens"})
        },
        "output": output,
        "parallel_tool_calls": words.parallel_tool_calls,
        "temperature": words.temperature,
        "top_p": words.top_p,
        "tool_choice": words.tool_choice,
        "tools": words.tools,
        "max_output_tokens": words.max_output_tokens,
        "usage": {
            "input_tokens": usage.prompt_tokens,
            "output_tokens": usage.completion_tokens,
            "total_tokens": usage.prompt_tokens.saturating_add(usage.completion_tokens),
        },
    })
}

fn status(is_whole: bool) -> &'static str {
    if is_whole { "completed" } else { "incomplete" }
}

/// Thoughts, text, and calls, each an item.
fn items(outcome: Outcome) -> Vec<Value> {
    let mut items = Vec::new();
    if !outcome.reasoning.is_empty() {
        items.push(json!({
            "id": format!("rs_{}", hex()),
            "type": "reasoning",
            "summary": [],
            "content": [{"type": "reasoning_text", "text": outcome.reasoning}],
            "status": null,
        }));
    }
    if !outcome.text.is_empty() || outcome.calls.is_empty() {
        items.push(json!({
            "id": format!("msg_{}", hex()),
            "type": "message",
            "role": "assistant",
            "status": status(outcome.finish != Finish::Length),
            "content": [{"type": "output_text", "text": outcome.text, "annotations": []}],
        }));
    }
    for call in outcome.calls {
        items.push(json!({
            "type": "function_call",
            "id": format!("fc_{}", hex()),
            "call_id": call.id.unwrap_or_else(|| format!("call_{}", hex())),
            "name": call.name,
            "arguments": call.arguments.0,
            "status": "completed",
        }));
    }
    items
}
