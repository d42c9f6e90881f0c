//! Whatever a body holds, it is answered or refused; it breaks nothing.

use axum::http::StatusCode;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, RngCore, SeedableRng};
use serde_json::{Value, json};

use crate::house::{request, send, settings};
use crate::stage::{ACCOUNT, stage};

/// Bodies that are tried; each begins as a good one.
const BODIES: u64 = 4000;

const MODELS: [&str; 9] = [
    "plain", "able", "thinks", "parts", "sees", "mistral", "guard", "open", "oss",
];

fn good(random: &mut StdRng) -> Value {
    let tool = json!({"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}}});
    let bodies = [
        json!({"prompt": "say hi", "image": "aGk=", "max_tokens": 5, "seed": 1, "lora": "cf-public-x"}),
        json!({"messages": [{"role": "user", "content": "say {\"a\":1}"}], "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}}),
        json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}]}], "guided_json": {}}),
        json!({"messages": [{"role": "assistant", "content": null, "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}, {"role": "tool", "content": "x", "tool_call_id": "abcdefghi"}], "tools": [tool], "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [tool]}}, "functions": [{"name": "g", "code": "c"}]}),
        json!({"input": [{"role": "user", "content": [{"type": "input_text", "text": "think a | say b"}]}, {"type": "function_call_output", "call_id": "1", "output": "r"}], "text": {"format": {"type": "text"}}, "reasoning": {"effort": "low"}, "tools": [{"type": "function", "name": "f"}]}),
        json!({"prompt": "say a | think b", "n": 2, "stop": ["x"], "logit_bias": {"1": 1}, "reasoning_effort": "low", "chat_template_kwargs": {"enable_thinking": true}, "stream_options": {"include_usage": true}, "temperature": 1, "top_p": 0.5, "top_k": 3}),
    ];
    bodies.choose(random).unwrap().clone()
}

fn odd(random: &mut StdRng) -> Value {
    let odd = [
        json!(null),
        json!(true),
        json!(false),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(1e308),
        json!(u64::MAX),
        json!(""),
        json!("say x"),
        json!("\u{0}\u{feff}🙂"),
        json!([]),
        json!([1, "a"]),
        json!([[]]),
        json!([null]),
        json!([{}]),
        json!({}),
        json!({"type": "function"}),
        json!({"type": "text", "text": "t"}),
        json!({"0": 1, "1": 300}),
        json!({"a": {"b": [{"c": null}]}}),
    ];
    odd.choose(random).unwrap().clone()
}

/// Changes one place, wherever it lies.
fn spoil(value: &mut Value, random: &mut StdRng) {
    let here = random.random_bool(0.3);
    match value {
        Value::Object(fields) if !here && !fields.is_empty() => {
            let keys: Vec<_> = fields.keys().cloned().collect();
            let key = keys.choose(random).unwrap();
            match random.random_range(0..8) {
                0 => {
                    fields.shift_remove(key);
                }
                1 => {
                    fields.insert("stream".into(), true.into());
                }
                _ => spoil(&mut fields[key], random),
            }
        }
        Value::Array(items) if !here && !items.is_empty() => {
            let place = random.random_range(0..items.len());
            spoil(&mut items[place], random);
        }
        other => *other = odd(random),
    }
}

#[tokio::test]
async fn no_body_makes_a_500_or_a_panic() {
    let mut random = StdRng::seed_from_u64(7);
    let app = stage(settings());
    let mut answered = 0;
    for number in 0..BODIES {
        let model = format!("@cf/test/{}", MODELS.choose(&mut random).unwrap());
        let mut input = good(&mut random);
        for _ in 0..random.random_range(0..4) {
            spoil(&mut input, &mut random);
        }
        let (path, body) = match number % 5 {
            0 => (format!("{ACCOUNT}/v1/responses"), named(&input, &model)),
            1 => (
                format!("{ACCOUNT}/v1/chat/completions"),
                named(&input, &model),
            ),
            2 => (
                format!("{ACCOUNT}/run"),
                json!({"model": model, "input": input}),
            ),
            3 => {
                let whole = random.random_bool(0.7);
                let inputs = json!({"inputs": input, "options": odd(&mut random)});
                let body = if whole { inputs } else { odd(&mut random) };
                ("/run?version=3".into(), body)
            }
            _ => (format!("{ACCOUNT}/run/{model}"), input),
        };
        let mut body = body.to_string().into_bytes();
        if random.random_bool(0.05) {
            let place = random.random_range(0..body.len());
            body[place] = random.next_u32() as u8;
        }
        let shown = String::from_utf8_lossy(&body).into_owned();
        let mut ask = request("POST", &path, body);
        ask.headers_mut()
            .insert("content-type", "application/json".parse().unwrap());
        ask.headers_mut()
            .insert("cf-consn-model-id", model.parse().unwrap());
        let answer = send(&app, ask).await;
        let is_known = answer.status == StatusCode::OK || answer.status.is_client_error();
        assert!(
            is_known,
            "{} {path} {shown}: {}",
            answer.status, answer.body
        );
        answered += u64::from(answer.status == StatusCode::OK);
    }
    assert!(answered > BODIES / 20, "hardly a body was good: {answered}");
}

fn named(input: &Value, model: &str) -> Value {
    match input {
        Value::Object(fields) => {
            let mut fields = fields.clone();
            fields.insert("model".into(), model.into());
            Value::Object(fields)
        }
        other => other.clone(),
    }
}
