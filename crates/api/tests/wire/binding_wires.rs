//! The wires of the binding: the same request as it is, in Miniflare's packing and in wrangler's.

use std::net::SocketAddr;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use serde_json::{Value, json};

use crate::house::{Answer, app, send, settings};

const CHAT: &str = "@cf/test/chat";
const PROXY: &str = "/client/v4/accounts/0123456789abcdef0123456789abcdef/ai/run/proxy";
const THIS_MACHINE: &str = "127.0.0.1:50000";
const ANOTHER: &str = "192.168.1.7:50000";

/// A way of a request of the binding to here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wire {
    Plain,
    Miniflare,
    Wrangler,
}

const WIRES: [Wire; 3] = [Wire::Plain, Wire::Miniflare, Wire::Wrangler];

/// What the Worker's side sends, before it is packed.
#[derive(Clone, Default)]
struct Ask {
    method: &'static str,
    url: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Ask {
    fn post(url: &str, headers: &[(&'static str, &str)], body: &[u8]) -> Self {
        let headers = headers
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()));
        Self {
            method: "POST",
            url: format!("https://workers-binding.ai{url}"),
            headers: headers.collect(),
            body: body.to_vec(),
        }
    }

    fn get(url: &str) -> Self {
        Self {
            method: "GET",
            ..Self::post(url, &[], b"")
        }
    }

    /// `env.AI.run(model, inputs)`.
    fn run(model: &str, inputs: &Value) -> Self {
        let body = json!({ "inputs": inputs, "options": {} }).to_string();
        let headers = [
            ("content-type", "application/json"),
            ("cf-consn-sdk-version", "2.0.0"),
            ("cf-consn-model-id", model),
        ];
        Self::post("/run?version=3", &headers, body.as_bytes())
    }

    fn on(&self, wire: Wire) -> Request<Body> {
        let path = self.url.split_once("//").unwrap().1;
        let path = path.find('/').map_or("/", |start| &path[start..]);
        let mut request = Request::builder().method(self.method);
        request = match wire {
            Wire::Plain => request.uri(path).header("host", "workers-binding.ai"),
            Wire::Miniflare => request
                .uri("/")
                .header("host", "127.0.0.1:7777")
                .header("MF-URL", &self.url)
                .header("MF-Binding", "AI")
                .header("MF-Header-content-length", self.body.len()),
            Wire::Wrangler => request
                .uri(PROXY)
                .header("host", "127.0.0.1:7777")
                .header("authorization", "Bearer any")
                .header("X-Forwarded", &self.url),
        };
        for (name, value) in &self.headers {
            request = match wire {
                Wire::Miniflare => request.header(format!("MF-Header-{name}"), value),
                Wire::Plain | Wire::Wrangler => request.header(*name, value),
            };
        }
        if wire != Wire::Wrangler {
            request = request.header("content-length", self.body.len());
        }
        request.body(Body::from(self.body.clone())).unwrap()
    }
}

fn from(peer: &str, mut request: Request<Body>) -> Request<Body> {
    let peer: SocketAddr = peer.parse().unwrap();
    request.extensions_mut().insert(ConnectInfo(peer));
    request
}

async fn on_each(app: &Router, ask: &Ask) -> [Answer; 3] {
    [
        send(app, ask.on(Wire::Plain)).await,
        send(app, ask.on(Wire::Miniflare)).await,
        send(app, ask.on(Wire::Wrangler)).await,
    ]
}

#[tokio::test]
async fn an_answer_is_the_same_on_each_wire() {
    let app = app(settings());
    let ask = Ask::run(CHAT, &json!({"prompt": "hi", "temperature": 0}));
    for answer in on_each(&app, &ask).await {
        assert_eq!(answer.status, 200);
        // Exactly this: with a charset the Worker would be handed a stream.
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        assert!(
            body["response"]
                .as_str()
                .unwrap()
                .starts_with("user: hi | max 256 temp 0"),
            "{body}"
        );
    }
    let stream = Ask::run(CHAT, &json!({"prompt": "hi", "stream": true}));
    for answer in on_each(&app, &stream).await {
        assert_eq!(answer.header("content-type"), Some("text/event-stream"));
        assert!(answer.body.ends_with("data: [DONE]\n\n"));
    }
}

#[tokio::test]
async fn an_error_has_the_bindings_shape_on_each_wire() {
    let app = app(settings());
    for answer in on_each(&app, &Ask::run("@cf/no/such", &json!({"prompt": "hi"}))).await {
        assert_eq!(answer.status, 400);
        let model = "No such model @cf/no/such or task";
        assert_eq!(
            answer.without_id(),
            format!(
                r#"{{"name":"AiError","internalCode":5007,"httpCode":400,"message":"AiError: No such model: {model} (ID)","description":"{model}","requestId":"ID"}}"#
            )
        );
    }
}

#[tokio::test]
async fn a_stream_of_bytes_comes_through_on_each_wire() {
    let app = app(settings());
    let headers = [
        ("content-type", "audio/wav"),
        ("cf-consn-model-id", "@cf/test/whisper"),
    ];
    let ask = Ask::post("/run?version=3&userInputs=%7B%7D", &headers, b"RIFF");
    for answer in on_each(&app, &ask).await {
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert!(answer.body.contains("hello world again"));
    }
}

#[tokio::test]
async fn the_body_s_type_is_the_inner_header() {
    let app = app(settings());
    let mut ask = Ask::run(CHAT, &json!({"prompt": "hi"})).on(Wire::Miniflare);
    let outer = "application/octet-stream".parse().unwrap();
    ask.headers_mut().insert("content-type", outer);
    assert_eq!(send(&app, ask).await.status, 200);
}

#[tokio::test]
async fn a_gateway_s_run_has_a_log_id_on_each_wire() {
    let app = app(settings());
    let mut ask = Ask::run(CHAT, &json!({"prompt": "hi"}));
    ask.url = "https://workers-binding.ai/ai-gateway/run?version=3".into();
    for answer in on_each(&app, &ask).await {
        assert_eq!(answer.status, 200);
        assert!(answer.header("cf-aig-log-id").is_some());
    }
}

#[tokio::test]
async fn every_page_of_the_binding_is_the_same_on_each_wire() {
    let app = app(settings());
    for path in [
        "/ai-api/models/search?search=chat&per_page=2",
        "/to-everything/markdown/supported",
        "/autorag/rags",
        "/ai-gateway/gateways/my-gateway/url/universal",
    ] {
        let [plain, miniflare, wrangler] = on_each(&app, &Ask::get(path)).await;
        assert_eq!(plain.status, 200, "{path}: {}", plain.body);
        assert_eq!(plain.header("content-type"), Some("application/json"));
        assert_eq!(miniflare.body, plain.body, "{path}");
        assert_eq!(wrangler.body, plain.body, "{path}");
    }
}

#[tokio::test]
async fn what_the_binding_cannot_ask_is_no_route_on_each_packed_wire() {
    let app = app(settings());
    let rest = format!("/client/v4/accounts/a/ai/run/{CHAT}");
    for path in [
        "/hearth/ps",
        "/hearth/stop",
        "/",
        "/runs",
        "/exchange",
        PROXY,
        &rest,
        "/run/none",
    ] {
        let ask = Ask::post(path, &[], b"{}");
        for wire in [Wire::Miniflare, Wire::Wrangler] {
            let answer = send(&app, ask.on(wire)).await;
            assert_eq!(answer.status, 404, "{path} on {wire:?}");
            assert_eq!(
                answer.body,
                format!(
                    r#"{{"result":null,"success":false,"errors":[{{"code":7003,"message":"Could not route to {path}, perhaps your object identifier is invalid?"}}],"messages":[]}}"#
                )
            );
        }
    }
    for url in ["", "::", "https://", "\u{e9}"] {
        let ask = Ask::run(CHAT, &json!({"prompt": "hi"}));
        for (wire, name) in [(Wire::Miniflare, "mf-url"), (Wire::Wrangler, "x-forwarded")] {
            let mut ask = ask.on(wire);
            let url = axum::http::HeaderValue::from_bytes(url.as_bytes()).unwrap();
            ask.headers_mut().insert(name, url.clone());
            assert_eq!(send(&app, ask).await.status, 404, "{url:?} on {wire:?}");
        }
    }
}

#[tokio::test]
async fn a_packed_request_is_unpacked_once() {
    let app = app(settings());
    let mut ask = Ask::run(CHAT, &json!({"prompt": "hi"})).on(Wire::Miniflare);
    let headers = ask.headers_mut();
    headers.insert("mf-header-mf-url", "https://x/hearth/ps".parse().unwrap());
    headers.insert("mf-header-x-forwarded", "/hearth/ps".parse().unwrap());
    headers.insert("mf-header-host", "evil.example".parse().unwrap());
    headers.insert("mf-header-content-length", "1".parse().unwrap());
    headers.insert("mf-header-", "nameless".parse().unwrap());
    let answer = send(&app, ask).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
}

#[tokio::test]
async fn the_method_is_the_outer_one() {
    let app = app(settings());
    for wire in WIRES {
        let answer = send(&app, Ask::get("/run?version=3").on(wire)).await;
        assert_eq!(answer.status, 405, "{wire:?}");
        assert!(answer.body.contains("GET not supported"));
    }
}

#[tokio::test]
async fn miniflare_s_rpc_socket_is_turned_away_and_the_version_page_stays() {
    let app = app(settings());
    let ask = |path: &str| {
        Request::builder()
            .uri(path)
            .header("host", "127.0.0.1:7777")
            .header("upgrade", "websocket")
            .header("connection", "upgrade")
            .body(Body::empty())
            .unwrap()
    };
    assert_eq!(send(&app, ask("/?MF-Binding=AI")).await.status, 404);
    let page = send(&app, ask("/")).await;
    assert_eq!(page.status, 200);
    assert!(page.body.starts_with("hearth "));
}

#[tokio::test]
async fn a_socket_to_a_model_is_refused_by_name() {
    let app = app(settings());
    for (model, code) in [("@cf/test/chat", 8007), ("@cf/no/such", 5007)] {
        let mut ask = Ask::get("/run?version=3&body=%7B%22inputs%22%3A%7B%7D%7D");
        ask.headers = vec![
            ("upgrade", "websocket".into()),
            ("cf-consn-model-id", model.into()),
        ];
        let answer = send(&app, ask.on(Wire::Plain)).await;
        assert_eq!(answer.status, 400);
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(body["internalCode"], code);
        let description = body["description"].as_str().unwrap();
        assert!(description.contains(model), "{description}");
    }
}

#[tokio::test]
async fn without_a_token_the_wires_answer_anyone_whose_host_is_right() {
    let app = app(settings());
    let ask = Ask::run(CHAT, &json!({"prompt": "hi"}));
    for wire in WIRES {
        assert_eq!(send(&app, from(ANOTHER, ask.on(wire))).await.status, 200);
        let mut foreign = ask.on(wire);
        let host = "evil.example".parse().unwrap();
        foreign.headers_mut().insert("host", host);
        assert_eq!(send(&app, foreign).await.status, 403);
    }
    let mut bare = ask.on(Wire::Wrangler);
    bare.headers_mut().remove("authorization");
    assert!(send(&app, bare).await.body.contains("9106"));
}

#[tokio::test]
async fn with_a_token_the_wires_answer_this_machine_and_those_who_know_it() {
    let app = app(api::Settings {
        token: Some("sesame".into()),
        ..settings()
    });
    let ask = Ask::run(CHAT, &json!({"prompt": "hi"}));
    for wire in [Wire::Plain, Wire::Miniflare] {
        let local = from(THIS_MACHINE, ask.on(wire));
        assert_eq!(send(&app, local).await.status, 200);
        for peer in ["[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert_eq!(send(&app, from(peer, ask.on(wire))).await.status, 200);
        }
        for mark in ["x-forwarded-for", "forwarded", "via"] {
            let mut relayed = from(THIS_MACHINE, ask.on(wire));
            let headers = relayed.headers_mut();
            headers.insert(mark, "203.0.113.9".parse().unwrap());
            assert!(send(&app, relayed).await.body.contains("9106"), "{mark}");
        }
        for remote in [from(ANOTHER, ask.on(wire)), ask.on(wire)] {
            assert!(send(&app, remote).await.body.contains("9106"));
        }
        let mut wrong = from(ANOTHER, ask.on(wire));
        let token = "Bearer wrong".parse().unwrap();
        wrong.headers_mut().insert("authorization", token);
        assert_eq!(send(&app, wrong).await.status, 401);
        let mut right = from(ANOTHER, ask.on(wire));
        let token = "Bearer sesame".parse().unwrap();
        right.headers_mut().insert("authorization", token);
        assert_eq!(send(&app, right).await.status, 200);
    }
    // This wire has a token of its own.
    let answer = send(&app, from(THIS_MACHINE, ask.on(Wire::Wrangler))).await;
    assert_eq!(answer.status, 403);
    assert_eq!(
        answer.body,
        r#"{"result":null,"success":false,"errors":[{"code":1031,"message":"Authentication error"}],"messages":[]}"#
    );
    let mut right = ask.on(Wire::Wrangler);
    let token = "Bearer sesame".parse().unwrap();
    right.headers_mut().insert("authorization", token);
    assert_eq!(send(&app, right).await.status, 200);
}

#[tokio::test]
async fn a_session_is_opened_as_wrangler_opens_it() {
    let app = app(settings());
    let workers = "/client/v4/accounts/0123456789abcdef/workers";
    let ask = |method: &str, path: &str, body: Vec<u8>| {
        Request::builder()
            .method(method)
            .uri(path)
            .header("host", "127.0.0.1:7777")
            .header("authorization", "Bearer x")
            .body(Body::from(body))
            .unwrap()
    };
    let preview = format!("{workers}/subdomain/edge-preview");
    let answer = send(&app, ask("GET", &preview, Vec::new())).await;
    assert_eq!(
        answer.body,
        r#"{"result":{"token":"hearth","exchange_url":"http://127.0.0.1:7777/exchange"},"success":true,"errors":[],"messages":[]}"#
    );
    let mut exchange = ask("GET", "/exchange", Vec::new());
    exchange.headers_mut().remove("authorization");
    assert_eq!(
        send(&app, exchange).await.body,
        r#"{"token":"hearth","inspector_websocket":"wss://x.localhost:444/","prewarm":"http://127.0.0.1:7777/prewarm"}"#
    );
    assert_eq!(
        send(&app, ask("POST", "/prewarm", Vec::new())).await.status,
        200
    );
    let subdomain = format!("{workers}/subdomain");
    let answer = send(&app, ask("GET", &subdomain, Vec::new())).await;
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    let host = format!(
        "https://name.{}.workers.dev/",
        body["result"]["subdomain"].as_str().unwrap()
    );
    assert!(host.parse::<axum::http::Uri>().is_err(), "{host}");
    let upload = format!("{workers}/scripts/my-worker/edge-preview");
    let answer = send(&app, ask("POST", &upload, vec![b'x'; 1 << 20])).await;
    assert_eq!(
        answer.body,
        r#"{"result":{"preview_token":"hearth"},"success":true,"errors":[],"messages":[]}"#
    );
    let mut bare = ask("GET", &preview, Vec::new());
    bare.headers_mut().remove("authorization");
    assert!(send(&app, bare).await.body.contains("9106"));
}
