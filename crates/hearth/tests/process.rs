//! The binary as a process: what it refuses to start with, and how it ends.
#![allow(clippy::unwrap_used)] // helpers of tests panic as tests do

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use testkit::{Server, weights_home};

fn hearth(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hearth"))
        .args(arguments)
        .current_dir(std::env::temp_dir())
        .env("HF_HUB_OFFLINE", "1")
        .env("HEARTH_HOME", weights_home())
        .output()
        .unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn a_public_address_needs_a_token() {
    for address in ["0.0.0.0:0", "[::]:0", "192.168.1.2:80", "8.8.8.8:80"] {
        let output = hearth(&["serve", "--listen", address]);
        assert_eq!(output.status.code(), Some(2), "{address}");
        assert!(
            stderr(&output).contains("no token is set"),
            "{}",
            stderr(&output)
        );
        assert!(stderr(&output).contains("--token"), "it says how");
    }
}

#[test]
fn a_taken_port_is_said_plainly() {
    let server = Server::start(env!("CARGO_BIN_EXE_hearth"), &weights_home(), &[]);
    let address = server.base.trim_start_matches("http://").to_owned();
    let output = hearth(&["serve", "--listen", &address]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("is taken by another program"),
        "{}",
        stderr(&output)
    );
    assert!(stderr(&output).contains("--listen"), "it says what to do");
}

/// A service manager may close what it does not read.
#[test]
fn a_server_whose_output_nobody_reads_answers() {
    let address = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_hearth"))
        .args(["serve", "--offline", "--listen", &address.to_string()])
        .current_dir(std::env::temp_dir())
        .env("HEARTH_HOME", weights_home())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop((child.stdout.take(), child.stderr.take()));
    let end = Instant::now() + Duration::from_secs(20);
    let greeting = loop {
        match ureq::get(format!("http://{address}/")).call() {
            Ok(answer) => break answer.status().as_u16(),
            Err(error) => assert!(Instant::now() < end, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let left = child.try_wait().unwrap();
    let _ = child.kill(); // it may have ended by itself
    let _ = child.wait();
    assert_eq!((greeting, left), (200, None));
}

#[test]
fn it_ends_cleanly_when_asked() {
    let server = Server::start(env!("CARGO_BIN_EXE_hearth"), &weights_home(), &[]);
    assert_eq!(server.get("/").status, 200);
    assert!(server.terminate().success());
}

#[test]
fn a_running_answer_is_finished_before_the_end() {
    let server = Server::start(env!("CARGO_BIN_EXE_hearth"), &weights_home(), &[]);
    let model = "@cf/meta/llama-3.2-1b-instruct";
    assert_eq!(
        server
            .run(model, &json!({"prompt": "Hi", "max_tokens": 1}))
            .status,
        200
    );
    let url = server.run_url(model);
    let asked = std::thread::spawn(move || {
        ureq::post(url)
            .header("authorization", "Bearer any")
            .send(json!({"prompt": "Tell me a story.", "max_tokens": 60}).to_string())
            .map(|answer| answer.status().as_u16())
    });
    std::thread::sleep(Duration::from_millis(400));
    assert!(server.terminate().success());
    assert_eq!(asked.join().unwrap().unwrap(), 200);
}

#[test]
fn a_token_that_is_set_is_the_only_one() {
    let server = Server::start(
        env!("CARGO_BIN_EXE_hearth"),
        &weights_home(),
        &["--token", "secret"],
    );
    let answer = server.run("@cf/meta/llama-3.2-1b-instruct", &json!({"prompt": "Hi"}));
    assert_eq!(answer.status, 401);
    assert_eq!(
        answer.json()["errors"][0],
        json!({"code": 10000, "message": "Authentication error"})
    );
    assert!(!server.log().contains("secret"));
}

/// The file whose presence tells a test that it is the process that is killed.
const TO_BE_KILLED: &str = "to-be-killed";
const KILLED: &str = "a_process_that_is_killed_with_a_server";

#[test]
fn what_a_test_started_ends_with_the_test_s_process() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(TO_BE_KILLED), "").unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", KILLED, "--nocapture"])
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let address = lines.find_map(|line| Some(line.unwrap().split_once("at http://")?.1.to_owned()));
    let address = address.unwrap();
    assert!(TcpStream::connect(&address).is_ok());
    child.kill().unwrap(); // nothing of it is dropped
    child.wait().unwrap();
    let killed = Instant::now();
    while TcpStream::connect(&address).is_ok() {
        assert!(killed.elapsed() < Duration::from_secs(20), "it runs on");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The child of the test above. Run by itself it has nothing to do.
#[test]
fn a_process_that_is_killed_with_a_server() {
    if !std::fs::exists(TO_BE_KILLED).unwrap() {
        return;
    }
    let options = ["--engine", "stub", "--no-ledger"];
    let server = Server::start(env!("CARGO_BIN_EXE_hearth"), &weights_home(), &options);
    println!("at {}", server.base);
    std::thread::sleep(Duration::from_mins(10));
}

/// An answer that does not wait for the body, such as that of a wrong name, leaves the connection usable.
#[test]
fn a_connection_outlives_an_early_answer() {
    let options = ["--engine", "stub", "--no-auth"];
    let server = Server::start(env!("CARGO_BIN_EXE_hearth"), &weights_home(), &options);
    let address = server.base.trim_start_matches("http://");
    let mut connection = BufReader::new(TcpStream::connect(address).unwrap());
    let body = r#"{"prompt":"Hi"}"#;
    for model in [
        "@cf/no/such",
        "@cf/no/such",
        "@cf/meta/llama-3.2-1b-instruct",
    ] {
        let length = body.len();
        let head = format!(
            "POST /client/v4/accounts/a/ai/run/{model} HTTP/1.1\r\nHost: {address}\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        );
        connection.get_mut().write_all(head.as_bytes()).unwrap();
        // The head is read and judged by itself.
        std::thread::sleep(Duration::from_millis(100));
        connection.get_mut().write_all(body.as_bytes()).unwrap();
        let (mut status, mut length) = (String::new(), 0);
        connection.read_line(&mut status).unwrap();
        let is_known = model.contains("meta");
        assert_eq!(status.contains("200"), is_known, "{model}: {status}");
        let mut line = String::from("the first");
        while line.trim() != "" {
            line.clear();
            connection.read_line(&mut line).unwrap();
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut answer = vec![0; length];
        connection.read_exact(&mut answer).unwrap();
        assert!(!answer.is_empty());
    }
}

#[test]
fn offline_without_weights_says_what_to_do() {
    let empty = tempfile::tempdir().unwrap();
    let server = Server::start(env!("CARGO_BIN_EXE_hearth"), empty.path(), &["--offline"]);
    let answer = server.run("@cf/meta/llama-3.2-1b-instruct", &json!({"prompt": "Hi"}));
    assert_eq!(answer.status, 503, "{}", answer.text());
    let message = answer.json()["errors"][0]["message"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(message.contains("hearth pull"), "{message}");
}

#[test]
fn run_prints_text_vectors_and_transcripts() {
    let text = hearth(&["run", "@cf/meta/llama-3.2-1b-instruct", "Say hello."]);
    assert!(text.status.success(), "{}", stderr(&text));
    assert!(text.stdout.len() > 3);
    let vector = hearth(&["run", "@cf/baai/bge-base-en-v1.5", "hello"]);
    assert!(
        String::from_utf8(vector.stdout)
            .unwrap()
            .starts_with("768 numbers: ")
    );
    let audio = testkit::golden("whisper/jfk.wav");
    let speech = hearth(&[
        "run",
        "@cf/openai/whisper-tiny-en",
        "--file",
        audio.to_str().unwrap(),
    ]);
    assert!(
        String::from_utf8(speech.stdout)
            .unwrap()
            .contains("country")
    );
    let json = hearth(&["run", "@cf/baai/bge-small-en-v1.5", "hello", "--json"]);
    let value: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(value["shape"], json!([1, 384]));
}

#[test]
fn a_wrong_name_is_refused_by_every_command() {
    for arguments in [
        ["run", "@cf/no/such", "Hi"].as_slice(),
        &["pull", "@cf/no/such"],
    ] {
        let output = hearth(arguments);
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(stderr(&output).contains("hearth list"));
    }
}

#[test]
fn list_shows_every_name_with_its_grade() {
    let output = hearth(&["list", "--json"]);
    let rows: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    let row = rows
        .iter()
        .find(|row| row["name"] == "@cf/openai/whisper-tiny-en")
        .unwrap();
    assert_eq!(row["grade"], "exact");
    assert_eq!(row["weights"], "whisper-tiny-en");
}

#[test]
fn a_wrong_configuration_names_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hearth.toml");
    std::fs::write(&file, "lisen = \"127.0.0.1:1\"\n").unwrap();
    let output = hearth(&["--config", file.to_str().unwrap(), "list"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("lisen"), "{}", stderr(&output));
}
