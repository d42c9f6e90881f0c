//! The services around Workers AI: what is told truly, and what is refused in whose words.

use axum::body::Body;

use crate::house::{account, app, request, send, settings};

const NONE: &str = r#"{"success":true,"result":[],"errors":[],"messages":[]}"#;
const NOT_FOUND: &str = r#"{"success":false,"errors":[{"code":7002,"message":"Not Found"}],"messages":[],"result":null}"#;

async fn ask(method: &str, path: &str, body: &str) -> (u16, String) {
    let mut request = request(method, path, body.to_owned());
    if !path.starts_with("/client/") {
        request.headers_mut().remove("authorization"); // a binding has none
    }
    let answer = send(&app(settings()), request).await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    (answer.status.as_u16(), answer.body)
}

#[tokio::test]
async fn markdown_is_converted_by_nobody_here_and_that_is_said() {
    for path in [
        account("/tomarkdown/supported"),
        "/to-everything/markdown/supported".into(),
    ] {
        assert_eq!(ask("GET", &path, "").await, (200, NONE.into()));
    }
    let refused = r#"{"result":null,"success":false,"errors":[{"code":8007,"message":"toMarkdown is not served by this version of hearth"}],"messages":[]}"#;
    for path in [
        account("/tomarkdown"),
        "/to-everything/markdown/transformer".into(),
    ] {
        let body = r#"{"files":[{"name":"a.pdf","mimeType":"application/pdf","data":"YQ=="}]}"#;
        assert_eq!(ask("POST", &path, body).await, (400, refused.into()));
    }
}

#[tokio::test]
async fn there_is_no_rag() {
    assert_eq!(ask("GET", "/autorag/rags", "").await, (200, NONE.into()));
    for path in ["/autorag/rags/mine/search", "/autorag/rags/mine/ai-search"] {
        let answer = ask("POST", path, r#"{"query":"a"}"#).await;
        assert_eq!(answer, (404, NOT_FOUND.into()));
    }
}

#[tokio::test]
async fn a_gateway_has_an_address_here_and_no_logs() {
    for (path, url) in [
        ("mine/url/universal", "http://127.0.0.1:7777/v1/local/mine/"),
        (
            "mine/url/workers-ai",
            "http://127.0.0.1:7777/v1/local/mine/workers-ai",
        ),
        (
            "a%2Fb/url/c%3Fd",
            "http://127.0.0.1:7777/v1/local/a%2Fb/c%3Fd",
        ),
    ] {
        let answer = ask("GET", &format!("/ai-gateway/gateways/{path}"), "").await;
        assert_eq!(answer, (200, format!(r#"{{"result":{{"url":"{url}"}}}}"#)));
    }
    let log = "/ai-gateway/gateways/mine/logs/01ABC";
    assert_eq!(ask("GET", log, "").await, (404, NOT_FOUND.into()));
    let answer = ask("PATCH", log, r#"{"score":1}"#).await;
    assert_eq!(answer, (404, NOT_FOUND.into()));
    let (status, body) = ask("POST", "/ai-gateway/universal/run/mine", "[]").await;
    assert_eq!(status, 400);
    assert_eq!(
        body,
        r#"{"success":false,"result":[],"messages":[],"error":[{"code":8007,"message":"Unsupported"}],"name":"AiGatewayError","httpCode":400,"internalCode":8007,"message":"Unsupported","description":"a universal request (ask the model itself, at .../{account}/{gateway}/workers-ai/{model}) is not served by this version of hearth"}"#
    );
}

#[tokio::test]
async fn the_anthropic_form_is_refused_in_its_own_words() {
    let path = account("/v1/messages");
    for (body, status, kind, message) in [
        (
            r#"{"model":"@cf/test/chat","max_tokens":1,"messages":[]}"#,
            400,
            "invalid_request_error",
            r#"AiError: Anthropic Messages API is not supported for model \"@cf/test/chat\" (ID)"#,
        ),
        (
            r#"{"model":"@cf/no/such"}"#,
            404,
            "not_found_error",
            "Model not found: @cf/no/such",
        ),
        (
            "{}",
            400,
            "invalid_request_error",
            "AiError: model: Field required (ID)",
        ),
    ] {
        let answer = send(&app(settings()), request("POST", &path, body)).await;
        assert_eq!(answer.status, status);
        assert_eq!(
            answer.without_id(),
            format!(r#"{{"type":"error","error":{{"type":"{kind}","message":"{message}"}}}}"#)
        );
    }
    let broken = send(&app(settings()), request("POST", &path, "{")).await;
    assert_eq!(broken.status, 400);
    assert!(
        broken
            .body
            .starts_with(r#"{"type":"error","error":{"type":"invalid_request_error""#)
    );
}

#[tokio::test]
async fn a_wrong_method_is_not_a_wrong_path() {
    for (method, path) in [
        ("POST", account("/models/search")),
        ("GET", account("/v1/messages")),
        ("DELETE", "/autorag/rags".into()),
    ] {
        let answer = send(&app(settings()), request(method, &path, Body::empty())).await;
        assert_eq!(answer.status, 405, "{path}");
        assert!(answer.body.contains(r#""code":7001"#), "{}", answer.body);
    }
    let anonymous = {
        let mut request = request("GET", &account("/models/search"), Body::empty());
        request.headers_mut().remove("authorization");
        send(&app(settings()), request).await
    };
    assert_eq!(anonymous.status, 400);
    assert!(anonymous.body.contains(r#""code":9106"#));
}
