//! Inputs of the legacy classes (`tg-*`), and the chat of gpt-oss on the run routes, which is one.

use catalog::ModelCard;
use serde_json::Value;
use tasks::{ChatOptions, ChatRequest, Failure, Lora, Message, Prompt, Sampling};

use super::numbers::max_tokens;
use super::{effort, format, images, messages, tools};
use crate::errors::Refusal;
use crate::run::fields::{flag, given, number, seed, text, window};
use crate::run::text_generation::write::{Calls, Form};
use crate::run::text_generation::{Asked, GPT_OSS, LEGACY_PREFIX};

/// Where neither the request, its schema nor the card names a number of tokens.
const DEFAULT_MAX_TOKENS: u32 = 256;
/// Where neither the request nor its schema names a temperature.
const DEFAULT_TEMPERATURE: f64 = 0.6;
/// The same, of the classes of [`MISTRAL`].
const MISTRAL_TEMPERATURE: f64 = 0.15;

/// What the classes with content of parts and images begin with.
const MISTRAL: &str = "tg-mistral3";
/// The class with an image beside the text.
const VISION: &str = "tg-vision-g1";
/// What the classes begin with whose answers are OpenAI's completions.
const COMPLETING: &str = "tg-g2-textparts";
/// The one name whose streams with tools begin with a frame of two dialects.
const MERGING: &str = "@cf/meta/llama-4-scout-17b-16e-instruct";

/// # Errors
/// What the schema lets through and no model can read; what no engine here can do.
pub(in crate::run::text_generation) fn legacy(
    input: &Value,
    card: &ModelCard,
) -> Result<(Asked, Form), Refusal> {
    let class = card.schema_class.as_str();
    let streams = flag(input, "stream");
    let lora = lora(input, card)?;
    let format = format::format(input, card, streams)?;
    let asked_tokens = max_tokens(input, &["max_tokens"])?;
    let thinking = effort::thinking(card, None, None);
    let single = |name| number(input, name).map(|number| number as f32);
    let request = ChatRequest {
        prompt: prompt(input, card)?,
        max_tokens: asked_tokens
            .or(card.default_max_tokens)
            .or(Some(DEFAULT_MAX_TOKENS)),
        sampling: Sampling {
            temperature: number(input, "temperature").unwrap_or_else(|| default_temperature(card))
                as f32,
            top_p: single("top_p"),
            top_k: number(input, "top_k").map(|number| number as u32),
            seed: seed(input),
            repetition_penalty: single("repetition_penalty"),
            frequency_penalty: single("frequency_penalty"),
            presence_penalty: single("presence_penalty"),
        },
        window: window(card),
        options: ChatOptions {
            format,
            tools: tools::tools(input)?,
            thinking: thinking.is_on,
            effort: thinking.effort,
            lora,
            ..ChatOptions::default()
        },
    };
    let form = if class == GPT_OSS {
        Form::Plain { is_native: true }
    } else if class.starts_with(COMPLETING) && input.get("messages").is_none() {
        Form::Continuation
    } else if class.starts_with(COMPLETING) {
        Form::Plain { is_native: true }
    } else if class.starts_with(MISTRAL) {
        Form::Legacy(Calls::Wrapped {
            is_merged: card.name == MERGING,
        })
    } else {
        Form::Legacy(Calls::Bare)
    };
    let asked = Asked {
        request,
        // The service has no streams of JSON; what `guided_json` asks for may be streamed as text.
        must_be_json: class.starts_with(LEGACY_PREFIX) && !streams,
        streams,
        choices: 1,
        one_call: false,
        includes_usage: false,
    };
    Ok((asked, form))
}

/// The temperature of a model that speaks no chat dialect.
pub(super) fn default_temperature(card: &ModelCard) -> f64 {
    if card.schema_class.starts_with(MISTRAL) {
        MISTRAL_TEMPERATURE
    } else {
        DEFAULT_TEMPERATURE
    }
}

/// An adapter by its name or id; its files are found later, where the disk may be waited for.
///
/// # Errors
/// [`Failure::NoLora`] from models that take none.
pub(super) fn lora(input: &Value, card: &ModelCard) -> Result<Option<Lora>, Refusal> {
    match given(input, "lora").and_then(Value::as_str) {
        None => Ok(None),
        Some(_) if !card.flags.lora => Err(Failure::NoLora(card.name.clone()).into()),
        Some(name) => Ok(Some(Lora {
            name: name.into(),
            folder: None,
        })),
    }
}

fn prompt(input: &Value, card: &ModelCard) -> Result<Prompt, Refusal> {
    let is_raw = flag(input, "raw");
    let mut turns = match input.get("messages") {
        Some(turns) => messages::turns(turns, card)?,
        None => vec![Message::text("user", text(&input["prompt"], "prompt")?)],
    };
    if card.schema_class == VISION
        && let Some(image) = given(input, "image")
        && let Some(last) = last_user(&mut turns)
    {
        last.images.push(images::from_field(image)?);
    }
    if !is_raw {
        return Ok(Prompt::Messages(turns));
    }
    if turns.iter().any(|turn| !turn.images.is_empty()) {
        let text = "images with raw are not served by this version of hearth";
        return Err(Failure::Unsupported(text.into()).into());
    }
    // No template dresses the turns: their texts follow each other, a line each.
    let texts: Vec<_> = turns.into_iter().map(|turn| turn.content).collect();
    Ok(Prompt::Raw(texts.join("\n")))
}

/// The turn that an image beside the messages belongs to: the user's last, else the last.
fn last_user(turns: &mut [Message]) -> Option<&mut Message> {
    let place = turns.iter().rposition(|turn| turn.role == "user");
    turns.get_mut(place.unwrap_or(turns.len().saturating_sub(1)))
}
