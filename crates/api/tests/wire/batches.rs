//! Batches over HTTP: submit, poll, results; what is no batch; who comes first.

use std::future::Future;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use crate::house::{Answer, account, app, check_refusal, path, recording, request, send, settings};

const ABLE: &str = "@cf/test/chat-able";
const QUEUE: &str = "?queueRequest=true";

fn ask(query: &str, body: &Value) -> Request<Body> {
    request("POST", &format!("{}{query}", path(ABLE)), body.to_string())
}

fn binding(body: &Value) -> Request<Body> {
    let mut request = request("POST", "/run?version=3", body.to_string());
    let headers = request.headers_mut();
    headers.insert("content-type", "application/json".parse().unwrap());
    headers.insert("cf-consn-model-id", ABLE.parse().unwrap());
    request
}

fn id_of(answer: &Answer) -> String {
    let value: Value = serde_json::from_str(&answer.body).unwrap();
    let told = if value["result"].is_object() {
        &value["result"]
    } else {
        &value
    };
    told["request_id"].as_str().unwrap().to_owned()
}

/// Polls until the answer is no longer about waiting.
async fn done(app: &Router, poll: impl Fn() -> Request<Body>) -> Answer {
    for _ in 0..2000 {
        let answer = send(app, poll()).await;
        if answer.status != 202 {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the batch does not end");
}

/// Polls while the runner runs.
async fn with<T>(runner: api::BatchRunner, work: impl Future<Output = T>) -> T {
    tokio::select! {
        () = runner.run() => panic!("the runner ended"),
        done = work => done,
    }
}

fn two() -> Value {
    json!({"requests": [
        {"prompt": "a", "external_reference": "mine"},
        {"prompt": "fail bad"},
    ]})
}

#[tokio::test]
async fn a_batch_is_queued_then_done_on_the_rest_surface() {
    let folder = tempfile::tempdir().unwrap();
    let (app, runner) = recording(folder.path());
    let answer = send(&app, ask(QUEUE, &two())).await;
    let id = id_of(&answer);
    assert_eq!(answer.status, 200);
    let queued = format!(r#"{{"status":"queued","model":"{ABLE}","request_id":"{id}"}}"#);
    let envelope =
        |result: &str| format!(r#"{{"result":{result},"success":true,"errors":[],"messages":[]}}"#);
    assert_eq!(answer.body, envelope(&queued));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    answer.without_id();
    let poll = || ask(QUEUE, &json!({"request_id": id}));
    let pending = send(&app, poll()).await;
    assert_eq!(
        (pending.status.as_u16(), pending.body),
        (202, envelope(&queued))
    );
    let answer = with(runner, done(&app, poll)).await;
    assert_eq!(answer.status, 200);
    let value: Value = serde_json::from_str(&answer.body).unwrap();
    let error = value["result"]["responses"][1]["error"].as_str().unwrap();
    assert!(
        error.starts_with("AiError: AiError: Invalid input ("),
        "{error}"
    );
    let wanted = format!(
        concat!(
            r#"{{"responses":[{{"id":0,"result":{{"response":"user: a | max 256 temp 0.6 window 8192","tool_calls":[],"usage":{{"prompt_tokens":20,"completion_tokens":3,"total_tokens":23}}}},"success":true,"external_reference":"mine"}},"#,
            r#"{{"id":1,"error":"{}","success":false,"external_reference":null}}],"#,
            r#""usage":{{"prompt_tokens":20,"completion_tokens":3,"total_tokens":23}}}}"#
        ),
        error
    );
    assert_eq!(answer.body, envelope(&wanted));
    // It is kept: the same answer again, and after a restart.
    let again = send(&app, poll()).await;
    assert_eq!(again.body, answer.body);
}

#[tokio::test]
async fn the_binding_submits_and_polls_bare() {
    let folder = tempfile::tempdir().unwrap();
    let (app, runner) = recording(folder.path());
    let submit =
        json!({"inputs": {"requests": [{"prompt": "a"}]}, "options": {"queueRequest": true}});
    let answer = send(&app, binding(&submit)).await;
    let id = id_of(&answer);
    assert_eq!(
        answer.body,
        format!(r#"{{"status":"queued","model":"{ABLE}","request_id":"{id}"}}"#)
    );
    // The binding's poll has no option.
    let poll = || binding(&json!({"inputs": {"request_id": id}, "options": {}}));
    let answer = with(runner, done(&app, poll)).await;
    assert!(
        answer
            .body
            .starts_with(r#"{"responses":[{"id":0,"result":{"response":"user: a "#),
        "{}",
        answer.body
    );
}

#[tokio::test]
async fn the_unified_route_takes_batches_too() {
    let folder = tempfile::tempdir().unwrap();
    let (app, _runner) = recording(folder.path());
    let body = json!({"model": ABLE, "input": {"requests": [{"prompt": "a"}]}, "options": {"queueRequest": true}});
    let answer = send(&app, request("POST", &account("/run"), body.to_string())).await;
    assert_eq!(answer.status, 200);
    let id = id_of(&answer);
    let body = json!({"model": ABLE, "input": {"request_id": id}});
    let answer = send(&app, request("POST", &account("/run"), body.to_string())).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
}

#[tokio::test]
async fn unfinished_items_are_answered_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let id = {
        let (app, _runner) = recording(folder.path());
        id_of(&send(&app, ask(QUEUE, &two())).await)
    };
    let (app, runner) = recording(folder.path());
    let poll = || ask("", &json!({"request_id": id}));
    let answer = with(runner, done(&app, poll)).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn what_is_no_batch_is_refused_or_answered_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let (app, _runner) = recording(folder.path());
    // A plain body: the option changes nothing, whether or not the model has a queue.
    for model in [ABLE, "@cf/test/chat"] {
        let asked = request(
            "POST",
            &format!("{}{QUEUE}", path(model)),
            r#"{"prompt":"a"}"#,
        );
        let answer = send(&app, asked).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert!(answer.body.contains("user: a |"), "{}", answer.body);
    }
    // A batch for a model without a queue is an input without its fields.
    let plain = request(
        "POST",
        &format!("{}{QUEUE}", path("@cf/test/chat")),
        two().to_string(),
    );
    let answer = send(&app, plain).await;
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains(r#""code":5006"#), "{}", answer.body);
    for (body, status, code) in [
        (json!({"requests": []}), 400, 8001),
        (json!({"requests": ["a"]}), 400, 8001),
        (json!({"requests": {"a": 1}}), 400, 5006),
        (json!({"requests": [{"prompt": ""}]}), 400, 5006),
        (
            json!({"requests": [{"prompt": "a", "temperature": 9}]}),
            400,
            5006,
        ),
    ] {
        let answer = send(&app, ask(QUEUE, &body)).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.body);
        assert!(
            answer.body.contains(&format!(r#""code":{code}"#)),
            "{body}: {}",
            answer.body
        );
    }
    for id in ["nothing", "00000000-0000-4000-8000-000000000000", ""] {
        let answer = send(&app, ask(QUEUE, &json!({"request_id": id}))).await;
        let text = format!("Not Found: No such request {id}");
        check_refusal(&answer, 404, 7002, &text);
    }
}

#[tokio::test]
async fn a_batch_over_ten_megabytes_is_refused_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (app, _runner) = recording(folder.path());
    let item = json!({"prompt": "a".repeat(100_000)});
    let batch = |items| json!({ "requests": vec![item.clone(); items] });
    let answer = send(&app, ask(QUEUE, &batch(101))).await;
    check_refusal(
        &answer,
        413,
        3006,
        "Request too large: Request is too large",
    );
    assert_eq!(send(&app, ask(QUEUE, &batch(99))).await.status, 200);
}

#[tokio::test]
async fn without_a_ledger_a_batch_is_refused_and_told_how() {
    let answer = send(&app(settings()), ask(QUEUE, &two())).await;
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains("--no-ledger"), "{}", answer.body);
}

#[tokio::test]
async fn a_batch_gives_way_to_a_stream_until_it_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let (app, runner) = recording(folder.path());
    let id = id_of(&send(&app, ask(QUEUE, &json!({"requests": [{"prompt": "a"}]}))).await);
    let body = r#"{"prompt":"a","stream":true}"#;
    let stream = request("POST", &path("@cf/test/chat"), body);
    let stream = tower::ServiceExt::oneshot(app.clone(), stream).await;
    let poll = || ask("", &json!({"request_id": id}));
    let work = async {
        for _ in 0..50 {
            let answer = send(&app, poll()).await;
            assert_eq!(answer.status, 202, "somebody still reads: {}", answer.body);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        drop(stream);
        done(&app, poll).await
    };
    assert_eq!(with(runner, work).await.status, 200);
}
