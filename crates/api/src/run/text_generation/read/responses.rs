//! Inputs of OpenAI's Responses, which gpt-oss takes.

use catalog::ModelCard;
use serde_json::Value;
use tasks::{ChatOptions, ChatRequest, Failure, Format, Message, Prompt, Sampling, ToolCall};

use super::numbers::{max_tokens, within};
use super::{effort, format, messages, tools};
use crate::errors::Refusal;
use crate::run::fields::{flag, list, text, unserved, window};
use crate::run::text_generation::Asked;

/// What the answer repeats of the request.
#[derive(Debug)]
pub(in crate::run::text_generation) struct ResponseWords {
    pub(in crate::run::text_generation) instructions: Value,
    pub(in crate::run::text_generation) parallel_tool_calls: bool,
    pub(in crate::run::text_generation) temperature: f64,
    pub(in crate::run::text_generation) top_p: f64,
    pub(in crate::run::text_generation) tool_choice: Value,
    pub(in crate::run::text_generation) tools: Value,
    pub(in crate::run::text_generation) max_output_tokens: Option<u32>,
}

/// # Errors
/// What the schema lets through and no model can read; what no engine here can do.
pub(in crate::run::text_generation) fn responses(
    input: &Value,
    card: &ModelCard,
) -> Result<(Asked, ResponseWords), Refusal> {
    for (name, is_asked) in [
        (
            "previous_response_id",
            input["previous_response_id"].is_string(),
        ),
        ("conversation", !input["conversation"].is_null()),
        ("prompt", input["prompt"].is_object()),
        ("background", input["background"] == true),
        ("truncation", input["truncation"] == "auto"),
    ] {
        if is_asked {
            return Err(unserved(name).into());
        }
    }
    let max_output_tokens = max_tokens(input, &["max_output_tokens"])?;
    let temperature = within(input, "temperature", 0.0..=5.0)?.unwrap_or(1.0);
    let top_p = within(input, "top_p", 0.0..=2.0)?;
    let mut tools = tools::tools(input)?;
    let tool_choice = tools::choice(input, &mut tools)?;
    let thinking = effort::thinking(card, input["reasoning"]["effort"].as_str(), None);
    let parallel_tool_calls = input["parallel_tool_calls"] != false;
    let request = ChatRequest {
        prompt: Prompt::Messages(turns(input, card)?),
        max_tokens: max_output_tokens,
        sampling: Sampling {
            temperature: temperature as f32,
            top_p: top_p.map(|number| number as f32),
            ..Sampling::greedy()
        },
        window: window(card),
        options: ChatOptions {
            format: text_format(&input["text"]["format"])?,
            tools,
            tool_choice,
            one_call: !parallel_tool_calls,
            thinking: thinking.is_on,
            effort: thinking.effort,
            ..ChatOptions::default()
        },
    };
    let words = ResponseWords {
        instructions: input["instructions"].clone(),
        parallel_tool_calls,
        temperature,
        top_p: top_p.unwrap_or(1.0),
        tool_choice: match &input["tool_choice"] {
            Value::Null => "auto".into(),
            choice => choice.clone(),
        },
        tools: match &input["tools"] {
            tools @ Value::Array(_) => tools.clone(),
            _ => Value::Array(Vec::new()),
        },
        max_output_tokens,
    };
    let asked = Asked {
        request,
        streams: flag(input, "stream"),
        choices: 1,
        one_call: !parallel_tool_calls,
        must_be_json: false,
        includes_usage: false,
    };
    Ok((asked, words))
}

/// `text.format`, where the schema lies flat beside its name.
fn text_format(format: &Value) -> Result<Format, Failure> {
    match format["type"].as_str() {
        None | Some("text") => Ok(Format::Text),
        Some("json_object") => Ok(Format::JsonObject),
        Some("json_schema") => Ok(format::schema(&format["schema"])),
        Some(other) => Err(Failure::BadInput(format!("text.format is {other:?}"))),
    }
}

fn turns(input: &Value, card: &ModelCard) -> Result<Vec<Message>, Refusal> {
    let mut turns = Vec::new();
    if let Some(instructions) = input["instructions"].as_str() {
        turns.push(Message::text("developer", instructions));
    }
    match &input["input"] {
        Value::String(_) => turns.push(Message::text("user", text(&input["input"], "input")?)),
        items => {
            let items = list(items, "input")?;
            if items.is_empty() {
                return Err(Failure::BadInput("input is empty".into()).into());
            }
            let mut thought = None;
            for item in items {
                if item["type"] == "reasoning" {
                    thought = reasoning(item);
                    continue;
                }
                let mut turn = turn(item)?;
                let thought = thought.take();
                if turn.role == "assistant" {
                    turn.reasoning = thought;
                }
                turns.push(turn);
            }
        }
    }
    messages::check_images(&turns, card)?;
    Ok(turns)
}

/// What the model thought before the item that follows.
fn reasoning(item: &Value) -> Option<String> {
    let parts = item["content"].as_array()?.iter();
    let texts: Vec<_> = parts.filter_map(|part| part["text"].as_str()).collect();
    (!texts.is_empty()).then(|| texts.join("\n\n"))
}

/// The turn of an item.
fn turn(item: &Value) -> Result<Message, Refusal> {
    let named = |name: &str| {
        let text = item[name].as_str();
        text.ok_or_else(|| Failure::BadInput(format!("an item of input lacks its {name}")))
    };
    match item["type"].as_str() {
        None | Some("message") => {
            let (content, images) = messages::content(&item["content"])?;
            let turn = Message::text(named("role")?, content);
            Ok(Message { images, ..turn })
        }
        Some("function_call") => {
            let call = ToolCall {
                id: Some(named("call_id")?.into()),
                name: named("name")?.into(),
                arguments: messages::arguments(&item["arguments"])?,
            };
            Ok(Message {
                tool_calls: vec![call],
                ..Message::text("assistant", "")
            })
        }
        Some("function_call_output") => {
            let (content, _) = messages::content(&item["output"])?;
            Ok(Message {
                tool_call_id: Some(named("call_id")?.into()),
                ..Message::text("tool", content)
            })
        }
        Some(kind) => Err(unserved(&format!("input[].type {kind:?}")).into()),
    }
}
