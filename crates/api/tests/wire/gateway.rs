//! AI Gateway's paths: what is passed on, what a gateway adds, and what it refuses itself.

use axum::body::Body;
use axum::http::Request;

use crate::house::{Answer, app, binding, path, request, send, settings};

const PATH: &str = "/v1/any/mine/workers-ai/@cf/test/chat";
const PROMPT: &str = r#"{"prompt":"a"}"#;

fn with(mut request: Request<Body>, headers: &[(&'static str, &str)]) -> Request<Body> {
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    request
}

async fn ask(path: &str, headers: &[(&'static str, &str)]) -> Answer {
    send(
        &app(settings()),
        with(request("POST", path, PROMPT), headers),
    )
    .await
}

/// The whole of a gateway's own refusal.
fn refusal(status: u16, code: u16, message: &str, description: &str) -> String {
    format!(
        r#"{{"success":false,"result":[],"messages":[],"error":[{{"code":{code},"message":"{message}"}}],"name":"AiGatewayError","httpCode":{status},"internalCode":{code},"message":"{message}","description":"{description}"}}"#
    )
}

#[tokio::test]
async fn a_gateway_adds_its_headers_to_the_plain_answer() {
    let plain = send(
        &app(settings()),
        request("POST", &path("@cf/test/chat"), PROMPT),
    )
    .await;
    assert_eq!(plain.header("cf-aig-log-id"), None);
    let answer = ask(
        PATH,
        &[
            ("cf-aig-event-id", "mine"),
            ("cf-aig-metadata", r#"{"a":1}"#),
        ],
    )
    .await;
    assert_eq!((answer.status, &answer.body), (plain.status, &plain.body));
    assert_eq!(answer.header("cf-aig-log-id").map(str::len), Some(26));
    assert_eq!(answer.header("cf-aig-event-id"), Some("mine"));
    assert_eq!(answer.header("cf-aig-cache-status"), Some("MISS"));
    assert_eq!(answer.header("cf-aig-provider"), Some("workers-ai"));
    // The service's own paths go through a gateway that a header names.
    let named = ask(&path("@cf/test/chat"), &[("cf-aig-gateway-id", "mine")]).await;
    assert_eq!(named.body, plain.body);
    assert!(named.header("cf-aig-log-id").is_some());
}

#[tokio::test]
async fn refusals_of_a_model_keep_the_form_of_the_binding() {
    for path in [
        "/v1/any/mine/workers-ai/@cf/no/such",
        "/v1/any/mine/workers-ai/run/@cf/no/such",
    ] {
        let answer = ask(path, &[]).await;
        assert_eq!(answer.status, 400);
        assert_eq!(
            answer.without_id(),
            r#"{"name":"AiError","internalCode":5007,"httpCode":400,"message":"AiError: No such model: No such model @cf/no/such or task (ID)","description":"No such model @cf/no/such or task","requestId":"ID"}"#
        );
        assert!(answer.header("cf-aig-log-id").is_some());
    }
}

#[tokio::test]
async fn what_no_gateway_here_does_is_refused_by_name() {
    for name in [
        "cf-aig-max-attempts",
        "cf-aig-retry-delay",
        "cf-aig-backoff",
    ] {
        let answer = ask(PATH, &[(name, "1")]).await;
        let text = format!("{name} is not served by this version of hearth");
        assert_eq!(
            (answer.status.as_u16(), answer.body),
            (400, refusal(400, 8007, "Unsupported", &text))
        );
    }
    for (name, value) in [
        ("cf-aig-request-timeout", "soon"),
        ("cf-aig-cache-ttl", "-1"),
        ("cf-aig-skip-cache", "maybe"),
    ] {
        let answer = ask(PATH, &[(name, value)]).await;
        let text = format!("the header {name} has no value that it can have");
        assert_eq!(
            (answer.status.as_u16(), answer.body),
            (400, refusal(400, 8001, "Invalid input", &text))
        );
    }
    let universal = "a universal request (ask the model itself, at .../{account}/{gateway}/workers-ai/{model}) is not served by this version of hearth";
    for path in ["/v1/any/mine", "/v1/any/mine/"] {
        let answer = ask(path, &[]).await;
        assert_eq!(
            (answer.status.as_u16(), answer.body),
            (400, refusal(400, 8007, "Unsupported", universal))
        );
    }
    for (path, name) in [
        ("/v1/any/mine/openai/chat/completions", "openai"),
        ("/v1/any/mine/compat/embeddings", "compat"),
    ] {
        let answer = ask(path, &[]).await;
        let text = format!("{name} is not here: this gateway has the provider workers-ai only");
        assert_eq!(
            (answer.status.as_u16(), answer.body),
            (400, refusal(400, 2008, "Invalid provider", &text))
        );
    }
}

#[tokio::test]
async fn a_worker_s_options_of_a_gateway_are_served_or_refused_by_name() {
    let harmless = r#"{"id":"mine","skipCache":true,"cacheTtl":0,"metadata":{"a":1},"collectLog":false,"requestTimeoutMs":60000}"#;
    let answer = send(&app(settings()), through(harmless, PROMPT)).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let retries = r#"{"id":"mine","retries":{"maxAttempts":2}}"#;
    let answer = send(&app(settings()), through(retries, PROMPT)).await;
    assert_eq!(answer.status, 400);
    let text = "gateway.retries is not served by this version of hearth";
    assert_eq!(
        answer.without_id(),
        format!(
            r#"{{"name":"AiError","internalCode":8007,"httpCode":400,"message":"AiError: AiError: {text} (ID)","description":"{text}","requestId":"ID"}}"#
        )
    );
}

/// A Worker's request through a gateway.
fn through(options: &str, inputs: &str) -> Request<Body> {
    let body = format!(r#"{{"inputs":{inputs},"options":{{"gateway":{options}}}}}"#);
    let (mut parts, _) = binding("@cf/test/chat", PROMPT).into_parts();
    parts.uri = "/ai-gateway/run?version=3".parse().unwrap();
    Request::from_parts(parts, Body::from(body))
}

/// What the cache did for each of some requests to one server.
async fn statuses(requests: impl IntoIterator<Item = Request<Body>>) -> Vec<String> {
    let app = app(settings());
    let mut seen = Vec::new();
    for request in requests {
        let answer = send(&app, request).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        seen.push(
            answer
                .header("cf-aig-cache-status")
                .unwrap_or("none")
                .to_owned(),
        );
    }
    seen
}

#[tokio::test]
async fn an_answer_is_kept_for_who_asked_for_it_and_given_to_the_same_request() {
    let ask = |headers: &[(&'static str, &str)], body| with(request("POST", PATH, body), headers);
    let hour: &[(&'static str, &str)] = &[("cf-aig-cache-ttl", "3600")];
    let other = r#"{"prompt":"b"}"#;
    let stranger = &[
        ("cf-aig-cache-ttl", "3600"),
        ("authorization", "Bearer other"),
    ];
    let skipping = &[("cf-aig-cache-ttl", "3600"), ("cf-aig-skip-cache", "true")];
    let seen = statuses([
        ask(&[], PROMPT), // not asked for
        ask(hour, PROMPT),
        ask(hour, PROMPT),
        ask(hour, other),
        ask(stranger, PROMPT),
        ask(skipping, PROMPT),
        ask(&[], PROMPT),
        ask(hour, PROMPT),
    ])
    .await;
    let wanted = ["MISS", "MISS", "HIT", "MISS", "MISS", "MISS", "MISS", "HIT"];
    assert_eq!(seen, wanted);
    // A kept answer is the same to the byte.
    let app = app(settings());
    let first = send(&app, ask(hour, PROMPT)).await;
    let again = send(&app, ask(hour, PROMPT)).await;
    assert_eq!((first.status, &first.body), (again.status, &again.body));
    assert_eq!(first.header("content-type"), again.header("content-type"));
    assert_ne!(first.header("cf-aig-log-id"), again.header("cf-aig-log-id"));
}

#[tokio::test]
async fn a_key_of_the_caller_s_own_names_an_answer_of_its_gateway() {
    let other = r#"{"prompt":"b"}"#;
    let seen = statuses([
        through(r#"{"id":"mine","cacheTtl":3360,"skipCache":false}"#, PROMPT),
        through(r#"{"id":"mine","cacheTtl":3360,"skipCache":false}"#, PROMPT),
        through(r#"{"id":"mine","cacheKey":"k"}"#, PROMPT),
        through(r#"{"id":"mine","cacheKey":"k"}"#, other),
        through(r#"{"id":"other","cacheKey":"k"}"#, other),
        with(request("POST", PATH, PROMPT), &[("cf-aig-cache-key", "k")]),
        with(request("POST", PATH, other), &[("cf-aig-cache-key", "k")]),
    ])
    .await;
    assert_eq!(seen, ["MISS", "HIT", "MISS", "HIT", "MISS", "MISS", "HIT"]);
}

#[tokio::test]
async fn nothing_is_shared_between_accounts_and_tokens() {
    let ask = |path: &'static str, key: &str| {
        let headers = &[
            ("cf-aig-gateway-id", "mine"),
            ("cf-aig-cache-key", "k"),
            ("x-auth-email", "a@example.com"),
            ("x-auth-key", key),
        ];
        let mut request = with(request("POST", path, PROMPT), headers);
        request.headers_mut().remove("authorization");
        request
    };
    let one = "/client/v4/accounts/one/ai/run/@cf/test/chat";
    let two = "/client/v4/accounts/two/ai/run/@cf/test/chat";
    let seen = statuses([ask(one, "a"), ask(two, "a"), ask(one, "b"), ask(one, "a")]).await;
    assert_eq!(seen, ["MISS", "MISS", "MISS", "HIT"]);
}

#[tokio::test]
async fn streams_and_failures_are_not_kept() {
    let app = app(settings());
    // Nor does a kept answer stand for a stream.
    let named = &[("cf-aig-cache-key", "s")];
    for (body, kind) in [
        (PROMPT, "application/json"),
        (r#"{"prompt":"a","stream":true}"#, "text/event-stream"),
    ] {
        let answer = send(&app, with(request("POST", PATH, body), named)).await;
        assert_eq!(answer.header("cf-aig-cache-status"), Some("MISS"));
        assert!(answer.header("content-type").unwrap().starts_with(kind));
    }
    let hour = &[("cf-aig-cache-ttl", "3600")];
    for body in [r#"{"prompt":"a","stream":true}"#, r#"{"prompt":1}"#] {
        for _ in 0..2 {
            let answer = send(&app, with(request("POST", PATH, body), hour)).await;
            assert_eq!(answer.header("cf-aig-cache-status"), Some("MISS"), "{body}");
        }
    }
}
