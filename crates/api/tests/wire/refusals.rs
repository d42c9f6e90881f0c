//! The error table, and the order of checks.

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;

use crate::house::{app, check_refusal, path, refused, request, run, send, settings};

const CHAT: &str = "@cf/test/chat";

#[tokio::test]
async fn each_failure_has_its_code_its_status_and_its_text() {
    for (name, status, code, text) in [
        ("bad", 400, 8001, "AiError: Invalid input"),
        (
            "busy",
            429,
            3040,
            "AiError: Capacity temporarily exceeded, please try again.",
        ),
        ("timeout", 408, 3046, "AiError: Request timeout"),
        ("aborted", 408, 3008, "Aborted: Request was aborted"),
        (
            "unavailable",
            503,
            7009,
            "AiError: fetch it with `hearth pull`",
        ),
        ("internal", 500, 3043, "AiError: Internal server error"),
    ] {
        refused(
            CHAT,
            format!(r#"{{"prompt":"fail {name}"}}"#),
            status,
            code,
            text,
        )
        .await;
    }
}

#[tokio::test]
async fn names_come_before_bodies_and_bodies_before_schemas() {
    let text = "No such model: No such model @cf/test/none or task";
    refused("@cf/test/none", "not json", 400, 5007, text).await;
    refused("%40cf%2Ftest%2Fnone", "", 400, 5007, text).await;
    refused(
        "none",
        "{}",
        400,
        5007,
        "No such model: No such model none or task",
    )
    .await;
    let text = "Incomplete request: Request is missing headers or body: body";
    refused(CHAT, "", 400, 3003, text).await;
    let text = "Incomplete request: Request is missing headers or body: a JSON body (key must be a \
                string at line 1 column 2)";
    refused(CHAT, "{prompt", 400, 3003, text).await;
    let text = "Bad input: Error: oneOf at '/' not met, 0 matches: required properties at '/' are \
                'prompt', required properties at '/' are 'messages'";
    refused(CHAT, "{}", 400, 5006, text).await;
    refused(CHAT, "[]", 400, 5006, text).await;
    let text = "AiError: run `hearth pull @cf/test/chat-away`";
    refused("@cf/test/chat-away", r#"{"prompt":"a"}"#, 503, 7009, text).await;
    let text = "AiError: @cf/test/chat-strange takes inputs of the class made-up, which this \
                version of hearth does not serve";
    refused("@cf/test/chat-strange", "{}", 400, 8007, text).await;
}

#[tokio::test]
async fn json_nested_too_deeply_is_refused_and_not_followed() {
    let deep = format!(r#"{{"prompt":{}"#, "[".repeat(100_000));
    let answer = run(CHAT, deep).await;
    assert_eq!(answer.status, 400);
    assert!(
        answer.body.contains("recursion limit exceeded"),
        "{}",
        answer.body
    );
}

#[tokio::test]
async fn names_may_be_percent_encoded() {
    for model in ["@cf/test/chat", "%40cf%2Ftest%2Fchat", "@cf%2ftest/chat"] {
        assert_eq!(run(model, r#"{"prompt":"a"}"#).await.status, 200, "{model}");
    }
}

#[tokio::test]
async fn large_bodies_are_refused_before_and_while_they_are_read() {
    let small = app(api::Settings {
        body_limit_bytes: 100,
        ..settings()
    });
    let text = "Request too large: Request is too large";
    // What it declares is enough: nothing of it comes.
    let unread = stream::empty::<Result<Bytes, std::io::Error>>();
    let mut declared = request("POST", &path(CHAT), Body::from_stream(unread));
    declared.headers_mut().insert("content-length", 101.into());
    check_refusal(&send(&small, declared).await, 413, 3006, text);
    let endless = stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(b"        ")));
    let undeclared = request("POST", &path(CHAT), Body::from_stream(endless));
    check_refusal(&send(&small, undeclared).await, 413, 3006, text);
    let fits = format!(
        r#"{{"prompt":"{}"}}"#,
        "a".repeat(100 - r#"{"prompt":""}"#.len())
    );
    assert_eq!(
        send(&small, request("POST", &path(CHAT), fits))
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn a_large_body_is_parsed_like_a_small_one() {
    let long = "é".repeat(100_000);
    let answer = run(CHAT, format!(r#"{{"prompt":"{long}"}}"#)).await;
    assert_eq!(answer.status, 200);
    assert!(answer.body.contains(&long));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stops_coming_is_given_up() {
    let never = stream::pending::<Result<Bytes, std::io::Error>>();
    let answer = run(CHAT, Body::from_stream(never)).await;
    check_refusal(&answer, 408, 3008, "Aborted: Request was aborted");
}

#[tokio::test]
async fn deprecated_names_are_served_with_a_header_or_refused() {
    let old = "@cf/test/chat-old";
    let answer = run(old, r#"{"prompt":"a"}"#).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("hearth-deprecated"), Some("2026-05-30"));
    let strict = app(api::Settings {
        deprecated: api::DeprecatedPolicy::Refuse,
        ..settings()
    });
    let answer = send(&strict, request("POST", &path(old), r#"{"prompt":"a"}"#)).await;
    let text = "Model has been deprecated: @cf/test/chat-old was deprecated on 2026-05-30";
    check_refusal(&answer, 410, 5028, text);
}
