//! Turns of a conversation, in every spelling of the service's classes.

use catalog::ModelCard;
use serde_json::Value;
use tasks::{Failure, Json, Message, ToolCall};

use super::images;
use crate::errors::Refusal;
use crate::run::fields::{given, list, unserved};

/// Kinds of content that the service's schemas name and nothing here can read.
const UNSERVED_PARTS: [&str; 3] = ["video_url", "input_audio", "file"];

/// The turns of `messages`.
///
/// # Errors
/// [`Failure::BadInput`] for what no model can read, [`Failure::Unsupported`] for parts that no
/// engine here can.
pub(super) fn turns(turns: &Value, card: &ModelCard) -> Result<Vec<Message>, Refusal> {
    let turns = list(turns, "messages")?;
    if turns.is_empty() {
        return Err(Failure::BadInput("messages is empty".into()).into());
    }
    let messages: Vec<_> = turns.iter().map(message).collect::<Result<_, _>>()?;
    check_images(&messages, card)?;
    Ok(messages)
}

/// Refuses images where the named model sees none.
///
/// # Errors
/// [`Failure::Unsupported`].
pub(super) fn check_images(messages: &[Message], card: &ModelCard) -> Result<(), Failure> {
    if card.flags.vision || messages.iter().all(|message| message.images.is_empty()) {
        return Ok(());
    }
    Err(Failure::Unsupported(format!(
        "{} is not a multimodal model",
        card.name
    )))
}

fn message(turn: &Value) -> Result<Message, Refusal> {
    let role = turn["role"]
        .as_str()
        .ok_or_else(|| Failure::BadInput("a message lacks its role".into()))?;
    let tool_calls = calls(turn)?;
    let (content, images) = match given(turn, "content") {
        None if role == "assistant" => (String::new(), Vec::new()),
        None => return Err(Failure::BadInput("a message lacks its content".into()).into()),
        Some(content) => self::content(content)?,
    };
    Ok(Message {
        content,
        images,
        tool_calls,
        reasoning: given(turn, "reasoning")
            .or_else(|| given(turn, "reasoning_content"))
            .and_then(Value::as_str)
            .map(Into::into),
        tool_call_id: turn["tool_call_id"].as_str().map(Into::into),
        name: turn["name"].as_str().map(Into::into),
        ..Message::text(if role == "function" { "tool" } else { role }, "")
    })
}

/// Text, and images: a string, a part, or a list of parts, whose texts follow each other on lines
/// of their own.
///
/// # Errors
/// As [`turns`].
pub(super) fn content(content: &Value) -> Result<(String, Vec<Vec<u8>>), Refusal> {
    let parts = match content {
        Value::String(text) => return Ok((text.clone(), Vec::new())),
        Value::Array(parts) => parts.as_slice(),
        part => std::slice::from_ref(part),
    };
    let mut texts = Vec::new();
    let mut images = Vec::new();
    for part in parts {
        match part["type"].as_str() {
            Some("image_url" | "input_image") => images.push(image(&part["image_url"])?),
            Some(kind) if UNSERVED_PARTS.contains(&kind) => return Err(unserved(kind).into()),
            Some("refusal") => texts.push(string(part, "refusal")?),
            None | Some("text" | "input_text" | "output_text") => {
                texts.push(string(part, "text")?);
            }
            Some(other) => {
                let text = format!("a part of the unknown type {other:?}");
                return Err(Failure::BadInput(text).into());
            }
        }
    }
    Ok((texts.join("\n"), images))
}

/// An image's address: bare, or as the field `url`.
fn image(address: &Value) -> Result<Vec<u8>, Refusal> {
    let uri = address.as_str().or_else(|| address["url"].as_str());
    let uri = uri.ok_or_else(|| Failure::BadInput("an image without its address".into()))?;
    images::from_uri(uri)
}

fn string<'a>(part: &'a Value, name: &str) -> Result<&'a str, Failure> {
    let text = part[name].as_str();
    text.ok_or_else(|| Failure::BadInput(format!("a part lacks its {name}")))
}

/// The calls of an assistant's turn.
fn calls(turn: &Value) -> Result<Vec<ToolCall>, Refusal> {
    let mut calls = Vec::new();
    if let Some(given) = given(turn, "tool_calls") {
        for call in list(given, "tool_calls")? {
            calls.push(self::call(call)?);
        }
    }
    if let Some(old) = given(turn, "function_call") {
        calls.push(call(old)?);
    }
    Ok(calls)
}

/// A call: `{id, type, function: {name, arguments}}` or `{name, arguments}`; the arguments are an
/// object, or its text.
fn call(call: &Value) -> Result<ToolCall, Refusal> {
    if call["type"] == "custom" {
        return Err(unserved("messages[].tool_calls[].custom").into());
    }
    let function = call.get("function").unwrap_or(call);
    let name = function["name"]
        .as_str()
        .ok_or_else(|| Failure::BadInput("a tool call lacks its name".into()))?;
    Ok(ToolCall {
        id: call["id"].as_str().map(Into::into),
        name: name.into(),
        arguments: arguments(&function["arguments"])?,
    })
}

/// # Errors
/// [`Failure::BadInput`] for a text that is no JSON.
pub(super) fn arguments(arguments: &Value) -> Result<Json, Failure> {
    let text = match arguments {
        Value::Null => "{}".into(),
        Value::String(text) if text.trim_ascii().is_empty() => "{}".into(),
        Value::String(text) => {
            let parsed = serde_json::from_str::<serde::de::IgnoredAny>(text);
            parsed.map_err(|error| {
                Failure::BadInput(format!(
                    "arguments of a tool call that are no JSON: {error}"
                ))
            })?;
            text.clone()
        }
        object => object.to_string(),
    };
    Ok(Json(text))
}
