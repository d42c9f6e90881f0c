//! Auth, Host, routes, and hearth's own pages.

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use serde_json::Value;

use crate::house::{Answer, app, path, request, send, settings};

const CHAT: &str = "@cf/test/chat";
const NO_AUTH: &str = r#"{"result":null,"success":false,"errors":[{"code":9106,"message":"Missing X-Auth-Key, X-Auth-Email or Authorization headers"}],"messages":[]}"#;
const BAD_AUTH: &str = r#"{"result":null,"success":false,"errors":[{"code":10000,"message":"Authentication error"}],"messages":[]}"#;

async fn ask(app: &Router, headers: &[(&str, &str)]) -> Answer {
    let mut ask = Request::builder().method("POST").uri(path(CHAT));
    ask = ask.header("host", "localhost");
    for (name, value) in headers {
        ask = ask.header(*name, *value);
    }
    send(app, ask.body(Body::from(r#"{"prompt":"a"}"#)).unwrap()).await
}

#[tokio::test]
async fn any_token_is_accepted_until_one_is_configured() {
    let app = app(settings());
    for headers in [
        &[("authorization", "Bearer x")][..],
        &[("authorization", "bearer x")],
        &[("x-auth-email", "a@b"), ("x-auth-key", "k")],
    ] {
        assert_eq!(ask(&app, headers).await.status, 200, "{headers:?}");
    }
    for headers in [&[][..], &[("x-auth-email", "a@b")], &[("x-auth-key", "k")]] {
        let answer = ask(&app, headers).await;
        assert_eq!(answer.body, NO_AUTH, "{headers:?}");
        assert_eq!(answer.status, 400);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("cf-ai-req-id"), None); // it never reached inference
    }
    for headers in [
        &[("authorization", "Bearer")][..],
        &[("authorization", "Bearer  ")],
        &[("authorization", "Basic eDp5")],
        &[("x-auth-email", "a@b"), ("x-auth-key", "")],
    ] {
        let answer = ask(&app, headers).await;
        assert_eq!(answer.body, BAD_AUTH, "{headers:?}");
        assert_eq!(answer.status, 401);
    }
}

#[tokio::test]
async fn a_configured_token_is_the_only_one() {
    let app = app(api::Settings {
        token: Some("sesame".into()),
        ..settings()
    });
    for token in ["Bearer sesame", "Bearer  sesame "] {
        assert_eq!(ask(&app, &[("authorization", token)]).await.status, 200);
    }
    let pair = [("x-auth-email", "a@b"), ("x-auth-key", "sesame")];
    assert_eq!(ask(&app, &pair).await.status, 200);
    for token in [
        "Bearer x",
        "Bearer sesamE",
        "Bearer sesame1",
        "Bearer sesam",
        "sesame",
    ] {
        let answer = ask(&app, &[("authorization", token)]).await;
        assert_eq!(answer.body, BAD_AUTH, "{token}");
    }
    assert_eq!(ask(&app, &[]).await.body, NO_AUTH);
    let mut page = request("GET", "/hearth/ps", Body::empty());
    page.headers_mut().remove("authorization");
    assert_eq!(send(&app, page).await.body, NO_AUTH);
}

#[tokio::test]
async fn no_auth_asks_for_nothing() {
    let app = app(api::Settings {
        no_auth: true,
        ..settings()
    });
    assert_eq!(ask(&app, &[]).await.status, 200);
}

#[tokio::test]
async fn foreign_hosts_are_refused_on_every_route_before_anything_else() {
    let app = app(settings());
    for target in [path(CHAT), "/".into(), "/hearth/ps".into(), "/none".into()] {
        for host in [Some("evil.example"), None] {
            let mut ask = request("POST", &target, "{}");
            ask.headers_mut().clear();
            if let Some(host) = host {
                ask.headers_mut().insert("host", host.parse().unwrap());
            }
            let answer = send(&app, ask).await;
            assert_eq!(answer.status, 403);
            let body: Value = serde_json::from_str(&answer.body).unwrap();
            assert_eq!(body["errors"][0]["code"], 9109);
            assert!(
                answer
                    .body
                    .starts_with(r#"{"result":null,"success":false,"errors":[{"code":"#)
            );
        }
    }
    let mut two = request("GET", "/", Body::empty());
    two.headers_mut()
        .append("host", "evil.example".parse().unwrap());
    assert_eq!(send(&app, two).await.status, 403);
    let absolute = request("GET", "http://evil.example/", Body::empty());
    assert_eq!(send(&app, absolute).await.status, 403);
}

#[tokio::test]
async fn wrong_methods_and_paths_have_the_services_answers() {
    let app = app(settings());
    let answer = send(&app, request("GET", &path(CHAT), Body::empty())).await;
    assert_eq!(
        answer.body,
        r#"{"result":null,"success":false,"errors":[{"code":7001,"message":"GET not supported for requested URI."}],"messages":[]}"#
    );
    assert_eq!(answer.status, 405);
    for target in [
        "/client/v4/accounts/a/ai/none",
        "/client/v4/accounts/a/ai/run/",
        "/x",
    ] {
        let answer = send(&app, request("POST", target, "{}")).await;
        assert_eq!(
            answer.body,
            format!(
                r#"{{"result":null,"success":false,"errors":[{{"code":7003,"message":"Could not route to {target}, perhaps your object identifier is invalid?"}}],"messages":[]}}"#
            )
        );
        assert_eq!(answer.status, 404);
    }
    let broken = path("%ff%fe");
    assert_eq!(send(&app, request("POST", &broken, "{}")).await.status, 404);
}

#[tokio::test]
async fn hearths_own_pages_say_what_is_there() {
    let app = app(settings());
    let page = |path: &str| {
        let mut page = request("GET", path, Body::empty());
        page.headers_mut().remove("authorization");
        page
    };
    let answer = send(&app, page("/")).await;
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        answer.body,
        format!("hearth {version}: Workers AI on your own machine\n")
    );
    assert_eq!(
        send(&app, page("/hearth/ps")).await.body,
        r#"{"models":[],"memory":{"budget_bytes":null,"needed_bytes":0,"keep_alive_seconds":null},"threads":null}"#
    );
    assert_eq!(
        ask(&app, &[("authorization", "Bearer x")]).await.status,
        200
    );
    let answer = send(&app, page("/hearth/models")).await;
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    let models = body["models"].as_array().unwrap();
    assert_eq!(models.len(), 36);
    let find = |name: &str| {
        models
            .iter()
            .find(|model| model["name"] == name)
            .unwrap()
            .to_string()
    };
    assert_eq!(
        find("@cf/test/chat-old"),
        r#"{"name":"@cf/test/chat-old","weights":"parrot","grade":"twin","reason":null,"deprecated_on":"2026-05-30"}"#
    );
    assert_eq!(
        find("@cf/test/chat-away"),
        r#"{"name":"@cf/test/chat-away","weights":null,"grade":null,"reason":"run `hearth pull @cf/test/chat-away`","deprecated_on":null}"#
    );
}
