//! How likely tokens were, in every form that can tell it.

use serde_json::{Value, json};

use crate::house::Answer;
use crate::stage::{openai, rest};

const ORDERS: &str = "weigh z | weigh hm | think hm | weigh a | weigh b | say ab | weigh c";
const ASK: &str = r#""logprobs":true,"top_logprobs":1"#;

fn body(orders: &str, more: &str) -> String {
    let turn = json!({"role": "user", "content": orders});
    format!(r#""messages":[{turn}],{more}}}"#)
}

/// What is told of a token.
fn told(token: &str, bytes: &[u8]) -> Value {
    let top = json!([{"bytes": [120], "logprob": -0.25, "token": "x"}]);
    json!({"bytes": bytes, "logprob": -1.5, "token": token, "top_logprobs": top})
}

fn json_of(answer: &Answer) -> Value {
    serde_json::from_str(&answer.body).unwrap()
}

fn content(tokens: &[&str]) -> Value {
    let tokens: Vec<_> = tokens
        .iter()
        .map(|token| told(token, token.as_bytes()))
        .collect();
    json!({"content": tokens, "refusal": null})
}

#[tokio::test]
async fn whole_answers_tell_of_every_token() {
    let wanted = content(&["z", "hm", "a", "b", "c"]);
    for model in ["open", "open-one", "plain", "parts", "oss"] {
        let answer = json_of(&openai(model, &body(ORDERS, ASK)).await);
        assert_eq!(answer["choices"][0]["logprobs"], wanted, "{model}");
        assert_eq!(answer["choices"][0]["message"]["content"], "ab");
    }
    for model in ["open", "open-one"] {
        let answer = json_of(&rest(model, format!("{{{}", body(ORDERS, ASK))).await);
        assert_eq!(answer["result"]["choices"][0]["logprobs"], wanted);
    }
    // A part of a character has its bytes; a silent answer has no tokens.
    let answer = json_of(&openai("plain", &body("weigh  | say ab", ASK)).await);
    let logprobs = &answer["choices"][0]["logprobs"]["content"];
    assert_eq!(*logprobs, json!([told("\u{fffd}", &[0xC3])]));
    let answer = json_of(&openai("plain", &body("say ab", ASK)).await);
    assert_eq!(answer["choices"][0]["logprobs"], content(&[]));
}

#[tokio::test]
async fn each_choice_has_its_own() {
    let more = format!(r#"{ASK},"n":2"#);
    let answer = json_of(&openai("open", &body("weigh a | say a", &more)).await);
    for choice in answer["choices"].as_array().unwrap() {
        assert_eq!(choice["logprobs"], content(&["a"]));
    }
}

#[tokio::test]
async fn chunks_tell_of_the_tokens_whose_text_they_carry() {
    for model in ["open", "plain", "parts", "oss"] {
        let more = format!(r#"{ASK},"stream":true"#);
        let answer = openai(model, &body(ORDERS, &more)).await;
        let frames = answer
            .body
            .lines()
            .filter_map(|line| line.strip_prefix("data: {"));
        let mut seen = Vec::new();
        for frame in frames {
            let frame: Value = serde_json::from_str(&format!("{{{frame}")).unwrap();
            let Some(choice) = frame["choices"].get(0) else {
                continue;
            };
            let delta = &choice["delta"];
            let text = delta["content"]
                .as_str()
                .or(delta["reasoning_content"].as_str());
            if choice["logprobs"].is_null() {
                assert!(text.unwrap_or_default().is_empty(), "{frame}");
            } else {
                let finish = choice["finish_reason"].as_str();
                let logprobs = choice["logprobs"].clone();
                seen.push((text.or(finish).unwrap().to_owned(), logprobs));
            }
        }
        let wanted = [
            ("hm".to_owned(), content(&["z", "hm"])),
            ("ab".into(), content(&["a", "b"])),
            ("stop".into(), content(&["c"])),
        ];
        assert_eq!(seen, wanted, "{model}");
    }
}
