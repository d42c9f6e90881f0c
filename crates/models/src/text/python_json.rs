//! JSON as Python's `json.dumps` writes it: chat templates were made with it, and models trained on what it wrote.

use serde_json::Value;

/// The text of a value; with `indent`, a line for each member, so many spaces deeper than what it belongs to.
pub(super) fn dumps(value: &Value, indent: Option<usize>) -> String {
    let mut text = String::new();
    write(value, indent, 0, &mut text);
    text
}

fn write(value: &Value, indent: Option<usize>, depth: usize, text: &mut String) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            text.push('{');
            for (place, (name, member)) in members.iter().enumerate() {
                separate(place, indent, depth + 1, text);
                text.push_str(&Value::from(name.as_str()).to_string());
                text.push_str(": ");
                write(member, indent, depth + 1, text);
            }
            end_line(indent, depth, text);
            text.push('}');
        }
        Value::Array(items) if !items.is_empty() => {
            text.push('[');
            for (place, item) in items.iter().enumerate() {
                separate(place, indent, depth + 1, text);
                write(item, indent, depth + 1, text);
            }
            end_line(indent, depth, text);
            text.push(']');
        }
        other => text.push_str(&other.to_string()),
    }
}

fn separate(place: usize, indent: Option<usize>, depth: usize, text: &mut String) {
    match (place, indent) {
        (0, _) => {}
        (_, None) => text.push_str(", "),
        (_, Some(_)) => text.push(','),
    }
    end_line(indent, depth, text);
}

fn end_line(indent: Option<usize>, depth: usize, text: &mut String) {
    if let Some(indent) = indent {
        text.push('\n');
        text.extend(std::iter::repeat_n(
            ' ',
            indent.saturating_mul(depth).min(INDENT_MAX_SPACES),
        ));
    }
}

/// The deepest indent, in spaces.
const INDENT_MAX_SPACES: usize = 256;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::dumps;

    #[test]
    fn values_are_written_as_python_does() {
        let value = json!({"a": [1, {"b": "é<\""}], "c": {}, "d": []});
        assert_eq!(
            dumps(&value, None),
            r#"{"a": [1, {"b": "é<\""}], "c": {}, "d": []}"#
        );
        assert_eq!(
            dumps(&json!({"a": [1], "b": 2}), Some(2)),
            "{\n  \"a\": [\n    1\n  ],\n  \"b\": 2\n}"
        );
    }
}
