//! Instances of schemas, held against another implementation of JSON Schema.

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use tasks::{Failure, Format, Json};

use crate::chat::{answer, request};

fn instance(schema: &Value) -> Result<Value, Failure> {
    let mut asked = request("JSON, please");
    asked.max_tokens = None;
    asked.window = u32::MAX;
    asked.options.format = Format::JsonSchema(Json(schema.to_string()));
    let text = answer(asked)?.text;
    Ok(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}")))
}

fn satisfied(schema: &Value) -> Value {
    let value = instance(schema).unwrap_or_else(|failure| panic!("{failure} for {schema}"));
    let validator = jsonschema::options()
        .should_validate_formats(true)
        .build(schema)
        .unwrap_or_else(|error| panic!("{error} in {schema}"));
    if let Err(error) = validator.validate(&value) {
        panic!("{value} does not satisfy {schema}: {error}");
    }
    value
}

#[test]
fn each_keyword_is_satisfied() {
    let formats = [
        "date",
        "date-time",
        "duration",
        "email",
        "hostname",
        "ipv4",
        "ipv6",
        "json-pointer",
        "regex",
        "time",
        "uri",
        "uri-reference",
        "uuid",
    ];
    for format in formats {
        satisfied(&json!({ "type": "string", "format": format }));
        satisfied(
            &json!({ "type": "array", "minItems": 5, "uniqueItems": true,
            "items": { "type": "string", "format": format } }),
        );
    }
    for schema in [
        json!(true),
        json!({}),
        json!({ "type": ["string", "null"], "minLength": 40 }),
        json!({ "type": "string", "minLength": 2, "maxLength": 2 }),
        json!({ "type": "string", "maxLength": 0 }),
        json!({ "type": "string", "pattern": "^[A-Z]{3}-\\d{4}$" }),
        json!({ "type": "string", "pattern": "^(foo|bar)+[^a-z]?$", "minLength": 9 }),
        json!({ "type": "string", "pattern": "^\\+?[1-9]\\d{1,14}$" }),
        json!({ "type": "integer", "exclusiveMinimum": 5, "maximum": 6 }),
        json!({ "type": "integer", "minimum": -10, "maximum": -8, "multipleOf": 3 }),
        json!({ "type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1e-3 }),
        json!({ "type": "number", "minimum": 0.1, "multipleOf": 0.01 }),
        json!({ "allOf": [{ "multipleOf": 4 }, { "multipleOf": 6, "minimum": 13 }] }),
        json!({ "type": "number", "minimum": 1e300 }),
        json!({ "enum": [3, "x", null] }),
        json!({ "const": { "a": [1, 2] } }),
        json!({ "type": "array", "prefixItems": [{ "type": "integer" }, { "const": "x" }], "items": false }),
        json!({ "$schema": "http://json-schema.org/draft-07/schema#",
            "items": [{ "type": "integer" }, { "const": "x" }], "additionalItems": false, "type": "array" }),
        json!({ "type": "array", "items": { "enum": [1, 2, 3] }, "uniqueItems": true, "minItems": 3 }),
        json!({ "type": "array", "items": { "type": "boolean" }, "uniqueItems": true, "minItems": 2 }),
        json!({ "type": "array", "contains": { "const": 7 }, "minContains": 2, "items": { "type": "integer" } }),
        json!({ "type": "object", "required": ["undeclared"], "additionalProperties": { "type": "integer" } }),
        json!({ "type": "object", "minProperties": 3, "patternProperties": { "^x-[a-z]+$": { "type": "null" } } }),
        json!({ "type": "object", "minProperties": 2, "propertyNames": { "pattern": "^[a-z]{2}$" } }),
        json!({ "type": "object", "properties": { "a": { "type": "string" }, "b": false } }),
        json!({ "oneOf": [{ "type": "integer" }, { "type": "number", "minimum": 2 }] }),
        json!({ "oneOf": [{ "required": ["a"] }, { "required": ["b"] }], "type": "object" }),
        json!({ "anyOf": [false, { "type": "string", "not": { "const": "stub" } }] }),
        json!({ "type": "object", "properties": { "kind": { "enum": ["a", "b"] } }, "required": ["kind"],
            "if": { "properties": { "kind": { "const": "a" } } }, "then": { "required": ["why"] } }),
        json!({ "type": "object", "properties": { "a": {}, "b": { "type": "integer" } }, "dependentRequired": { "a": ["c"] } }),
        json!({ "allOf": [{ "properties": { "a": { "minimum": 3 } } }, { "properties": { "a": { "type": "integer" } } }],
            "required": ["a"], "type": "object" }),
        json!({ "$ref": "#/$defs/odd~1name%20x", "$defs": { "odd/name x": { "type": "boolean" } } }),
    ] {
        satisfied(&schema);
    }
}

#[test]
fn recursion_ends() {
    let tree = json!({
        "$ref": "#/$defs/node",
        "$defs": { "node": { "type": "object", "properties": {
            "value": { "type": "integer" },
            "left": { "anyOf": [{ "$ref": "#/$defs/node" }, { "type": "null" }] },
            "right": { "anyOf": [{ "$ref": "#/$defs/node" }, { "type": "null" }] },
            "others": { "type": "array", "items": { "$ref": "#/$defs/node" } },
        }, "required": ["value", "left", "right", "others"], "additionalProperties": false } },
    });
    satisfied(&tree);
    let mut wide = Map::new();
    for index in 0..30 {
        wide.insert(format!("child{index}"), json!({ "$ref": "#" }));
    }
    satisfied(&json!({ "type": "object", "properties": wide }));
}

#[test]
fn a_property_that_is_declared_is_there_and_in_its_place() {
    let schema = json!({ "type": "object", "properties": {
        "name": { "type": "string" }, "age": { "type": "integer" }, "tags": { "type": "array", "items": { "type": "string" } },
        "mood": { "type": "string", "default": "calm" } }, "required": ["name"] });
    let value = satisfied(&schema);
    assert_eq!(
        value.to_string(),
        r#"{"name":"stub name","age":1,"tags":["stub tags"],"mood":"calm"}"#
    );
}

/// What nothing satisfies, what is not understood, and what would take for ever.
#[test]
fn what_cannot_be_met_is_refused_soon() {
    let chain = |word: &str| {
        let mut definitions = Map::new();
        for index in 0..60 {
            let next = json!({ "$ref": format!("#/$defs/a{}", index + 1) });
            let branch =
                json!({ "type": "object", "properties": { "x": next }, "required": ["x"] });
            definitions.insert(format!("a{index}"), json!({ word: [branch, branch] }));
        }
        definitions.insert("a60".into(), json!({ "type": "null" }));
        json!({ "$ref": "#/$defs/a0", "$defs": definitions })
    };
    for schema in [
        json!(false),
        json!(7),
        json!({ "type": "string", "minLength": 3, "maxLength": 2 }),
        json!({ "type": "integer", "minimum": 0.2, "maximum": 0.8 }),
        json!({ "type": "array", "items": { "type": "boolean" }, "uniqueItems": true, "minItems": 3 }),
        json!({ "type": "object", "required": ["a"], "properties": { "a": { "$ref": "#" } } }),
        json!({ "$ref": "#" }),
        json!({ "anyOf": [{ "type": "string" }, { "$ref": "#" }], "oneOf": [{ "$ref": "#" }] }),
        json!({ "$ref": "https://example.com/schema" }),
        json!({ "$ref": "#/nowhere" }),
        json!({ "type": "string", "pattern": "(?=a)b" }),
        json!({ "type": "string", "pattern": "(((a{999}){999}){999})" }),
        json!({ "type": "array", "uniqueItems": true, "minItems": 5000, "items": { "type": "string", "pattern": "[a-z]{300}" } }),
        json!({ "type": "string", "minLength": 1e18 }),
        json!({ "type": "array", "minItems": 1e18 }),
        json!({ "type": "object", "minProperties": 1e18 }),
        json!({ "type": "thing" }),
        json!({ "unevaluatedProperties": false, "type": "object" }),
        json!({ "type": "array", "minItems": 9000, "items": { "const": "long".repeat(20_000) } }),
        json!({ "type": "array", "minItems": 3000, "uniqueItems": true, "items": { "type": "object", "minProperties": 300 } }),
        chain("allOf"),
        chain("anyOf"),
        chain("oneOf"),
    ] {
        let refused = instance(&schema);
        assert!(
            matches!(refused, Err(Failure::JsonModeUnmet(_))),
            "{refused:?} for {:.200}",
            schema.to_string()
        );
    }
}

/// Schemas that something satisfies, most keywords, some levels deep.
fn schemas() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!({ "type": "null" })),
        Just(json!({ "type": "boolean" })),
        (-50..50_i32, 0..50_i32, 1..6_i32).prop_map(|(least, more, step)| {
            json!({ "type": "integer", "minimum": least, "maximum": least + more + step, "multipleOf": step })
        }),
        (-5.0..5.0_f64, 0.1..9.0_f64, any::<bool>()).prop_map(|(least, more, open)| {
            let word = if open { "exclusiveMinimum" } else { "minimum" };
            json!({ "type": "number", word: least, "exclusiveMaximum": least + more })
        }),
        (0..30_usize, 0..30_usize).prop_map(|(least, more)| {
            json!({ "type": "string", "minLength": least, "maxLength": least + more })
        }),
        prop::sample::select(vec!["^[a-f0-9]{8}$", "^\\w+@\\w+\\.com$", "^(a|b)*c$", "^\\d{3}-\\d{4}$", "x", ""])
            .prop_map(|pattern| json!({ "type": "string", "pattern": pattern })),
        prop::sample::select(vec!["date", "email", "uuid", "ipv4", "uri", "date-time"])
            .prop_map(|format| json!({ "type": "string", "format": format })),
        prop::collection::vec("[a-z]{1,6}", 1..5).prop_map(|listed| json!({ "enum": listed })),
        "[a-z ]{0,9}".prop_map(|only| json!({ "const": only })),
        Just(json!({ "$ref": "#/$defs/leaf" })),
        Just(json!({ "type": ["array", "null"], "items": { "$ref": "#" } })),
    ];
    let tree = leaf.prop_recursive(4, 40, 5, |inner| {
        let members = prop::collection::btree_map("[a-e]{1,2}", inner.clone(), 0..5);
        prop_oneof![
            (members.clone(), any::<u8>(), any::<bool>()).prop_map(|(members, bits, closed)| {
                let required: Vec<_> = members.keys().enumerate().filter(|(index, _)| bits >> index & 1 == 1).map(|(_, name)| name.clone()).collect();
                let mut schema = json!({ "type": "object", "properties": members, "required": required });
                if closed {
                    schema["additionalProperties"] = json!(false);
                }
                schema
            }),
            (inner.clone(), 0..4_usize, 0..3_usize).prop_map(|(items, least, more)| {
                json!({ "type": "array", "items": items, "minItems": least, "maxItems": least + more })
            }),
            (prop::collection::vec(inner.clone(), 1..4), any::<bool>()).prop_map(|(first, closed)| {
                json!({ "type": "array", "prefixItems": first, "minItems": first.len(), "items": !closed })
            }),
            (0..6_usize).prop_map(|least| {
                json!({ "type": "array", "items": { "type": ["string", "integer"] }, "uniqueItems": true, "minItems": least })
            }),
            prop::collection::vec(inner.clone(), 1..4).prop_map(|branches| json!({ "anyOf": branches })),
            inner.clone().prop_map(|one| json!({ "oneOf": [{ "type": "string", "const": "only this" }, { "allOf": [one, { "not": { "const": "only this" } }] }] })),
            (inner.clone(), members).prop_map(|(one, members)| {
                json!({ "allOf": [{ "type": "object", "properties": { "z": one } }, { "properties": members }], "required": ["z"] })
            }),
        ]
    });
    tree.prop_map(|mut schema| {
        if let Some(schema) = schema.as_object_mut() {
            schema.insert(
                "$defs".into(),
                json!({ "leaf": { "type": "integer", "minimum": 2 } }),
            );
        }
        schema
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn what_is_made_satisfies_its_schema_and_repeats(schema in schemas()) {
        let value = satisfied(&schema);
        prop_assert_eq!(value, instance(&schema).unwrap());
    }

    /// Whatever a schema says, there is an end, and an instance that is given satisfies it.
    #[test]
    fn no_schema_does_harm(keywords in prop::collection::vec((0..KEYWORDS.len(), any_json()), 0..8)) {
        let mut schema = Map::new();
        for (index, value) in keywords {
            schema.insert(KEYWORDS[index].into(), value);
        }
        let schema = Value::Object(schema);
        match instance(&schema) {
            Err(failure) => prop_assert!(matches!(failure, Failure::JsonModeUnmet(_)), "{}", failure),
            Ok(value) => if let Ok(validator) = jsonschema::validator_for(&schema) {
                prop_assert!(validator.is_valid(&value), "{} for {}", value, schema);
            }
        }
    }
}

const KEYWORDS: &[&str] = &[
    "type",
    "enum",
    "const",
    "minimum",
    "maximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "pattern",
    "items",
    "prefixItems",
    "minItems",
    "uniqueItems",
    "contains",
    "properties",
    "required",
    "additionalProperties",
    "minProperties",
    "anyOf",
    "oneOf",
    "allOf",
    "not",
    "$ref",
    "if",
    "then",
];

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0..20_i32).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(vec![
            "string", "integer", "object", "array", "#", "^a+$", "x"
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let keys = prop::sample::select(KEYWORDS.to_vec()).prop_map(str::to_owned);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(keys, inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}
