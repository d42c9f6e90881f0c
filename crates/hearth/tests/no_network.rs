//! `--offline` on a machine that has no network: a namespace with nothing but its own loopback.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)] // helpers of tests panic as tests do

use std::fs;

use serde_json::json;
use testkit::{Server, golden, is_unplugged, unplugged, weights, weights_home};

const PROOF: &str = "answered without a network";

#[test]
fn offline_answers_on_a_machine_without_a_network() {
    for set in [
        "smollm2-135m-instruct",
        "all-minilm-l6-v2",
        "whisper-tiny-en",
    ] {
        weights(set);
    }
    unplugged("child_answers_without_a_network", PROOF);
}

/// The child's part. Run by itself it is outside and has nothing to do; the test above starts it inside.
#[test]
fn child_answers_without_a_network() {
    if !is_unplugged() {
        return;
    }
    let server = Server::start(
        env!("CARGO_BIN_EXE_hearth"),
        &weights_home(),
        &["--offline"],
    );
    let chat = server.run(
        "@cf/meta/llama-3.2-1b-instruct",
        &json!({"prompt": "Say hello.", "max_tokens": 8}),
    );
    assert_eq!(chat.status, 200, "{}", chat.text());
    assert!(
        !chat.json()["result"]["response"]
            .as_str()
            .unwrap()
            .is_empty()
    );
    let embedding = server.run("@cf/baai/bge-small-en-v1.5", &json!({"text": "hello"}));
    assert_eq!(embedding.json()["result"]["shape"], json!([1, 384]));
    let audio = fs::read(golden("whisper/jfk.wav")).unwrap();
    let speech = server.post("@cf/openai/whisper-tiny-en", "audio/wav", &audio);
    assert!(speech.text().contains("country"), "{}", speech.text());
    println!("{PROOF}");
}
