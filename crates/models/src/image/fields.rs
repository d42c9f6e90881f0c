//! What each field of a configuration means here: it is read, changes nothing, or has to have a value that
//! is computed here. A field that no table knows is told to the log, unless it is empty or off.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::published;
use super::source::part;
use crate::load::{Files, JSON_MAX_BYTES, LoadError};

/// What a field has to be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Rule {
    /// Read; null is as if it were not there. Its kind in words, and the values of it.
    Is(&'static str, fn(&Value) -> bool),
    /// Changes no result.
    Idle,
    /// One of these values, written as JSON; else it is refused.
    Only(&'static [&'static str]),
}

/// Names of fields and their rules.
pub(super) type Table = [(&'static str, Rule)];

pub(super) const COUNT: Rule = Rule::Is("a whole number", Value::is_u64);
pub(super) const NUMBER: Rule = Rule::Is("a number", Value::is_number);
pub(super) const FLAG: Rule = Rule::Is("true or false", Value::is_boolean);
pub(super) const WORD: Rule = Rule::Is("a word", Value::is_string);
pub(super) const COUNTS: Rule = Rule::Is("a whole number or a list of them", |value| {
    value.is_u64() || listed(value, Value::is_u64)
});
pub(super) const LIST_OF_COUNTS: Rule = Rule::Is("a list of whole numbers", |value| {
    listed(value, Value::is_u64)
});
pub(super) const LIST_OF_WORDS: Rule =
    Rule::Is("a list of words", |value| listed(value, Value::is_string));
/// Off, or not said.
pub(super) const OFF: Rule = Rule::Only(&["null", "false"]);
/// Not said.
pub(super) const NONE: Rule = Rule::Only(&["null"]);

fn listed(value: &Value, is_one: fn(&Value) -> bool) -> bool {
    value.as_array().is_some_and(|all| all.iter().all(is_one))
}

/// What `PretrainedConfig` of transformers writes into every configuration: training, and how a decoder
/// would generate.
pub(super) const PRETRAINED: &Table = &[
    ("architectures", Rule::Idle),
    ("attention_dropout", Rule::Idle),
    ("bos_token_id", Rule::Idle),
    ("classifier_dropout", Rule::Idle),
    ("decoder_start_token_id", Rule::Idle),
    ("diversity_penalty", Rule::Idle),
    ("dropout", Rule::Idle),
    ("dropout_rate", Rule::Idle),
    ("dtype", Rule::Idle),
    ("id2label", Rule::Idle),
    ("initializer_factor", Rule::Idle),
    ("initializer_range", Rule::Idle),
    ("is_encoder_decoder", Rule::Idle),
    ("label2id", Rule::Idle),
    ("length_penalty", Rule::Idle),
    ("max_length", Rule::Idle),
    ("num_beam_groups", Rule::Idle),
    ("num_beams", Rule::Idle),
    ("num_return_sequences", Rule::Idle),
    ("output_past", Rule::Idle),
    ("pad_token_id", Rule::Idle),
    ("pruned_heads", Rule::Only(&["null", "{}"])),
    ("repetition_penalty", Rule::Idle),
    ("return_dict", Rule::Idle),
    ("temperature", Rule::Idle),
    ("tie_word_embeddings", Rule::Idle),
    ("top_k", Rule::Idle),
    ("top_p", Rule::Idle),
    ("torch_dtype", Rule::Idle),
    ("transformers_version", Rule::Idle),
    ("typical_p", Rule::Idle),
    ("use_cache", Rule::Idle),
];

/// What diffusers writes of itself into every configuration.
pub(super) const SAVED: &Table = &[
    ("_diffusers_version", Rule::Idle),
    ("_name_or_path", Rule::Idle),
];

/// Reads `<folder>/<name>` by tables; where several know a field, the first counts.
pub(super) fn read<T: DeserializeOwned>(
    files: &Files,
    (folder, name): (&str, &str),
    tables: &[&Table],
) -> Result<T, LoadError> {
    let fields = object(files, folder, name)?;
    judged(files, (folder, name), fields, tables)
}

/// The object that a file holds.
pub(super) fn object(
    files: &Files,
    folder: &str,
    name: &str,
) -> Result<Map<String, Value>, LoadError> {
    let part = part(files, folder);
    if !part.has(name)
        && let Some(fields) = published::fields(files, folder)
    {
        return fields;
    }
    let bytes = part.read(name, JSON_MAX_BYTES)?;
    let corrupt = |detail: String| LoadError::corrupt(&part.path(name), detail);
    let text = String::from_utf8(bytes).map_err(|error| corrupt(error.to_string()))?;
    // Python writes an infinity that is no JSON: it is one of DPM-Solver's defaults.
    let text = text.replace(": -Infinity", ": \"-Infinity\"");
    serde_json::from_str(&text).map_err(|error| corrupt(error.to_string()))
}

/// Holds fields against tables, and reads what is to be read.
pub(super) fn judged<T: DeserializeOwned>(
    files: &Files,
    (folder, name): (&str, &str),
    fields: Map<String, Value>,
    tables: &[&Table],
) -> Result<T, LoadError> {
    let path = part(files, folder).path(name);
    let mut read = Map::new();
    let mut unknown = Vec::new();
    for (field, value) in fields {
        let mut rules = tables.iter().copied().flatten();
        match rules.find(|(known, _)| *known == field) {
            Some((_, Rule::Is(kind, is))) => {
                if value.is_null() {
                    continue;
                }
                if !is(&value) {
                    let detail = format!("{field} is {value}, not {kind}");
                    return Err(LoadError::corrupt(&path, detail));
                }
                read.insert(field, value);
            }
            Some((_, Rule::Only(values))) => {
                if !values.iter().any(|known| same(known, &value)) {
                    let detail = format!(
                        "{field} is {value}; what is computed here is {}",
                        values.join(" or ")
                    );
                    return Err(LoadError::unsupported(&path, detail));
                }
                if !value.is_null() {
                    read.insert(field, value);
                }
            }
            Some((_, Rule::Idle)) => {}
            None if is_empty(&value) => {}
            None => unknown.push(field),
        }
    }
    if !unknown.is_empty() {
        tracing::warn!(
            "{}: not looked at, as no model of this kind has it: {}",
            path.display(),
            unknown.join(", ")
        );
    }
    serde_json::from_value(Value::Object(read))
        .map_err(|error| LoadError::corrupt(&path, error.to_string()))
}

/// Whether a value is the one of this JSON; 1 and 1.0 are the same number.
fn same(known: &str, value: &Value) -> bool {
    let Ok(known) = serde_json::from_str::<Value>(known) else {
        return false;
    };
    match (known.as_f64(), value.as_f64()) {
        (Some(known), Some(value)) => (known - value).abs() < f64::EPSILON,
        _ => known == *value,
    }
}

/// Whether a value says nothing.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(object) => object.is_empty(),
        _ => false,
    }
}
