//! What is in memory, and how it is unloaded.

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use crate::house::{Answer, app, path, request, send, settings};

async fn ps(app: &Router) -> Value {
    let answer = send(app, request("GET", "/hearth/ps", Body::empty())).await;
    assert_eq!(answer.status, 200);
    serde_json::from_str(&answer.body).unwrap()
}

/// An answer can be a moment ahead of the device.
async fn idle(app: &Router) -> Value {
    loop {
        let page = ps(app).await;
        if page["models"]
            .as_array()
            .unwrap()
            .iter()
            .all(|model| model["busy"] == 0)
        {
            return page;
        }
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}

fn stopping(body: &Value) -> Request<Body> {
    let mut ask = request("POST", "/hearth/stop", body.to_string());
    let headers = ask.headers_mut();
    headers.insert("content-type", "application/json".parse().unwrap());
    ask
}

async fn stop(app: &Router, body: Value) -> Answer {
    send(app, stopping(&body)).await
}

#[tokio::test]
async fn a_loaded_model_is_listed_with_its_names_its_need_and_its_time() {
    let app = app(settings());
    for (model, body) in [
        ("@cf/test/chat", r#"{"prompt":"a"}"#),
        ("@cf/test/bge", r#"{"text":"a"}"#),
    ] {
        assert_eq!(
            send(&app, request("POST", &path(model), body)).await.status,
            200
        );
    }
    let page = idle(&app).await;
    let models = page["models"].as_array().unwrap();
    assert_eq!(models.len(), 2);
    let compass = &models[0];
    assert_eq!(compass["weights"], "compass");
    assert_eq!(
        compass["serves"],
        json!([
            {"model": "@cf/test/bge", "grade": "exact", "window": 512},
            {"model": "@cf/test/bge-m3", "grade": "quantised", "window": 8192},
            {"model": "@cf/test/embed-text", "grade": "exact", "window": 512},
            {"model": "@cf/test/embed-qwen3", "grade": "exact", "window": 512},
            {"model": "@cf/test/embed-plamo", "grade": "exact", "window": 512},
        ])
    );
    let mut parrot = models[1].clone();
    assert_eq!(parrot["serves"].as_array().unwrap().len(), 4);
    parrot["serves"] = json!([]);
    assert_eq!(
        parrot.to_string(),
        r#"{"weights":"parrot","task":"Text Generation","serves":[],"loaded_seconds":0,"need":{"weights_bytes":0,"cache_bytes":0,"activation_bytes":0,"total_bytes":0},"measured_bytes":null,"work":null,"busy":0,"idle_seconds":0,"expires_in_seconds":null,"pinned":false,"stopping":false}"#
    );
}

#[tokio::test]
async fn a_model_is_stopped_by_its_name_or_by_that_of_its_weights() {
    let app = app(settings());
    let load = || request("POST", &path("@cf/test/chat"), r#"{"prompt":"a"}"#);
    for name in [
        json!({"model": "@cf/test/chat-old"}),
        json!({"weights": "parrot"}),
    ] {
        assert_eq!(send(&app, load()).await.status, 200);
        idle(&app).await;
        let answer = stop(&app, name.clone()).await;
        assert_eq!(
            answer.body,
            r#"{"weights":"parrot","stopped":"unloaded","busy":0}"#
        );
        assert_eq!(ps(&app).await["models"], json!([]));
        let answer = stop(&app, name).await;
        assert_eq!(
            answer.body,
            r#"{"weights":"parrot","stopped":"not loaded","busy":0}"#
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_model_is_stopped_when_it_is_idle_and_loses_no_answer() {
    let app = app(settings());
    let running = send(
        &app,
        request("POST", &path("@cf/test/chat"), r#"{"prompt":"slow"}"#),
    );
    let stopped = async {
        loop {
            let page = ps(&app).await;
            if page["models"][0]["busy"] == 1 {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        let answer = stop(&app, json!({"weights": "parrot"})).await;
        assert_eq!(
            answer.body,
            r#"{"weights":"parrot","stopped":"when idle","busy":1}"#
        );
        assert_eq!(ps(&app).await["models"][0]["stopping"], true);
    };
    let (answer, ()) = tokio::join!(running, stopped);
    assert_eq!(answer.status, 200);
    for _ in 0..1000 {
        if ps(&app).await["models"] == json!([]) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("it stayed");
}

#[tokio::test]
async fn stopping_wants_a_known_name_json_and_the_token() {
    let app = app(api::Settings {
        token: Some("any".into()),
        ..settings()
    });
    for (body, status) in [
        (json!({"weights": "nobody"}), 404),
        (json!({"model": "@cf/test/chat-away"}), 404),
        (json!({"weights": "parrot", "model": "@cf/test/chat"}), 400),
        (json!({"weights": 1}), 400),
        (json!({}), 400),
        (json!([]), 400),
    ] {
        let answer = stop(&app, body.clone()).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.body);
        let value: Value = serde_json::from_str(&answer.body).unwrap();
        assert!(value["error"].is_string());
    }
    let long = json!({ "weights": "p".repeat(5000) });
    assert_eq!(stop(&app, long).await.status, 400);
    // What a form of another site can send without asking.
    let mut foreign = stopping(&json!({"weights": "parrot"}));
    foreign
        .headers_mut()
        .insert("content-type", "text/plain".parse().unwrap());
    assert_eq!(send(&app, foreign).await.status, 415);
    let mut anonymous = stopping(&json!({"weights": "parrot"}));
    anonymous.headers_mut().remove("authorization");
    assert_eq!(send(&app, anonymous).await.status, 400);
    let mut rebound = stopping(&json!({"weights": "parrot"}));
    rebound
        .headers_mut()
        .insert("host", "evil.example".parse().unwrap());
    assert_eq!(send(&app, rebound).await.status, 403);
}
