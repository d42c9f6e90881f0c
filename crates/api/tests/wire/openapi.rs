//! The description of the surface: the one that is kept is the one that is made, every path of it is served, nothing
//! else is, and answers are what it says they are.

use std::path::Path;

use axum::body::Body;
use axum::http::Request;
use catalog::Catalog;
use serde_json::{Value, json};

use crate::every_text_model::surface;
use crate::house::{Answer, binding, recording, request, send, settings};

const KEPT: &str = "openapi.json";
const CHAT: &str = "@cf/meta/llama-3.2-1b-instruct";
const BGE: &str = "@cf/baai/bge-base-en-v1.5";
const OSS: &str = "@cf/openai/gpt-oss-20b";

fn description() -> Value {
    api::openapi(&Catalog::builtin().unwrap())
}

/// `HEARTH_BLESS=1` writes the file anew.
#[allow(clippy::disallowed_methods)] // whether to write is said from outside
#[test]
fn the_description_that_is_kept_is_the_one_that_is_made() {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join(KEPT);
    let made = serde_json::to_string_pretty(&description()).unwrap() + "\n";
    if std::env::var_os("HEARTH_BLESS").is_some() {
        std::fs::write(&place, &made).unwrap();
    }
    let kept = std::fs::read_to_string(&place).unwrap();
    assert!(
        kept == made,
        "{KEPT} is not what the surface is now: HEARTH_BLESS=1 cargo test -p api --test wire openapi"
    );
}

#[tokio::test]
async fn the_description_is_served() {
    let app = surface(Catalog::builtin().unwrap());
    let answer = send(&app, request("GET", "/hearth/openapi.json", Body::empty())).await;
    assert_eq!(answer.status, 200);
    let told: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(told, description());
}

/// Nothing but the table makes routes, so that what is served is described.
#[test]
fn routes_are_made_in_one_place() {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            files += 1;
            let makes = [
                ".nest(",
                ".merge(",
                ".route_service(",
                ".nest_service(",
                "routing::",
            ];
            let made = makes.iter().any(|word| text.contains(word));
            assert!(!made || path.ends_with("routes.rs"), "{}", path.display());
            let routes = text.matches(".route(").count();
            let wanted = usize::from(path.ends_with("src/lib.rs"));
            assert_eq!(routes, wanted, "{}", path.display());
        }
    }
    assert!(files > 50);
}

/// A path of the description with something in each brace.
fn filled(path: &str) -> String {
    let filled = path.split('/').map(|part| match part {
        "{model}" => CHAT,
        "{path}" => "chat/completions",
        part if part.starts_with('{') => "any",
        part => part,
    });
    filled.collect::<Vec<_>>().join("/")
}

/// What is asked of a path: something that succeeds where it is easily made.
fn sample(method: &str, path: &str) -> Request<Body> {
    let messages = json!([{"role": "user", "content": "hello there"}]);
    let body = match path {
        path if path.ends_with("/{model}") => json!({"prompt": "hello"}),
        path if path.ends_with("/ai/run") => json!({"model": BGE, "input": {"text": "a"}}),
        path if path.ends_with("/chat/completions") => json!({"model": CHAT, "messages": messages}),
        path if path.ends_with("/embeddings") => json!({"model": BGE, "input": "a"}),
        path if path.ends_with("/responses") => json!({"model": OSS, "input": "a"}),
        path if path.ends_with("/messages") => json!({"model": OSS}),
        "/run" | "/ai-gateway/run" if method == "POST" => {
            let (mut parts, body) = binding(CHAT, r#"{"prompt":"hello"}"#).into_parts();
            parts.uri = format!("{path}?version=3").parse().unwrap();
            return Request::from_parts(parts, body);
        }
        "/hearth/stop" => json!({"weights": "stub"}),
        _ => json!({}),
    };
    let mut ask = request(method, &filled(path), body.to_string());
    let headers = ask.headers_mut();
    headers.insert("content-type", "application/json".parse().unwrap());
    if path == "/run" {
        headers.insert("upgrade", "websocket".parse().unwrap());
        headers.insert("cf-consn-model-id", CHAT.parse().unwrap());
    }
    ask
}

/// What is wrong with an answer, held against its operation.
fn faults(whole: &Value, operation: &Value, answer: &Answer) -> Vec<String> {
    let responses = &operation["responses"];
    let response = match answer.status.as_u16() {
        200 if !responses["200"].is_null() => &responses["200"],
        200 => return vec!["a success that is not described".into()],
        _ => &responses["default"],
    };
    let kind = answer.header("content-type").unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default();
    let schema = &response["content"][kind]["schema"];
    if schema.is_null() {
        return vec![format!("{kind} is not described")];
    }
    if kind != "application/json" {
        return Vec::new();
    }
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    let document = json!({"allOf": [schema], "components": whole["components"]});
    let validator = jsonschema::validator_for(&document).unwrap();
    validator
        .iter_errors(&body)
        .map(|error| error.to_string())
        .collect()
}

#[tokio::test]
async fn every_path_of_the_description_is_served_and_answers_as_it_says() {
    let whole = description();
    let stub = surface(Catalog::builtin().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let (recorded, _) = recording(folder.path());
    let mut operations = 0;
    for (path, methods) in whole["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            operations += 1;
            let shown = format!("{method} {path}");
            let method = method.to_uppercase();
            for app in [&stub, &recorded] {
                let answer = send(app, sample(&method, path)).await;
                let is_served = !answer.body.contains(r#""code":7003"#);
                let is_refused_by_method = answer.body.contains(r#""code":7001"#);
                assert!(is_served, "{shown}: {}", answer.body);
                assert_eq!(
                    is_refused_by_method,
                    path.ends_with("/v1/models"),
                    "{shown}"
                );
                let faults = faults(&whole, operation, &answer);
                assert!(faults.is_empty(), "{shown}: {faults:?} in {}", answer.body);
            }
            // Without a token, in whatever words.
            let mut anonymous = sample(&method, path);
            anonymous.headers_mut().remove("authorization");
            let guarded = crate::house::app(api::Settings {
                token: Some("right".into()),
                ..settings()
            });
            let answer = send(&guarded, anonymous).await;
            assert_eq!(
                answer.status == 200,
                path == "/",
                "{shown}: {}",
                answer.body
            );
        }
    }
    assert!(operations >= 49, "{operations}");
}
