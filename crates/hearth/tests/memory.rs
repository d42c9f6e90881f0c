//! A server with little memory: models make room for each other, leave nothing behind, and say so.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)] // helpers of tests panic as tests do

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::{Server, weights, weights_home};

const CHAT: &str = "@cf/meta/llama-3.2-1b-instruct";
const EMBED: &str = "@cf/baai/bge-base-en-v1.5";
/// The most that a server takes, in hundredths of the file of a small model that it serves: where the system maps pages of
/// the program one by one when it is asked to, and where it does not.
const MOST_OF_FILE: [u64; 2] = [128, 140];
/// What may be left after a model has gone, in bytes.
const LEFT_MAX_BYTES: u64 = 32 << 20;

fn serve(arguments: &[&str]) -> Server {
    Server::start(env!("CARGO_BIN_EXE_hearth"), &weights_home(), arguments)
}

fn ask(server: &Server, model: &str) {
    let input = json!({"prompt": "Hi", "text": "Hi", "max_tokens": 2});
    let input = if model == CHAT {
        json!({"prompt": input["prompt"], "max_tokens": 2})
    } else {
        json!({ "text": input["text"] })
    };
    let answer = server.run(model, &input);
    assert_eq!(answer.status, 200, "{}", answer.text());
}

fn ps(server: &Server) -> Value {
    server.get("/hearth/ps").json()
}

fn loaded(server: &Server) -> Vec<String> {
    let page = ps(server);
    let models = page["models"].as_array().unwrap().iter();
    models
        .map(|model| model["weights"].as_str().unwrap().to_owned())
        .collect()
}

fn command(server: &Server, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hearth"))
        .args(arguments)
        .args(["--listen", server.base.trim_start_matches("http://")])
        .current_dir(std::env::temp_dir())
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The client's answer can be a moment ahead of the device.
#[track_caller]
fn until(mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < end, "it never came true");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What the server's open files are, in the system's words.
fn files(server: &Server) -> Vec<String> {
    let files = std::fs::read_dir(format!("/proc/{}/fd", server.id())).unwrap();
    let targets = files
        .flatten()
        .flat_map(|file| std::fs::read_link(file.path()));
    targets
        .map(|target| target.to_string_lossy().into_owned())
        .collect()
}

/// How many there are, but the one by which pages are mapped one by one: it comes when the server already answers.
fn open_files(server: &Server) -> usize {
    let files = files(server);
    files.iter().filter(|file| !is_listener(file)).count()
}

fn is_listener(file: &str) -> bool {
    file.contains("userfaultfd")
}

/// Whether the system maps pages of the program one by one.
fn has_listener(server: &Server) -> bool {
    files(server).iter().any(|file| is_listener(file))
}

/// Memory that is the process's own: mapped files are the system's.
fn own_bytes(server: &Server) -> u64 {
    status_bytes(server, "RssAnon:")
}

/// An amount of memory in the words of `/proc/PID/status`.
fn status_bytes(server: &Server, key: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with(key)).unwrap();
    let kilobytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kilobytes * 1024
}

#[test]
fn a_server_that_answered_never_took_much_more_than_the_model_s_file() {
    let server = serve(&["--threads", "2"]);
    let input = json!({"prompt": "Say something. ".repeat(100), "max_tokens": 16});
    assert_eq!(server.run(CHAT, &input).status, 200);
    let file = weights("smollm2-135m-instruct").join("model.gguf");
    let file = file.metadata().unwrap().len();
    let most = status_bytes(&server, "VmHWM:");
    let hundredths = MOST_OF_FILE[usize::from(!has_listener(&server))];
    println!("{most} bytes at most, the file has {file}, {hundredths} % are allowed");
    assert!(
        most <= file / 100 * hundredths,
        "{most} bytes at most, the file has {file}"
    );
}

#[test]
fn models_take_turns_in_little_memory_and_give_it_back() {
    let needed = {
        let server = serve(&[]);
        ask(&server, CHAT);
        ask(&server, EMBED);
        let page = ps(&server);
        assert_eq!(
            loaded(&server),
            ["all-minilm-l6-v2", "smollm2-135m-instruct"]
        );
        let chat = &page["models"][1];
        let [weights, measured] = [&chat["need"]["weights_bytes"], &chat["measured_bytes"]]
            .map(|bytes| bytes.as_f64().unwrap());
        assert!(
            measured / weights > 0.7 && measured / weights < 1.7,
            "{chat}"
        );
        assert!(page["memory"]["budget_bytes"].as_u64().unwrap() > 1_000_000_000);
        assert_eq!(page["memory"]["keep_alive_seconds"], 300);
        chat["need"]["total_bytes"].as_u64().unwrap()
    };
    let server = serve(&["--memory", &needed.to_string()]);
    let (bytes, files) = (own_bytes(&server), open_files(&server));
    for _ in 0..4 {
        for (model, weights) in [(CHAT, "smollm2-135m-instruct"), (EMBED, "all-minilm-l6-v2")] {
            ask(&server, model);
            assert_eq!(loaded(&server), [weights], "one at a time");
        }
    }
    assert!(
        server
            .log()
            .contains("evicts smollm2-135m-instruct (idle 0 s)"),
        "{}",
        server.log()
    );
    until(|| ps(&server)["models"][0]["busy"] == 0);
    assert_eq!(
        said(&command(&server, &["stop", EMBED])),
        "all-minilm-l6-v2 was unloaded\n"
    );
    assert!(loaded(&server).is_empty());
    let left = own_bytes(&server).saturating_sub(bytes);
    println!("{left} bytes are left after eight loads, {bytes} at the start");
    assert!(
        left < LEFT_MAX_BYTES,
        "{left} bytes are left after eight loads"
    );
    // Connections that were kept open for another request end by themselves.
    until(|| open_files(&server) <= files);
}

#[test]
fn what_does_not_fit_is_refused_with_numbers() {
    let server = serve(&["--memory", "150MB"]);
    let answer = server.run(CHAT, &json!({"prompt": "Hi"}));
    assert_eq!(answer.status, 503, "{}", answer.text());
    let message = answer.json()["errors"][0]["message"]
        .as_str()
        .unwrap()
        .to_owned();
    for part in ["weights 136 MB", "KV cache", "150 MB", "--memory"] {
        assert!(message.contains(part), "{part} in {message}");
    }
    ask(&server, EMBED);
}

#[test]
fn little_memory_makes_the_cache_shorter_and_a_request_that_exceeds_it_is_told() {
    let server = serve(&["--memory", "320MB"]);
    ask(&server, CHAT);
    let need = &ps(&server)["models"][0]["need"];
    let bytes = |key: &str| need[key].as_u64().unwrap();
    assert!(bytes("total_bytes") <= 320_000_000, "{need}");
    assert!(
        bytes("cache_bytes") > 100_000_000,
        "what is there is used: {need}"
    );
    // Within the context window, and longer than the cache.
    let answer = server.run(CHAT, &json!({"prompt": "Hi", "max_tokens": 8000}));
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.text().contains("KV cache") && answer.text().contains("--memory"));
}

#[test]
fn idle_models_go_after_their_time_and_pinned_ones_stay() {
    let server = serve(&["--keep-alive", "1s", "--pin", EMBED]);
    ask(&server, EMBED);
    ask(&server, CHAT);
    let table = said(&command(&server, &["ps"]));
    let row = table
        .lines()
        .find(|line| line.starts_with("all-minilm-l6-v2"))
        .unwrap();
    assert!(
        row.contains("Text Embeddings") && row.contains("twin"),
        "{table}"
    );
    assert!(row.contains("512") && row.ends_with("pinned"), "{table}");
    assert!(table.contains("are set aside"), "{table}");
    until(|| loaded(&server).len() == 1);
    assert_eq!(loaded(&server), ["all-minilm-l6-v2"]);
    assert_eq!(
        said(&command(&server, &["stop", "smollm2-135m-instruct"])),
        "smollm2-135m-instruct is not loaded\n"
    );
    let unknown = command(&server, &["stop", "nobody"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("no weights are named nobody"));
}

#[test]
fn wrong_amounts_and_unknown_pins_are_refused_at_the_start() {
    for (arguments, part) in [
        (["--memory", "much"], "8GB"),
        (["--keep-alive", "long"], "5m"),
        (["--pin", "@cf/no/such"], "hearth list"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_hearth"))
            .args(["serve", "--listen", "127.0.0.1:0", "--home"])
            .arg(weights_home())
            .args(arguments)
            .current_dir(std::env::temp_dir())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            stderr.contains(part) && stderr.contains(arguments[0]),
            "{stderr}"
        );
    }
}
