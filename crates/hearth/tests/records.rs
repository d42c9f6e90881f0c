//! What a server keeps over its end: batches through a kill, usage through a restart, one owner at a time.
#![allow(clippy::unwrap_used)] // helpers of tests panic as tests do

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Answer, Server, weights_home};

const MODEL: &str = "@cf/baai/bge-small-en-v1.5";
const ITEMS: usize = 60;

fn serve(data: &Path) -> Server {
    let arguments = ["--data", data.to_str().unwrap()];
    Server::start(env!("CARGO_BIN_EXE_hearth"), &weights_home(), &arguments)
}

fn queue(server: &Server, body: &Value) -> Answer {
    server.run(&format!("{MODEL}?queueRequest=true"), body)
}

/// Polls until the answer is one that is wanted.
fn poll_until(server: &Server, id: &str, wanted: impl Fn(&Answer) -> bool) -> Answer {
    for _ in 0..60_000 {
        let answer = queue(server, &json!({ "request_id": id }));
        if wanted(&answer) {
            return answer;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    panic!("the batch does not move");
}

#[test]
fn a_batch_that_was_accepted_is_answered_whatever_happens_to_the_server() {
    let data = tempfile::tempdir().unwrap();
    let item = |n: usize| json!({"text": format!("the number {n}"), "external_reference": format!("n{n}")});
    let items: Vec<_> = (0..ITEMS).map(item).collect();
    let server = serve(data.path());
    let accepted = queue(&server, &json!({ "requests": items }));
    assert_eq!(accepted.status, 200, "{}", accepted.text());
    let id = accepted.json()["result"]["request_id"]
        .as_str()
        .unwrap()
        .to_owned();
    poll_until(&server, &id, |answer| {
        answer.json()["result"]["status"] != "queued"
    });
    drop(server); // killed as by `kill -9`
    let server = serve(data.path());
    let done = poll_until(&server, &id, |answer| answer.status == 200);
    let done = done.json();
    let responses = done["result"]["responses"].as_array().unwrap();
    assert_eq!(responses.len(), ITEMS);
    for (n, response) in responses.iter().enumerate() {
        assert_eq!(response["id"], n);
        assert_eq!(response["success"], true, "{response}");
        assert_eq!(response["external_reference"], format!("n{n}"));
        assert_eq!(response["result"]["shape"], json!([1, 384]));
    }
    // An item's result is the run route's own.
    let alone = server.run(MODEL, &json!({"text": "the number 7"})).json();
    assert_eq!(responses[7]["result"], alone["result"]);
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

#[test]
fn usage_is_there_after_an_orderly_end() {
    let data = tempfile::tempdir().unwrap();
    let server = serve(data.path());
    assert_eq!(server.run(MODEL, &json!({"text": ["a", "b"]})).status, 200);
    assert!(server.terminate().success());
    let server = serve(data.path());
    let page = server.get("/hearth/usage").json();
    let model = &page["days"][0]["models"][0];
    assert_eq!(model["model"], MODEL);
    assert_eq!(model["requests"], 1);
    assert!(model["neurons"].as_f64().unwrap() > 0.0, "{page}");
}

#[test]
fn a_data_folder_has_one_owner_and_a_home_is_shared() {
    let data = tempfile::tempdir().unwrap();
    let first = serve(data.path());
    let refused = Command::new(env!("CARGO_BIN_EXE_hearth"))
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(data.path())
        .env("HEARTH_HOME", weights_home())
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(told.contains("in use by another process"), "{told}");
    drop(first);
    // Without a word about records, two servers of one home both start; one of them keeps none.
    let home = tempfile::tempdir().unwrap();
    let start = || Server::start(env!("CARGO_BIN_EXE_hearth"), home.path(), &["--offline"]);
    let (first, second) = (start(), start());
    assert_eq!(first.get("/hearth/usage").status, 200);
    assert_eq!(second.get("/hearth/usage").status, 503);
    assert!(home.path().join("ledger.sqlite").is_file());
    let none = Server::start(
        env!("CARGO_BIN_EXE_hearth"),
        home.path(),
        &["--offline", "--no-ledger"],
    );
    assert_eq!(none.get("/hearth/usage").status, 503);
}

#[test]
fn a_ledger_that_cannot_be_read_is_moved_aside_with_a_word() {
    let data = tempfile::tempdir().unwrap();
    std::fs::write(
        data.path().join("ledger.sqlite"),
        "not a database at all ".repeat(99),
    )
    .unwrap();
    let server = serve(data.path());
    assert_eq!(server.get("/hearth/usage").status, 200);
    assert!(server.log().contains(".damaged-"), "{}", server.log());
}
