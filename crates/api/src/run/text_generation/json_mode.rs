//! Whether an answer is the JSON that was asked for.
//!
//! The keywords that constrain a shape are looked at (`type`, `properties`, `required`, `items`,
//! `enum`, `const`, `anyOf`, `oneOf`, `allOf`); a model that was led to the right shape breaks no
//! others, and a schema that uses others is not refused for it.

use serde_json::Value;

/// Whether the text is JSON, and of the schema where there is one.
pub(super) fn is_met(text: &str, schema: Option<&Value>) -> bool {
    match (serde_json::from_str::<Value>(text), schema) {
        (Ok(answer), Some(schema)) => fits(&answer, schema),
        (Ok(answer), None) => answer.is_object(),
        (Err(_), _) => false,
    }
}

/// Goes as deep as the schema, which was parsed with a limit on its depth.
fn fits(answer: &Value, schema: &Value) -> bool {
    let Some(schema) = schema.as_object() else {
        return *schema != false;
    };
    let all = |list: &Value| branches(list).iter().all(|branch| fits(answer, branch));
    let any = |list: &Value| branches(list).iter().any(|branch| fits(answer, branch));
    schema
        .iter()
        .all(|(keyword, wanted)| match keyword.as_str() {
            "type" => match wanted {
                Value::Array(kinds) => kinds.iter().any(|kind| is_of(answer, kind)),
                kind => is_of(answer, kind),
            },
            "enum" => branches(wanted).contains(answer),
            "const" => wanted == answer,
            "required" => match answer.as_object() {
                Some(answer) => branches(wanted)
                    .iter()
                    .all(|name| name.as_str().is_none_or(|name| answer.contains_key(name))),
                None => true,
            },
            "properties" => match (answer.as_object(), wanted.as_object()) {
                (Some(answer), Some(properties)) => properties
                    .iter()
                    .all(|(name, schema)| answer.get(name).is_none_or(|value| fits(value, schema))),
                _ => true,
            },
            "items" => answer
                .as_array()
                .is_none_or(|items| items.iter().all(|item| fits(item, wanted))),
            "allOf" => all(wanted),
            "anyOf" | "oneOf" => any(wanted),
            _ => true,
        })
}

fn branches(list: &Value) -> &[Value] {
    list.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn is_of(answer: &Value, kind: &Value) -> bool {
    match kind.as_str() {
        Some("object") => answer.is_object(),
        Some("array") => answer.is_array(),
        Some("string") => answer.is_string(),
        Some("number") => answer.is_number(),
        Some("integer") => answer.as_f64().is_some_and(|number| number.fract() == 0.0),
        Some("boolean") => answer.is_boolean(),
        Some("null") => answer.is_null(),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn without_a_schema_any_object_will_do() {
        assert!(is_met(r#"{"a":1}"#, None));
        for text in ["", "[1]", "1", "{\"a\":", "```json\n{}\n```"] {
            assert!(!is_met(text, None), "{text}");
        }
    }

    #[test]
    fn a_schema_is_held_to() {
        let schema = json!({
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "age": {"type": ["integer", "null"]},
                "tags": {"type": "array", "items": {"enum": ["a", "b"]}},
                "kind": {"anyOf": [{"const": 1}, {"type": "string"}]}
            },
            "required": ["name"],
            "pattern": "("
        });
        for (text, is_right) in [
            (r#"{"name":"x"}"#, true),
            (
                r#"{"name":"x","age":3.0,"tags":["a"],"kind":1,"more":[]}"#,
                true,
            ),
            (r#"{"name":"x","age":3.5}"#, false),
            (r#"{"name":"x","tags":["c"]}"#, false),
            (r#"{"name":"x","kind":2}"#, false),
            (r#"{"age":3}"#, false),
            ("[]", false),
        ] {
            assert_eq!(is_met(text, Some(&schema)), is_right, "{text}");
        }
        assert!(!is_met("1", Some(&json!({"allOf": [{"type": "string"}]}))));
        assert!(is_met("1", Some(&json!(true))));
        assert!(!is_met("1", Some(&json!(false))));
    }
}
