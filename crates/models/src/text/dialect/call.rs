//! From the text of a call to the call.

use serde_json::Value;
use tasks::{Json, ToolCall};

/// Keys that the arguments have in one family or another.
const ARGUMENTS: [&str; 3] = ["arguments", "parameters", "args"];
/// Keys that a call may have first.
const FIRST_KEYS: [&str; 7] = [
    "name",
    "arguments",
    "parameters",
    "args",
    "type",
    "function",
    "id",
];

/// The calls of a JSON text: an object, or a list of objects; `None` for anything else, and for tools that nobody
/// offered.
pub(super) fn calls(text: &str, names: &[String]) -> Option<Vec<ToolCall>> {
    let calls = match serde_json::from_str(text).ok()? {
        Value::Array(calls) => calls,
        call => vec![call],
    };
    let calls: Option<Vec<_>> = calls.into_iter().map(|call| one(call, names)).collect();
    calls.filter(|calls| !calls.is_empty())
}

fn one(call: Value, names: &[String]) -> Option<ToolCall> {
    let Value::Object(mut call) = call else {
        return None;
    };
    if let Some(Value::Object(function)) = call.remove("function") {
        call = function;
    }
    let name = call.get("name")?.as_str()?.to_owned();
    let arguments = ARGUMENTS.iter().find_map(|key| call.remove(*key));
    named(&name, arguments, names)
}

/// A call of a tool by its name. Arguments are an object, its text, or none.
pub(super) fn named(name: &str, arguments: Option<Value>, names: &[String]) -> Option<ToolCall> {
    let arguments = match arguments {
        None | Some(Value::Null) => "{}".to_owned(),
        Some(Value::String(text)) => {
            let parsed: Value = serde_json::from_str(&text).ok()?;
            parsed.is_object().then_some(text)?
        }
        Some(object @ Value::Object(_)) => object.to_string(),
        Some(_) => return None,
    };
    names.iter().any(|known| known == name).then(|| ToolCall {
        id: None,
        name: name.to_owned(),
        arguments: Json(arguments),
    })
}

/// Whether the beginning of a JSON object may be that of a call: what is known of its first key is that of one.
pub(super) fn may_be_call(begun: &str) -> bool {
    let Some(rest) = begun.trim_start().strip_prefix('{') else {
        return true; // a list, or nothing yet
    };
    let rest = rest.trim_start();
    if rest.is_empty() {
        return true;
    }
    let Some(key) = rest.strip_prefix('"') else {
        return false;
    };
    match key.split_once('"') {
        Some((key, _)) => FIRST_KEYS.contains(&key),
        None => FIRST_KEYS.iter().any(|first| first.starts_with(key)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_read_in_every_spelling() {
        let names = ["f".to_owned()];
        for text in [
            r#"{"name":"f","arguments":{"a":1}}"#,
            r#"{"type":"function","name":"f","parameters":{"a":1}}"#,
            r#"{"name":"f","arguments":"{\"a\":1}"}"#,
            r#"[{"function":{"name":"f","arguments":{"a":1}}}]"#,
        ] {
            let calls = calls(text, &names).unwrap();
            assert_eq!(calls[0].arguments.0, r#"{"a":1}"#, "{text}");
        }
        for text in [
            r#"{"name":"g","arguments":{}}"#,
            r#"{"name":"f","arguments":[1]}"#,
            r#"{"name":"f","arguments":"a"}"#,
            r#"{"a":1}"#,
            "[]",
            "1",
            "{",
        ] {
            assert_eq!(calls(text, &names), None, "{text}");
        }
    }

    #[test]
    fn other_objects_are_told_apart_early() {
        for (text, may) in [
            ("{", true),
            ("{ \"na", true),
            ("{\"name\": ", true),
            ("{\"city", false),
            ("{\"names\"", false),
            ("{1", false),
        ] {
            assert_eq!(may_be_call(text), may, "{text}");
        }
    }
}
