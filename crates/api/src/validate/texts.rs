//! The grammar of the messages: a row for each keyword and each way to fail it.

use serde_json::{Value, json};

use super::{Schema, validate};
use crate::run::classes;

fn message(schema: &Value, input: &str) -> String {
    let schema = Schema::read(schema).unwrap();
    let mut input: Value = serde_json::from_str(input).unwrap();
    match validate(&schema, &mut input) {
        Ok(()) => format!("passes: {input}"),
        Err(message) => message,
    }
}

/// A schema with one property.
fn property(schema: &Value) -> Value {
    json!({"type": "object", "properties": {"x": schema}})
}

#[test]
fn every_keyword_of_a_value_has_its_text() {
    #[rustfmt::skip] // a table
    let rows = [
        (json!({"type": "string"}), "1", "Type mismatch of '/x', 'string' not in 'number','integer'"),
        (json!({"type": "string"}), "1.5", "Type mismatch of '/x', 'string' not in 'number'"),
        (json!({"type": "string"}), "true", "Type mismatch of '/x', 'string' not in 'boolean'"),
        (json!({"type": "string"}), "null", "Type mismatch of '/x', 'string' not in 'null'"),
        (json!({"type": "string"}), "{}", "Type mismatch of '/x', 'string' not in 'object'"),
        (json!({"type": "string"}), "[{}]", "Type mismatch of '/x', 'string' not in 'array'"),
        (json!({"type": "string"}), "[]", "Type mismatch of '/x', 'string' not in 'array','binary'"),
        (json!({"type": "string"}), r#"[1,"a"]"#, "Type mismatch of '/x', 'string' not in 'array','binary'"),
        (json!({"type": "array", "items": {}}), r#""a""#, "Type mismatch of '/x', 'array' not in 'string'"),
        (json!({"type": "null"}), "0", "Type mismatch of '/x', 'null' not in 'number','integer'"),
        (json!({"type": "integer"}), "1.0", r#"passes: {"x":1.0}"#),
        (json!({"type": "integer"}), r#""1""#, "Type mismatch of '/x', 'integer' not in 'string'"),
        (json!({"type": "string", "maxLength": 3}), r#""abcd""#, "Length of '/x' must be <= 3"),
        (json!({"type": "string", "maxLength": 3}), r#""😀😀""#, "Length of '/x' must be <= 3"), // UTF-16 units
        (json!({"type": "string", "minLength": 2}), r#""😀""#, r#"passes: {"x":"😀"}"#),
        (json!({"type": "string", "minLength": 2}), r#""a""#, "Length of '/x' must be >= 2 not met"),
        (json!({"type": "number", "minimum": 0.5}), "0.25", "'/x' must be >= 0.5"),
        (json!({"type": "number", "maximum": 9_999_999_999_u64}), "1e10", "'/x' must be <= 9999999999"),
        (json!({"type": "integer", "exclusiveMinimum": -1}), "-1", "'/x' must be > -1"),
        (json!({"type": "integer", "exclusiveMaximum": 5}), "5", "'/x' must be < 5"),
        (json!({"type": "number", "multipleOf": 0.5}), "0.75", "'/x' must be multiple of 0.5"),
        (json!({"minimum": 5}), "1", r#"passes: {"x":1}"#), // bounds count beside a type alone
        (json!({"type": "string", "enum": ["a", "b"]}), r#""c""#, "enum c not in a,b at '/x'"),
        (json!({"enum": ["a", 1, true, null]}), "2", "enum 2 not in a,1,true, at '/x'"),
        (json!({"enum": ["a"]}), r#"["a"]"#, "enum a not in a at '/x'"),
        (json!({"enum": ["a"]}), "{}", "enum [object Object] not in a at '/x'"),
        (json!({"enum": ["a"]}), "[[1,null],{}]", "enum 1,,[object Object] not in a at '/x'"),
        (json!({"enum": ["a"]}), "1e21", "enum 1e+21 not in a at '/x'"),
        (json!({"const": "a"}), r#""b""#, "const b doesn't match a at '/x'"),
        (json!({"const": 1.0}), "null", "const null doesn't match 1 at '/x'"),
        (json!({"const": []}), "[]", "const  doesn't match  at '/x'"), // no two lists are the same
        (json!({"type": "string", "pattern": "^[0-9]+$"}), r#""1a""#, "'/x' failed test ^[0-9]+$ patttern"),
        (json!({"type": "object", "required": ["a", "b"]}), r#"{"a":1}"#, "required properties at '/x' are 'a,b'"),
        (json!({"type": "object", "required": ["a"]}), "3", "required properties at '/x' are 'a'"), // no mismatch
        (json!({"type": "object", "additionalProperties": false}), r#"{"b":1,"2":1}"#, "Additional or unevaluated properties '/x/2, /x/b' at '/x' not allowed"),
        (json!({"type": "object", "unevaluatedProperties": false}), r#"{"b":1}"#, "Additional or unevaluated properties '/x/b' at '/x' not allowed"),
        (json!({"type": "object", "minProperties": 2}), "{}", "minProperties at '/x' is 2, got 1"), // counts the root
        (json!({"type": "object", "minProperties": 0, "maxProperties": 0}), "{}", "maxProperties at '/x' is 0, got 1"), // names the minimum
        (json!({"type": "object", "maxProperties": 0}), "{}", "maxProperties at '/x' is undefined, got 1"),
        (json!({"not": {"type": "string"}}), r#""a""#, "not at '/x' not met"),
        (json!({"type": "array"}), "[{}]", "No schema for path '/x/0'"),
        (json!({"type": "array", "items": {"type": "object", "required": ["a"]}}), r#"{"k":{}}"#, "required properties at '/x/k' are 'a'"),
        (json!({"type": "array", "items": {"type": "string"}}), "[true]", "Type mismatch of '/x/0', 'string' not in 'boolean'"),
    ];
    for (schema, value, wanted) in rows {
        let found = message(&property(&schema), &format!(r#"{{"x":{value}}}"#));
        assert_eq!(found, wanted, "{schema} {value}");
    }
}

#[test]
fn lists_of_branches_have_their_texts_at_the_root_and_none_within() {
    let string = json!({"type": "string"});
    let number = json!({"type": "number", "maximum": 5});
    #[rustfmt::skip] // a table
    let rows = [
        (json!({"oneOf": [string, number]}), "true", "oneOf at '/' not met, 0 matches: Type mismatch of '/', 'string' not in 'boolean', Type mismatch of '/', 'number' not in 'boolean'"),
        (json!({"oneOf": [string, string]}), "true", "oneOf at '/' not met, 0 matches: Type mismatch of '/', 'string' not in 'boolean'"), // each once
        (json!({"oneOf": [string, string]}), r#""a""#, "oneOf at '/' not met, 2 matches"),
        (json!({"oneOf": []}), r#""a""#, "oneOf at '/' not met, 0 matches"),
        (json!({"anyOf": [string, number]}), "6", "anyOf at '/' not met: Type mismatch of '/', 'string' not in 'number','integer', '/' must be <= 5"),
        (json!({"anyOf": []}), "6", "anyOf at '/' not met"),
        (json!({"allOf": [{"type": "number"}, {"maximum": 5}]}), "6", "'/' must be <= 5"),
        // A nested list that fails: the property counts as absent, and its errors follow a later failure.
        (property(&json!({"anyOf": [string, number]})), r#"{"x":true}"#, r#"passes: {"x":true}"#),
        (json!({"properties": {"x": {"anyOf": [string, number]}}, "required": ["x"]}), r#"{"x":6}"#, "required properties at '/' are 'x': Type mismatch of '/x', 'string' not in 'number','integer', '/x' must be <= 5"),
        (json!({"properties": {"x": {"oneOf": [string, string]}}, "required": ["x"]}), r#"{"x":"a"}"#, "required properties at '/' are 'x'"),
        (json!({"properties": {"x": {"allOf": [{"type": "number"}, {"maximum": 5}]}}, "required": ["x"]}), r#"{"x":6}"#, "required properties at '/' are 'x': '/x' must be <= 5"),
        // A default satisfies `required`, and counts as extra where nothing extra is allowed.
        (json!({"properties": {"x": {"default": 1}}, "required": ["x"]}), "{}", r#"passes: {"x":1}"#),
        (json!({"properties": {"x": {"default": 1}}, "additionalProperties": false}), "{}", "Additional or unevaluated properties '/x' at '/' not allowed"),
    ];
    for (schema, input, wanted) in rows {
        assert_eq!(message(&schema, input), wanted, "{schema} {input}");
    }
}

#[test]
fn a_chat_inputs_failure_drags_along_the_noise_of_its_optional_fields() {
    let chat = &classes::of("chat-anyof").unwrap().input_json;
    let input = r#"{"messages":[{"role":"user"}],"tool_choice":{},"tools":[{"type":"function","function":{}}]}"#;
    let found = message(chat, input);
    // The order in which the service listed them (captured), after the same words.
    let noise = [
        "anyOf at '/' not met: required properties at '/audio' are 'voice,format'",
        "required properties at '/prediction' are 'type,content'",
        "required properties at '/response_format' are 'type'",
        "required properties at '/response_format/json_schema' are 'name'",
        "required properties at '/tool_choice/function' are 'name'",
        "required properties at '/tool_choice/custom' are 'name'",
        "required properties at '/tool_choice/allowed_tools' are 'mode,tools'",
        "required properties at '/tools/0/function' are 'name'",
        "enum function not in custom at '/tools/0/type'",
    ];
    assert!(found.starts_with(&noise[..4].join(", ")), "{found}");
    let places: Vec<_> = noise.iter().map(|text| found.find(text)).collect();
    assert!(
        places.iter().all(Option::is_some) && places.is_sorted(),
        "{found}"
    );
}
