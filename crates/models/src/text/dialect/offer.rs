//! The tools that an answer may call, as its reader knows them.

use serde_json::Value;
use tasks::{Json, Tool};

use super::Dialect;

/// Tools, and how they are called.
pub(in crate::text) struct Offer {
    pub(super) dialect: Dialect,
    pub(super) names: Vec<String>,
    /// The schema of each tool's arguments; null where it has none.
    schemas: Vec<Value>,
}

impl Offer {
    /// None where there are no tools.
    pub(in crate::text) fn of(dialect: Dialect, tools: &[Tool]) -> Option<Self> {
        let parsed = |schema: &Json| serde_json::from_str(&schema.0).ok();
        let schema = |tool: &Tool| {
            tool.parameters
                .as_ref()
                .and_then(parsed)
                .unwrap_or_default()
        };
        (!tools.is_empty()).then(|| Self {
            dialect,
            names: tools.iter().map(|tool| tool.name.clone()).collect(),
            schemas: tools.iter().map(schema).collect(),
        })
    }

    /// The schema of an argument; null where nothing is known of it.
    pub(super) fn schema(&self, tool: &str, argument: &str) -> &Value {
        let place = self.names.iter().position(|name| name == tool);
        let schema = place.and_then(|place| self.schemas.get(place));
        schema.map_or(&Value::Null, |schema| &schema["properties"][argument])
    }
}

/// A written value as the type that its schema names: JSON where that is of such a type, else the text as it is.
pub(super) fn typed(text: &str, schema: &Value) -> Value {
    let mut kinds = Vec::new();
    types(schema, &mut kinds, 0);
    if kinds.as_slice() == ["string"] {
        return Value::String(text.to_owned());
    }
    let trimmed = text.trim();
    // Python's words, as templates that print values write them.
    let parsed = match trimmed {
        "True" => Some(Value::Bool(true)),
        "False" => Some(Value::Bool(false)),
        "None" => Some(Value::Null),
        json => serde_json::from_str(json).ok(),
    };
    let fits = |value: &Value| {
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        let is_listed = |known: &&str| *known == kind || *known == "integer" && value.is_number();
        // Where the schema names more than text, a text is written as JSON, too: in its quotes.
        kinds.is_empty() || kinds.iter().any(is_listed)
    };
    parsed
        .filter(fits)
        .unwrap_or_else(|| Value::String(text.to_owned()))
}

/// Whether a value of this schema is written as text, and not as JSON.
pub(super) fn is_text(schema: &Value) -> bool {
    let mut kinds = Vec::new();
    types(schema, &mut kinds, 0);
    kinds.as_slice() == ["string"]
}

/// How deep alternatives are looked into.
const DEPTH_MAX: usize = 8;

/// The types that a schema lets through, as far as it says so; none where it does not.
fn types<'a>(schema: &'a Value, kinds: &mut Vec<&'a str>, depth: usize) {
    let mut add = |kind: &'a str| {
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    };
    match &schema["type"] {
        Value::String(kind) => return add(kind),
        Value::Array(list) => return list.iter().filter_map(Value::as_str).for_each(add),
        _ => {}
    }
    let constants = schema["enum"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    for value in constants.iter().chain(schema.get("const")) {
        add(match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        });
    }
    if depth < DEPTH_MAX {
        for branches in ["anyOf", "oneOf"] {
            for branch in schema[branches].as_array().into_iter().flatten() {
                types(branch, kinds, depth + 1);
            }
        }
    }
}
