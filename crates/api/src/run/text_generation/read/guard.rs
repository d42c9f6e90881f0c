//! Inputs of the moderator.

use catalog::ModelCard;
use serde_json::Value;
use tasks::{ChatOptions, ChatRequest, Prompt, Sampling};

use super::legacy::{default_temperature, lora};
use super::messages;
use super::numbers::max_tokens;
use crate::errors::Refusal;
use crate::run::fields::{number, window};
use crate::run::text_generation::Asked;
use crate::run::text_generation::write::Form;

/// # Errors
/// What the schema lets through and no model can read.
pub(in crate::run::text_generation) fn guard(
    input: &Value,
    card: &ModelCard,
) -> Result<(Asked, Form), Refusal> {
    let temperature = number(input, "temperature");
    let request = ChatRequest {
        prompt: Prompt::Messages(messages::turns(&input["messages"], card)?),
        max_tokens: max_tokens(input, &["max_tokens"])?.or(card.default_max_tokens),
        sampling: Sampling {
            temperature: temperature.unwrap_or_else(|| default_temperature(card)) as f32,
            ..Sampling::greedy()
        },
        window: window(card),
        options: ChatOptions {
            lora: lora(input, card)?,
            judges: true,
            ..ChatOptions::default()
        },
    };
    let asked = Asked {
        request,
        streams: false, // nor does the service's
        choices: 1,
        one_call: false,
        must_be_json: false, // the model answers words, which become JSON here
        includes_usage: false,
    };
    let form = Form::Verdict {
        as_json: input["response_format"]["type"] == "json_object",
    };
    Ok((asked, form))
}
