//! AI Gateway's paths: what is passed on, what a gateway adds, and what it refuses itself.

use std::time::Duration;

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
        "cf-aig-cache-ttl",
        "cf-aig-cache-key",
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
    let answer = ask(PATH, &[("cf-aig-request-timeout", "soon")]).await;
    let text = "the header cf-aig-request-timeout has no value that it can have";
    assert_eq!(
        (answer.status.as_u16(), answer.body),
        (400, refusal(400, 8001, "Invalid input", text))
    );
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
    let with_options = |options: &str| {
        let body = format!(r#"{{"inputs":{PROMPT},"options":{{"gateway":{options}}}}}"#);
        let (mut parts, _) = binding("@cf/test/chat", PROMPT).into_parts();
        parts.uri = "/ai-gateway/run?version=3".parse().unwrap();
        Request::from_parts(parts, Body::from(body))
    };
    let harmless =
        r#"{"id":"mine","skipCache":true,"cacheTtl":0,"metadata":{"a":1},"collectLog":false}"#;
    let answer = send(&app(settings()), with_options(harmless)).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    for (name, value) in [
        ("cacheKey", r#""a""#),
        ("cacheTtl", "60"),
        ("requestTimeoutMs", "5"),
        ("retries", r#"{"maxAttempts":2}"#),
    ] {
        let options = format!(r#"{{"id":"mine","{name}":{value}}}"#);
        let answer = send(&app(settings()), with_options(&options)).await;
        assert_eq!(answer.status, 400);
        let text = format!("gateway.{name} is not served by this version of hearth");
        assert_eq!(
            answer.without_id(),
            format!(
                r#"{{"name":"AiError","internalCode":8007,"httpCode":400,"message":"AiError: AiError: {text} (ID)","description":"{text}","requestId":"ID"}}"#
            )
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_too_late_is_given_up() {
    let never = futures_util::stream::pending::<Result<bytes::Bytes, std::io::Error>>();
    let slow = with(
        request("POST", PATH, Body::from_stream(never)),
        &[("cf-aig-request-timeout", "200")],
    );
    let began = tokio::time::Instant::now();
    let answer = send(&app(settings()), slow).await;
    // Far less than a body may stop for; what is left of it is waited for a little.
    assert!(began.elapsed() < Duration::from_secs(5));
    let text = "the model did not answer within cf-aig-request-timeout";
    assert_eq!(
        (answer.status.as_u16(), answer.body),
        (408, refusal(408, 2014, "Request timeout", text))
    );
}

#[tokio::test]
async fn a_gateway_wants_a_token_as_the_service_does() {
    let text = "a token is needed: Authorization: Bearer <token>";
    let unauthorized = (401, refusal(401, 2009, "Unauthorized", text));
    let guarded = app(api::Settings {
        token: Some("right".into()),
        ..settings()
    });
    let mut none = request("POST", PATH, PROMPT);
    none.headers_mut().remove("authorization");
    let answer = send(&app(settings()), none).await;
    assert_eq!((answer.status.as_u16(), answer.body), unauthorized);
    let wrong = with(
        request("POST", PATH, PROMPT),
        &[("authorization", "Bearer wrong")],
    );
    let answer = send(&guarded, wrong).await;
    assert_eq!((answer.status.as_u16(), answer.body), unauthorized);
    for name in ["authorization", "cf-aig-authorization"] {
        let mut right = request("POST", PATH, PROMPT);
        right.headers_mut().remove("authorization");
        let right = with(right, &[(name, "Bearer right")]);
        assert_eq!(send(&guarded, right).await.status, 200, "{name}");
    }
    let beside_a_provider_s = with(
        request("POST", PATH, PROMPT),
        &[
            ("authorization", "Bearer of-a-provider"),
            ("cf-aig-authorization", "Bearer right"),
        ],
    );
    let answer = send(&guarded, beside_a_provider_s).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn the_header_of_a_gateway_s_token_counts_nowhere_else() {
    let path = "/client/v4/accounts/any/ai/run/@cf/test/chat";
    let mut asked = request("POST", path, PROMPT);
    asked.headers_mut().remove("authorization");
    let asked = with(asked, &[("cf-aig-authorization", "Bearer any")]);
    let answer = send(&app(settings()), asked).await;
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains("9106"), "{}", answer.body);
}

#[tokio::test]
async fn the_oldest_form_of_the_binding_is_refused() {
    for (version, status) in [("1", 405), ("2", 200), ("3", 200), ("4", 200)] {
        let (mut parts, body) = binding("@cf/test/chat", PROMPT).into_parts();
        parts.uri = format!("/run?version={version}").parse().unwrap();
        let answer = send(&app(settings()), Request::from_parts(parts, body)).await;
        assert_eq!(answer.status, status, "{version}: {}", answer.body);
        if status == 405 {
            assert!(
                answer.body.contains(r#""internalCode":5019"#),
                "{}",
                answer.body
            );
        }
    }
}
