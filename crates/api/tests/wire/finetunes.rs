//! Fine-tunes over HTTP: create, list, upload.

use std::path::Path;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use crate::house::{Answer, account, app, recording, request, send, settings};

const ABLE: &str = "@cf/test/chat-able";

fn open(folder: &Path) -> Router {
    recording(folder).0
}

async fn create(app: &Router, body: &Value) -> Answer {
    send(
        app,
        request("POST", &account("/finetunes"), body.to_string()),
    )
    .await
}

async fn list(app: &Router, path: &str) -> Value {
    let answer = send(app, request("GET", &account(path), Body::empty())).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    serde_json::from_str(&answer.body).unwrap()
}

fn upload(finetune: &str, parts: &[(&str, &[u8])]) -> Request<Body> {
    let mut body = Vec::new();
    for (name, content) in parts {
        let head = format!(
            "--edge\r\ncontent-disposition: form-data; name=\"{name}\"; filename=\"blob\"\r\n\r\n"
        );
        body.extend(head.bytes());
        body.extend(*content);
        body.extend(b"\r\n");
    }
    body.extend(b"--edge--\r\n");
    form(finetune, body.into())
}

fn form(finetune: &str, body: Body) -> Request<Body> {
    let path = account(&format!("/finetunes/{finetune}/finetune-assets"));
    let mut request = request("POST", &path, body);
    let kind = "multipart/form-data; boundary=edge".parse().unwrap();
    request.headers_mut().insert("content-type", kind);
    request
}

const CONFIG: &[u8] = br#"{"r":8,"model_type":"llama"}"#;

fn refusal(status: u16, code: u16, message: &str) -> (u16, String) {
    let body = json!({"result": null, "success": false, "errors": [{"code": code, "message": message}], "messages": []});
    (status, body.to_string())
}

fn told(answer: &Answer) -> (u16, String) {
    (answer.status.as_u16(), answer.body.clone())
}

#[tokio::test]
async fn a_fine_tune_is_created_and_listed() {
    let folder = tempfile::tempdir().unwrap();
    let app = open(folder.path());
    let asked = json!({"model": ABLE, "name": "mine", "description": "of a test"});
    let answer = create(&app, &asked).await;
    assert_eq!(answer.status, 200);
    let value: Value = serde_json::from_str(&answer.body).unwrap();
    let row = value["result"].clone();
    let text = |name: &str| row[name].as_str().unwrap().to_owned();
    let (id, created) = (text("id"), text("created_at"));
    assert_eq!(
        answer.body,
        format!(
            r#"{{"result":{{"id":"{id}","created_at":"{created}","modified_at":"{created}","model":"{ABLE}","name":"mine","description":"of a test","public":false}},"success":true,"errors":[],"messages":[]}}"#
        )
    );
    assert!(id.parse::<uuid::Uuid>().is_ok());
    assert_eq!(
        (created.len(), &created[10..11], &created[23..]),
        (24, "T", "Z")
    );
    assert_eq!(list(&app, "/finetunes").await["result"], json!([row]));
    let public = json!({"model": ABLE, "name": "everyone's", "public": true});
    assert_eq!(create(&app, &public).await.status, 200);
    let names = |page: Value| -> Vec<String> {
        let rows = page["result"].as_array().unwrap().iter();
        rows.map(|row| row["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        names(list(&app, "/finetunes").await),
        ["mine", "everyone's"]
    );
    let all = names(list(&app, "/finetunes/public").await);
    assert_eq!(all.len(), 7);
    assert_eq!(all[0], "cf-public-magicoder");
    assert_eq!(all[6], "everyone's");
    let page = list(&app, "/finetunes/public?orderBy=name&limit=2&offset=5").await;
    assert_eq!(names(page), ["cf-public-magicoder", "everyone's"]);
}

#[tokio::test]
async fn what_cannot_be_created_is_refused_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let app = open(folder.path());
    for (body, message) in [
        (json!({"model": ABLE}), "name is missing"),
        (json!({"name": "a"}), "model is missing"),
        (json!({"model": ABLE, "name": 1}), "name is no string"),
        (
            json!({"model": ABLE, "name": "a", "public": "yes"}),
            "public is neither true nor false",
        ),
        (
            json!({"model": "@cf/no/such", "name": "a"}),
            "No such model @cf/no/such or task",
        ),
        (
            json!({"model": "@cf/test/chat", "name": "a"}),
            "The model `@cf/test/chat` does not support LoRa inference",
        ),
        (
            json!({"model": ABLE, "name": "cf-public-a"}),
            "names with the prefix cf-public- are reserved",
        ),
    ] {
        let answer = create(&app, &body).await;
        let wanted = refusal(400, 8001, &format!("Invalid input: {message}"));
        assert_eq!(told(&answer), wanted);
    }
    let path = account("/finetunes/public?orderBy=colour");
    let answer = send(&app, request("GET", &path, Body::empty())).await;
    assert_eq!(answer.status, 400);
}

#[tokio::test]
async fn files_are_uploaded_in_any_order_of_fields_and_once() {
    let folder = tempfile::tempdir().unwrap();
    let app = open(folder.path());
    let made = create(&app, &json!({"model": ABLE, "name": "mine"})).await;
    let made: Value = serde_json::from_str(&made.body).unwrap();
    let id = made["result"]["id"].as_str().unwrap();
    let name: &[u8] = b"adapter_config.json";
    let answer = send(
        &app,
        upload("mine", &[("file", CONFIG), ("file_name", name)]),
    )
    .await;
    assert_eq!(
        told(&answer),
        (
            200,
            format!(
                r#"{{"success":true,"result":{{"finetune_id":"{id}","file_name":"adapter_config.json"}},"errors":[],"messages":[]}}"#
            )
        )
    );
    let again = send(&app, upload(id, &[("file_name", name), ("file", CONFIG)])).await;
    let text = "Invalid input: adapter_config.json was uploaded already, and a fine-tune cannot be changed: create a new one";
    assert_eq!(told(&again), refusal(409, 8001, text));
    let kept = folder.path().join("finetunes").join(id);
    assert_eq!(
        std::fs::read(kept.join("adapter_config.json")).unwrap(),
        CONFIG
    );
    for (parts, message) in [
        (vec![("file", CONFIG)], "file_name is missing"),
        (vec![("file_name", name)], "file is missing"),
        (
            vec![("file_name", b"../../x".as_slice()), ("file", CONFIG)],
            "file_name has to be adapter_config.json or adapter_model.safetensors",
        ),
        (
            vec![("file", CONFIG), ("file", CONFIG)],
            "file is there twice",
        ),
        (
            vec![
                ("file_name", b"adapter_model.safetensors".as_slice()),
                ("file", b"PK"),
            ],
            "adapter_model.safetensors: it is no safetensors file",
        ),
    ] {
        let answer = send(&app, upload("mine", &parts)).await;
        let wanted = refusal(400, 8001, &format!("Invalid input: {message}"));
        assert_eq!(told(&answer), wanted);
    }
    let nobody = send(&app, upload("nobody", &[("file", CONFIG)])).await;
    assert_eq!(told(&nobody), refusal(404, 7002, "Not Found"));
    let mut plain = upload("mine", &[("file", CONFIG)]);
    plain.headers_mut().remove("content-type");
    assert_eq!(send(&app, plain).await.status, 400);
    assert_eq!(
        std::fs::read_dir(&kept).unwrap().count(),
        1,
        "nothing is left of the refused"
    );
}

#[tokio::test]
async fn a_file_without_an_end_is_cut_off_at_the_limit() {
    let folder = tempfile::tempdir().unwrap();
    let app = open(folder.path());
    create(&app, &json!({"model": ABLE, "name": "mine"})).await;
    let head = Bytes::from_static(
        b"--edge\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n",
    );
    let piece = Bytes::from(vec![0; 1024 * 1024]);
    let pieces = stream::once(async { head }).chain(stream::repeat(piece));
    let body = Body::from_stream(pieces.map(Ok::<_, std::io::Error>));
    let answer = send(&app, form("mine", body)).await;
    assert_eq!(answer.status, 413, "{}", answer.body);
    assert!(answer.body.contains(r#""code":3006"#), "{}", answer.body);
}

#[tokio::test]
async fn without_a_ledger_they_are_refused_and_told_how() {
    let app = app(settings());
    let answer = create(&app, &json!({"model": ABLE, "name": "mine"})).await;
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains("--no-ledger"), "{}", answer.body);
}
