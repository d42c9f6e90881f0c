//! What a single value is to the validator: its types and its size.

use serde_json::Value;

use super::javascript::number;
use super::schema::Schema;

/// The types that a value has, the first one first in messages.
pub(super) fn types(value: &Value) -> &'static [&'static str] {
    match value {
        Value::Null => &["null"],
        Value::String(_) => &["string"],
        Value::Number(number) if number.as_f64().is_some_and(|number| number.fract() == 0.0) => {
            &["number", "integer"]
        }
        Value::Number(_) => &["number"],
        Value::Bool(_) => &["boolean"],
        Value::Array(_) if is_binary(value) => &["array", "binary"],
        Value::Array(_) => &["array"],
        Value::Object(_) => &["object"],
    }
}

/// Whether a value is an array of numbers and strings alone. The original looks for the first other
/// item and takes a null for "none found".
pub(super) fn is_binary(value: &Value) -> bool {
    let Value::Array(items) = value else {
        return false;
    };
    items
        .iter()
        .find(|item| !item.is_number() && !item.is_string())
        .is_none_or(Value::is_null)
}

/// What is wrong with the length of a string or the size of a number.
pub(super) fn out_of_bounds(schema: &Schema, value: &Value, place: &str) -> Option<String> {
    let bounds = &schema.bounds;
    if let (true, Value::String(text)) = (schema.kind.is("string"), value) {
        let length = text.encode_utf16().count() as f64;
        if let Some(most) = bounds.max_length.filter(|most| length > *most) {
            return Some(format!("Length of '{place}' must be <= {}", number(most)));
        }
        let least = bounds.min_length.filter(|least| length < *least)?;
        return Some(format!(
            "Length of '{place}' must be >= {} not met",
            number(least)
        ));
    }
    if !schema.kind.is("number") && !schema.kind.is("integer") {
        return None;
    }
    let value = value.as_f64()?;
    let rule = if let Some(bound) = bounds.minimum.filter(|bound| value < *bound) {
        format!(">= {}", number(bound))
    } else if let Some(bound) = bounds.above.filter(|bound| value <= *bound) {
        format!("> {}", number(bound))
    } else if let Some(bound) = bounds.maximum.filter(|bound| value > *bound) {
        format!("<= {}", number(bound))
    } else if let Some(bound) = bounds.below.filter(|bound| value >= *bound) {
        format!("< {}", number(bound))
    } else if let Some(step) = bounds.multiple_of.filter(|step| value % *step != 0.0) {
        format!("multiple of {}", number(step))
    } else {
        return None;
    };
    Some(format!("'{place}' must be {rule}"))
}
