//! Text generation of the legacy classes.

use std::sync::atomic::Ordering;
use std::time::Duration;

use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

use crate::house::{app, check_refusal, path, refused, request, run, send, settings, watched};

const CHAT: &str = "@cf/test/chat";
const ABLE: &str = "@cf/test/chat-able";

fn success(response: &str) -> String {
    let response = serde_json::to_string(response).unwrap();
    format!(
        r#"{{"result":{{"response":{response},"tool_calls":[],"usage":{{"prompt_tokens":20,"completion_tokens":3,"total_tokens":23}}}},"success":true,"errors":[],"messages":[]}}"#
    )
}

#[tokio::test]
async fn a_prompt_is_one_user_turn_with_the_defaults_of_its_schema() {
    let answer = run(CHAT, r#"{"prompt":"hi \"you\""}"#).await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.body,
        success("user: hi \"you\" | max 256 temp 0.6 window 8192")
    );
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("hearth-model"), Some("parrot; grade=twin"));
    assert_eq!(answer.header("cf-ai-neurons"), Some("3.20"));
    assert_eq!(answer.header("hearth-deprecated"), None);
    answer.without_id(); // is a uuid
}

#[tokio::test]
async fn inputs_reach_the_model_as_they_were_asked() {
    for (input, told) in [
        (
            r#"{"messages":[{"role":"system","content":"s"},{"role":"user","content":""}],"max_tokens":7}"#,
            "system: s, user:  | max 7 temp 0.6 window 8192",
        ),
        (
            r#"{"prompt":"a","raw":true}"#,
            "raw: a | max 256 temp 0.6 window 8192",
        ),
        (
            r#"{"messages":[{"role":"user","content":"a"},{"role":"x","content":"b"}],"raw":true}"#,
            "raw: a\nb | max 256 temp 0.6 window 8192",
        ),
        (
            r#"{"prompt":"a","max_tokens":9e99,"temperature":0,"top_p":0.5,"top_k":50,"seed":9999999999,"repetition_penalty":2,"frequency_penalty":-2,"presence_penalty":1.5}"#,
            "user: a | max 4294967295 temp 0 window 8192 top_p 0.5 repetition 2 frequency -2 presence 1.5 top_k 50 seed 9999999999",
        ),
        (
            // Fields that the service does not know pass, and so do lists that say nothing.
            r#"{"messages":[{"role":"user","content":"a","name":"n"}],"tools":[],"functions":[],"stop":["x"],"options":{"rejectIfBusy":true,"tags":["a"]}}"#,
            "user: a | max 256 temp 0.6 window 8192",
        ),
    ] {
        assert_eq!(run(CHAT, input).await.body, success(told), "{input}");
    }
}

#[tokio::test]
async fn a_stream_is_token_frames_a_usage_frame_and_done() {
    let answer = run(
        CHAT,
        r#"{"prompt":"héllo wörld","stream":true,"max_tokens":5}"#,
    )
    .await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("text/event-stream"));
    assert_eq!(answer.header("hearth-model"), Some("parrot; grade=twin"));
    assert_eq!(answer.header("cf-ai-neurons"), None);
    answer.without_id();
    let frames: Vec<_> = answer.body.split_terminator("\n\n").collect();
    let (tail, tokens) = frames.split_last_chunk::<2>().map(|(a, b)| (b, a)).unwrap();
    assert_eq!(
        tail,
        &[
            r#"data: {"response":"","usage":{"prompt_tokens":20,"completion_tokens":3,"total_tokens":23}}"#,
            "data: [DONE]",
        ]
    );
    let mut text = String::new();
    let alphabet = "abcdefghijklmnopqrstuvwxyz0123456789".repeat(2);
    for frame in tokens {
        let json: Value = serde_json::from_str(frame.strip_prefix("data: ").unwrap()).unwrap();
        let keys: Vec<_> = json.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["response", "p"]);
        let padding = json["p"].as_str().unwrap();
        assert!(
            !padding.is_empty() && alphabet.starts_with(padding),
            "{padding}"
        );
        text += json["response"].as_str().unwrap();
    }
    assert_eq!(text, "user: héllo wörld | max 5 temp 0.6 window 8192");
    assert_eq!(tokens.len(), 10);
}

#[tokio::test]
async fn a_failure_before_the_first_token_of_a_stream_is_plain_json() {
    let text = "Ai: The estimated number of input and maximum output tokens (8810) exceeded this \
                model context window limit (8192).";
    refused(
        CHAT,
        r#"{"prompt":"fail context","stream":true}"#,
        413,
        5021,
        text,
    )
    .await;
}

#[tokio::test]
async fn a_failure_in_the_middle_breaks_the_stream_off() {
    let ask = request(
        "POST",
        &path(CHAT),
        r#"{"prompt":"then fail","stream":true}"#,
    );
    let response = app(settings()).oneshot(ask).await.unwrap();
    let mut body = response.into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(first.starts_with(br#"data: {"response":"one","p":""#));
    assert!(body.frame().await.unwrap().is_err());
    assert!(body.frame().await.is_none());
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_job() {
    let (app, was_left) = watched(settings());
    let ask = request("POST", &path(CHAT), r#"{"prompt":"forever","stream":true}"#);
    let response = app.oneshot(ask).await.unwrap();
    let mut body = response.into_body();
    body.frame().await.unwrap().unwrap();
    assert!(!was_left.load(Ordering::SeqCst));
    drop(body);
    for _ in 0..1000 {
        if was_left.load(Ordering::SeqCst) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("the job went on");
}

#[tokio::test]
async fn a_model_that_says_nothing_for_too_long_is_a_timeout() {
    let app = app(api::Settings {
        request_timeout: Duration::from_millis(50),
        ..settings()
    });
    for input in [r#"{"prompt":"slow"}"#, r#"{"prompt":"slow","stream":true}"#] {
        let answer = send(&app, request("POST", &path(CHAT), input)).await;
        check_refusal(&answer, 408, 3046, "AiError: Request timeout");
    }
}

#[tokio::test]
async fn what_the_validator_lets_through_and_no_model_can_read_is_invalid_input() {
    for input in [
        r#"{"messages":[]}"#,
        r#"{"messages":["a"]}"#,
        r#"{"messages":[null]}"#,
        r#"{"messages":{"a":{"role":"user","content":"b"}}}"#,
        r#"{"prompt":"a","max_tokens":0}"#,
        r#"{"prompt":"a","max_tokens":-5}"#,
    ] {
        refused(CHAT, input, 400, 8001, "AiError: Invalid input").await;
    }
}

#[tokio::test]
async fn features_that_are_not_served_are_refused_by_name() {
    // A batch that is not queued: what the service answers at once is not known.
    let text = "AiError: requests is not served by this version of hearth";
    refused(ABLE, r#"{"requests":[{"prompt":"a"}]}"#, 400, 8007, text).await;
}

#[tokio::test]
async fn features_that_a_model_lacks_have_the_services_own_refusals() {
    let lora = "LoRa unsupported: The model `@cf/test/chat` does not support LoRa inference";
    refused(CHAT, r#"{"prompt":"a","lora":"x"}"#, 405, 5005, lora).await;
    let format = r#""response_format":{"type":"json_schema","json_schema":{"type":"object"}}"#;
    let input = format!(r#"{{"prompt":"a",{format}}}"#);
    let text = "AiError: This model doesn't support JSON Schema.";
    refused(CHAT, input, 403, 5025, text).await;
    let input = format!(r#"{{"prompt":"a","stream":true,{format}}}"#);
    let text = "AiError: JSON Schema mode is not supported with stream mode";
    refused(ABLE, input, 400, 5023, text).await;
}
