//! Whatever a client sends, the validator ends with a verdict: no panic, no endless work, no message
//! of a size without bound. The large inputs here would take hours with work that grows with the square
//! of their size.
#![allow(clippy::unwrap_used)]

use api::{Schema, validate};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// A message's bytes: its list is full at 1 MiB and one more text, which repeats one value.
const MESSAGE_MAX_BYTES: usize = 2 * 1024 * 1024;

fn schemas() -> Vec<(&'static str, Schema)> {
    let read = |(name, document)| (name, Schema::read(document).unwrap());
    api::published_inputs().map(read).collect()
}

fn schema(name: &str) -> Schema {
    let found = schemas().into_iter().find(|(known, _)| *known == name);
    found.unwrap().1
}

/// Every name that a schema gives a field, so that values land where they are looked at.
fn names(schema: &Value, found: &mut Vec<String>) {
    match schema {
        Value::Object(keywords) => {
            if let Some(Value::Object(properties)) = keywords.get("properties") {
                found.extend(properties.keys().cloned());
            }
            keywords.values().for_each(|value| names(value, found));
        }
        Value::Array(parts) => parts.iter().for_each(|part| names(part, found)),
        _ => {}
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    let mut known = Vec::new();
    for (_, document) in api::published_inputs() {
        names(document, &mut known);
    }
    known.sort();
    known.dedup();
    let key = prop_oneof![
        8 => proptest::sample::select(known),
        1 => ".*",
        1 => proptest::sample::select(vec!["0".to_owned(), "a/b".into(), "__proto__".into(), "/".into()]),
    ];
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".*".prop_map(Value::from),
    ];
    scalar.prop_recursive(8, 128, 8, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            proptest::collection::vec((key.clone(), inner), 0..8)
                .prop_map(|fields| fields.into_iter().collect::<Map<_, _>>().into()),
        ]
    })
}

#[test]
fn any_value_gets_a_verdict_from_every_class() {
    let schemas = schemas();
    proptest!(|(value in any_value())| {
        for (name, schema) in &schemas {
            let mut input = value.clone();
            if let Err(message) = validate(schema, &mut input) {
                prop_assert!(!message.is_empty(), "{name}");
            }
        }
    });
}

#[test]
fn the_deepest_input_that_the_parser_takes_gets_a_verdict_from_every_class() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(
        serde_json::from_str::<Value>(&nested(128)).is_err(),
        "the parser has its bound"
    );
    let deep: Value = serde_json::from_str(&nested(120)).unwrap();
    for (name, schema) in schemas() {
        for key in ["messages", "prompt", "text", "audio", "tools", "questions"] {
            let mut input = json!({key: deep});
            let _verdict = validate(&schema, &mut input);
            assert_eq!(input[key], deep, "{name}");
        }
    }
}

#[test]
fn long_lists_are_walked_once() {
    let passes = |name: &str, mut input: Value| {
        assert_eq!(validate(&schema(name), &mut input), Ok(()), "{name}");
        input
    };
    passes("asr-whisper", json!({"audio": vec![7; 2_000_000]}));
    passes("emb-bge", json!({"text": vec!["a"; 500_000]}));
    passes("tg-g2", json!({"prompt": "é".repeat(5_000_000)}));
    let message = json!({"role": "user", "content": "a"});
    passes("tg-g2", json!({"messages": vec![message.clone(); 100_000]}));
    passes("chat-anyof", json!({"messages": vec![message; 100_000]}));
    // Items with defaults beside a list of branches.
    let input = passes(
        "emb-bge",
        json!({"requests": vec![json!({"text": "a"}); 100_000]}),
    );
    assert_eq!(input["requests"][99_999]["pooling"], "mean");
    let question = json!({"type": "choice", "instructions": "q", "criteria": {"a": 1}});
    let questions: Map<_, _> = (0..50_000)
        .map(|i| (format!("q{i}"), question.clone()))
        .collect();
    passes(
        "decision-clef",
        json!({"model": "clef", "state": 1, "questions": questions}),
    );
}

#[test]
fn messages_are_bounded_however_much_is_wrong() {
    let fails = |name: &str, mut input: Value| {
        let message = validate(&schema(name), &mut input).unwrap_err();
        assert!(
            message.len() < MESSAGE_MAX_BYTES,
            "{name}: {}",
            message.len()
        );
        message
    };
    let wrong: Vec<_> = (0..200_000)
        .map(|i| json!({"role": format!("r{i}")}))
        .collect();
    let message = fails("chat-anyof", json!({"messages": wrong}));
    assert!(message.contains("enum r0 not in developer at '/messages/0/role'"));
    let long = "x".repeat(300_000);
    let wrong: Vec<_> = (0..40)
        .map(|i| json!({"role": format!("{i}{long}"), "content": "a"}))
        .collect();
    fails("chat-oneof", json!({"messages": wrong}));
    let wrong: Vec<_> = (0..200_000).map(|i| json!({"text": i})).collect();
    fails("emb-bge", json!({"requests": wrong}));
    let keys: Map<_, _> = (0..50_000).map(|i| (format!("k{i}"), i.into())).collect();
    fails("t2i-flux-1", keys.into());
}
