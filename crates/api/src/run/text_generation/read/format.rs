//! `response_format` and `guided_json`.

use catalog::ModelCard;
use serde_json::Value;
use tasks::{Failure, Format, Json};

use crate::errors::Refusal;
use crate::run::fields::given;
use crate::run::text_generation::LEGACY_PREFIX;

/// The form that the answer must have.
///
/// A schema may stand bare, as the legacy classes have it, or in OpenAI's wrapper
/// (`{"name", "schema", "strict"}`); either is taken everywhere.
///
/// # Errors
/// What the legacy models have no JSON mode for, and that they stream no JSON.
pub(super) fn format(input: &Value, card: &ModelCard, streams: bool) -> Result<Format, Refusal> {
    let format = match given(input, "response_format") {
        None => return Ok(guided(input, card)),
        Some(format) => asked(format)?,
    };
    if format != Format::Text && card.schema_class.starts_with(LEGACY_PREFIX) {
        if !card.flags.json_mode {
            return Err(Failure::NoJsonMode.into());
        }
        if streams {
            return Err(Refusal::StreamedJson);
        }
    }
    Ok(format)
}

/// A format by its `type`, with its schema under `json_schema`.
fn asked(format: &Value) -> Result<Format, Failure> {
    match format["type"].as_str() {
        None | Some("text") => Ok(Format::Text),
        Some("json_object") => Ok(Format::JsonObject),
        Some("json_schema") => Ok(schema(&format["json_schema"])),
        Some(other) => Err(Failure::BadInput(format!("response_format is {other:?}"))),
    }
}

/// A schema, bare or wrapped; without one, any object.
pub(super) fn schema(given: &Value) -> Format {
    let is_wrapper = given["schema"].is_object() && given.get("type").is_none_or(Value::is_null);
    let schema = if is_wrapper || given["name"].is_string() && given.get("properties").is_none() {
        &given["schema"]
    } else {
        given
    };
    match schema {
        Value::Object(_) | Value::Bool(_) => Format::JsonSchema(Json(schema.to_string())),
        _ => Format::JsonObject,
    }
}

/// `guided_json`, which the models with images have beside `response_format`.
fn guided(input: &Value, card: &ModelCard) -> Format {
    match given(input, "guided_json") {
        Some(schema) if card.schema_class.starts_with("tg-mistral3") => {
            Format::JsonSchema(Json(schema.to_string()))
        }
        _ => Format::Text, // a name without meaning to other models
    }
}
