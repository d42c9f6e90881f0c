//! Inputs of the chat dialect: of the chat classes everywhere, and of every model on OpenAI's route.

use catalog::ModelCard;
use serde_json::Value;
use tasks::{ChatOptions, ChatRequest, Failure, Message, Prompt, Sampling};

use super::legacy::default_temperature;
use super::numbers::{max_tokens, seed, within};
use super::{effort, format, legacy, messages, tools, unserved};
use crate::errors::Refusal;
use crate::run::fields::{flag, given, list, text, window};
use crate::run::text_generation::{Asked, CHAT_CLASSES, GPT_OSS, GUARD, LEGACY_PREFIX};

/// Texts to stop at, as the service's schema has it (`maxItems`).
const STOP_MAX_TEXTS: usize = 4;
/// Bytes of a text to stop at.
const STOP_MAX_BYTES: usize = 4096;
/// Where a request of a chat class names no temperature.
const DEFAULT_TEMPERATURE: f64 = 1.0;
/// As the service's schema has it (`maximum`).
const MAX_TOP_LOGPROBS: f64 = 20.0;
/// The highest temperature of any class.
const MAX_TEMPERATURE: f64 = 5.0;

/// # Errors
/// What the schema lets through and no model can read; what no engine here can do.
pub(in crate::run::text_generation) fn chat(
    input: &Value,
    card: &ModelCard,
) -> Result<Asked, Refusal> {
    unserved::refuse(input)?;
    let streams = flag(input, "stream");
    let lora = legacy::lora(input, card)?;
    let format = format::format(input, card, streams)?;
    let prompt = prompt(input, card)?;
    let mut tools = tools::tools(input)?;
    let tool_choice = tools::choice(input, &mut tools)?;
    let kwargs = &input["chat_template_kwargs"];
    let word = if kwargs["low_effort"] == true {
        Some("low")
    } else {
        input["reasoning_effort"].as_str()
    };
    let thinking = effort::thinking(card, word, kwargs["enable_thinking"].as_bool());
    let options = ChatOptions {
        format,
        tools,
        tool_choice,
        one_call: input["parallel_tool_calls"] == false,
        stop: stop(input)?,
        logit_bias: logit_bias(input)?,
        logprobs: logprobs(input)?,
        thinking: thinking.is_on,
        effort: thinking.effort,
        lora,
        judges: card.schema_class == GUARD,
    };
    let asked_tokens = max_tokens(input, &["max_completion_tokens", "max_tokens"])?;
    Ok(Asked {
        request: ChatRequest {
            prompt,
            max_tokens: asked_tokens.or(card.default_max_tokens),
            sampling: sampling(input, card)?,
            window: window(card),
            options,
        },
        streams,
        choices: within(input, "n", 1.0..=unserved::CHOICES_MAX as f64)?.unwrap_or(1.0) as u32,
        one_call: input["parallel_tool_calls"] == false,
        must_be_json: card.schema_class.starts_with(LEGACY_PREFIX),
        includes_usage: input["stream_options"]["include_usage"] == true,
    })
}

/// The turns; `prompt` is one of a user's.
fn prompt(input: &Value, card: &ModelCard) -> Result<Prompt, Refusal> {
    let Some(turns) = input.get("messages") else {
        let prompt = text(&input["prompt"], "prompt")?;
        return Ok(Prompt::Messages(vec![Message::text("user", prompt)]));
    };
    let mut turns = messages::turns(turns, card)?;
    if card.schema_class != GPT_OSS {
        // The word of OpenAI's newer models for what every template calls the system.
        for turn in turns.iter_mut().filter(|turn| turn.role == "developer") {
            turn.role = "system".into();
        }
    }
    Ok(Prompt::Messages(turns))
}

fn sampling(input: &Value, card: &ModelCard) -> Result<Sampling, Failure> {
    let is_chat = CHAT_CLASSES.contains(&card.schema_class.as_str());
    let usual = if is_chat {
        DEFAULT_TEMPERATURE
    } else {
        default_temperature(card)
    };
    let single = |name, range| Ok(within(input, name, range)?.map(|number| number as f32));
    Ok(Sampling {
        temperature: within(input, "temperature", 0.0..=MAX_TEMPERATURE)?.unwrap_or(usual) as f32,
        top_p: single("top_p", 0.0..=2.0)?,
        top_k: within(input, "top_k", 1.0..=f64::MAX)?.map(|number| number as u32),
        seed: seed(input)?,
        repetition_penalty: single("repetition_penalty", 0.0..=2.0)?,
        frequency_penalty: single("frequency_penalty", -2.0..=2.0)?,
        presence_penalty: single("presence_penalty", -2.0..=2.0)?,
    })
}

/// A text to stop at, or some.
fn stop(input: &Value) -> Result<Vec<String>, Failure> {
    let texts = match given(input, "stop") {
        None => return Ok(Vec::new()),
        Some(Value::String(_)) => std::slice::from_ref(&input["stop"]),
        Some(texts) => list(texts, "stop")?,
    };
    if texts.len() > STOP_MAX_TEXTS {
        let text = format!(
            "stop has {} texts, and {STOP_MAX_TEXTS} may be",
            texts.len()
        );
        return Err(Failure::BadInput(text));
    }
    let stop = |stop: &Value| {
        let stop = text(stop, "stop")?;
        if stop.len() > STOP_MAX_BYTES {
            let size = stop.len();
            let text = format!("a stop text of {size} bytes: at most {STOP_MAX_BYTES} are taken");
            return Err(Failure::BadInput(text));
        }
        Ok(stop)
    };
    texts.iter().map(stop).collect()
}

/// How many of the likeliest tokens are told beside each, where tokens are told of at all.
///
/// # Errors
/// [`Failure::BadInput`] for numbers that are not within the schema's, and without `logprobs`.
fn logprobs(input: &Value) -> Result<Option<u32>, Failure> {
    let is_asked = match given(input, "logprobs") {
        None => false,
        Some(Value::Bool(is_asked)) => *is_asked,
        Some(_) => {
            return Err(Failure::BadInput(
                "logprobs is neither true nor false".into(),
            ));
        }
    };
    let top = within(input, "top_logprobs", 0.0..=MAX_TOP_LOGPROBS)?.unwrap_or(0.0);
    if top.fract() > 0.0 {
        return Err(Failure::BadInput("top_logprobs is no whole number".into()));
    }
    if top > 0.0 && !is_asked {
        let text = "top_logprobs is given and logprobs is not true";
        return Err(Failure::BadInput(text.into()));
    }
    Ok(is_asked.then_some(top as u32))
}

/// Biases by token id: `{"<id>": -100 to 100}`.
fn logit_bias(input: &Value) -> Result<Vec<(u32, f32)>, Failure> {
    let Some(biases) = given(input, "logit_bias") else {
        return Ok(Vec::new());
    };
    let wrong = || Failure::BadInput("logit_bias is not token ids with -100 to 100".into());
    let biases = biases.as_object().ok_or_else(wrong)?;
    let bias = |(token, bias): (&String, &Value)| {
        let bias = bias.as_f64().filter(|bias| bias.abs() <= 100.0)?;
        Some((token.parse().ok()?, bias as f32))
    };
    biases
        .iter()
        .map(|pair| bias(pair).ok_or_else(wrong))
        .collect()
}
