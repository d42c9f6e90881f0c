//! Text generation of the legacy classes (`tg-*`): inputs, JSON output, and the way to a stream.

use catalog::ModelCard;
use serde::Serialize;
use serde_json::Value;
use tasks::{Chat, ChatEvent, ChatOptions, ChatRequest, Failure, Message, Prompt, Sampling, Usage};

use super::answer::{Answer, Content};
use super::fields::{flag, given, list, number, refuse, text, unserved};
use super::job::{Job, ended_early};
use super::{Call, events, neurons};
use crate::errors::Refusal;

/// Where neither the request, its schema nor the card names a number of tokens.
const DEFAULT_MAX_TOKENS: f64 = 256.0;
/// Where neither the request nor its schema names a temperature.
const DEFAULT_TEMPERATURE: f64 = 0.6;

/// A request as it was asked.
#[derive(Debug)]
struct Asked {
    request: ChatRequest,
    streams: bool,
}

/// The wire's words for [`Usage`].
#[derive(Debug, Serialize)]
#[allow(clippy::struct_field_names)] // the wire's own names
pub(super) struct UsageWords {
    prompt_tokens: u32,
    completion_tokens: u32,
    total_tokens: u32,
}

impl From<Usage> for UsageWords {
    fn from(usage: Usage) -> Self {
        Self {
            prompt_tokens: usage.prompt_tokens,
            completion_tokens: usage.completion_tokens,
            total_tokens: usage.prompt_tokens + usage.completion_tokens,
        }
    }
}

/// Answers a validated input.
pub(super) async fn answer(call: Call<'_>, input: &Value) -> Result<Answer, Refusal> {
    let Call { app, card, .. } = call;
    if !card.schema_class.starts_with("tg-g2") {
        let text = format!(
            "inputs of the class {} are not served by this version of hearth",
            card.schema_class
        );
        return Err(Failure::Unsupported(text).into());
    }
    let Asked { request, streams } = read(input, card)?;
    let mut job = Job::submit::<Chat>(app, card, request).await?;
    let served = job.served().clone();
    let mut event = job.next().await?.ok_or_else(|| ended_early(card))?;
    if streams {
        return Ok(Answer {
            content: Content::Events(events::body(job, event, call)),
            served,
            neurons: None,
            truncated: 0,
        });
    }
    let mut response = String::new();
    let usage = loop {
        match event {
            ChatEvent::Text(piece) => response.push_str(&piece),
            ChatEvent::Done { usage, .. } => break usage,
            ChatEvent::Reasoning(_) | ChatEvent::ToolCall(_) => {}
        }
        event = job.next().await?.ok_or_else(|| ended_early(card))?;
    };
    let (read, written) = (usage.prompt_tokens.into(), usage.completion_tokens.into());
    call.meter().tokens(read, written);
    Ok(Answer {
        content: write(&response, usage)?,
        served,
        neurons: neurons::of_tokens(card.neurons, read, written),
        truncated: 0,
    })
}

fn read(input: &Value, card: &ModelCard) -> Result<Asked, Refusal> {
    refuse(input, "requests")?;
    let streams = flag(input, "stream");
    if given(input, "lora").is_some() {
        return Err(if card.flags.lora {
            unserved("lora").into()
        } else {
            Failure::NoLora(card.name.clone()).into()
        });
    }
    if let Some(format) = given(input, "response_format") {
        return Err(if !card.flags.json_mode {
            Failure::NoJsonMode.into()
        } else if streams && format["type"] == "json_schema" {
            Refusal::StreamedJsonSchema
        } else {
            unserved("response_format").into()
        });
    }
    refuse(input, "functions")?;
    refuse(input, "tools")?;
    let max_tokens = number(input, "max_tokens")
        .or(card.default_max_tokens.map(f64::from))
        .unwrap_or(DEFAULT_MAX_TOKENS);
    if max_tokens < 1.0 {
        return Err(Failure::BadInput(format!("max_tokens is {max_tokens}")).into());
    }
    let single = |name| number(input, name).map(|number| number as f32);
    let request = ChatRequest {
        prompt: prompt(input)?,
        max_tokens: Some(max_tokens as u32), // saturates; the window is smaller
        sampling: Sampling {
            temperature: number(input, "temperature").unwrap_or(DEFAULT_TEMPERATURE) as f32,
            top_p: single("top_p"),
            top_k: number(input, "top_k").map(|number| number as u32),
            seed: number(input, "seed").map(|number| number as u64),
            repetition_penalty: single("repetition_penalty"),
            frequency_penalty: single("frequency_penalty"),
            presence_penalty: single("presence_penalty"),
        },
        window: card.context_window.unwrap_or(u32::MAX),
        options: ChatOptions::default(),
    };
    Ok(Asked { request, streams })
}

fn prompt(input: &Value) -> Result<Prompt, Failure> {
    let is_raw = flag(input, "raw");
    let Some(turns) = input.get("messages") else {
        let prompt = text(&input["prompt"], "prompt")?;
        return Ok(if is_raw {
            Prompt::Raw(prompt)
        } else {
            Prompt::Messages(vec![Message::text("user", prompt)])
        });
    };
    let turns = list(turns, "messages")?;
    if turns.is_empty() {
        return Err(Failure::BadInput("messages is empty".into()));
    }
    let messages: Vec<_> = turns.iter().map(message).collect::<Result<_, _>>()?;
    Ok(if is_raw {
        // No template dresses the turns: their texts follow each other, a line each.
        let texts: Vec<_> = messages
            .into_iter()
            .map(|message| message.content)
            .collect();
        Prompt::Raw(texts.join("\n"))
    } else {
        Prompt::Messages(messages)
    })
}

fn message(turn: &Value) -> Result<Message, Failure> {
    if given(turn, "tool_calls").is_some() {
        return Err(unserved("messages[].tool_calls"));
    }
    match (turn["role"].as_str(), turn["content"].as_str()) {
        (Some(role), Some(content)) => Ok(Message::text(role, content)),
        _ => Err(Failure::BadInput(
            "a message lacks its role or its text".into(),
        )),
    }
}

fn write(response: &str, usage: Usage) -> Result<Content, Failure> {
    #[derive(Serialize)]
    struct Output<'a> {
        response: &'a str,
        tool_calls: [(); 0],
        usage: UsageWords,
    }
    Content::json(&Output {
        response,
        tool_calls: [],
        usage: usage.into(),
    })
}
