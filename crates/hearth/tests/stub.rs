//! Stubs: a machine without weights and without a network answers every name, and says what answers.
#![allow(clippy::unwrap_used)] // helpers of tests panic as tests do

use std::path::Path;
use std::process::{Command, Output};

use base64::Engine;
use catalog::{Catalog, ModelCard};
use serde_json::{Value, json};
use testkit::{Answer, Server, frames};

const STUB: Option<&str> = Some("stub; grade=stub");
const LLAMA: &str = "@cf/meta/llama-3.1-8b-instruct-fast";
const BGE: &str = "@cf/baai/bge-base-en-v1.5";

fn serve(home: &Path, arguments: &[&str]) -> Server {
    Server::start(env!("CARGO_BIN_EXE_hearth"), home, arguments)
}

fn hearth(home: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hearth"))
        .args(arguments)
        .args(["--offline", "--home"])
        .arg(home)
        .current_dir(home)
        .output()
        .unwrap()
}

fn json_of(output: &Output) -> Value {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Half a second of a tone: WAV, one channel of 16 bits at 16 kHz.
fn sound() -> Vec<u8> {
    let samples = (0..8000_u32).flat_map(|n| ((n % 50) as i16 * 300).to_le_bytes());
    let mut file = b"RIFF\xa4\x3e\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x80\x3e\0\0\0\x7d\0\0\x02\0\x10\0data\x80\x3e\0\0".to_vec();
    file.extend(samples);
    file
}

/// A PNG file of 8 by 8 greys.
const PICTURE_BASE64: &str = "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAAJklEQVR4nDXFtQEAIADAsOLO/+eylCyBEFMutf07PvCJL3zjB78PMigBwdG4MWQAAAAASUVORK5CYII=";

fn picture() -> Vec<u8> {
    base64::engine::general_purpose::STANDARD
        .decode(PICTURE_BASE64)
        .unwrap()
}

/// The smallest request of a model, by the class of its inputs.
fn ask(server: &Server, card: &ModelCard) -> Answer {
    let name = &card.name;
    let json = |input: Value| server.run(name, &input);
    let messages = json!([{"role": "user", "content": "hello there"}]);
    match card.schema_class.as_str() {
        "asr-whisper" | "asr-nova-3" | "asr-nemotron-speech" | "vad-smart-turn" => {
            server.post(name, "audio/wav", &sound())
        }
        "asr-whisper-turbo" => {
            let sound = base64::engine::general_purpose::STANDARD.encode(sound());
            json(json!({"audio": sound}))
        }
        "image-classification" | "object-detection" | "image-to-text" => {
            server.post(name, "application/octet-stream", &picture())
        }
        "moondream" => {
            let image = format!("data:image/png;base64,{PICTURE_BASE64}");
            json(json!({"image": image, "stream": false}))
        }
        "t2i-flux-2" => {
            let body = b"--cut\r\ncontent-disposition: form-data; name=\"prompt\"\r\n\r\na fox\r\n--cut--\r\n";
            server.post(name, "multipart/form-data; boundary=cut", body)
        }
        "t2i-sd" | "t2i-phoenix" | "t2i-lucid" => {
            json(json!({"prompt": "a fox", "width": 256, "height": 256}))
        }
        "t2i-flux-1" => json(json!({"prompt": "a fox"})),
        "decision-clef" => {
            let question = json!({"type": "noul", "instructions": "Is it day?"});
            json(json!({"model": "clef", "state": {"hour": 12}, "questions": {"day": question}}))
        }
        "emb-qwen3" => json(json!({"queries": "hello"})),
        "reranker" => {
            json(json!({"query": "hello", "contexts": [{"text": "hello"}, {"text": "bye"}]}))
        }
        "summarization" => json(json!({"input_text": "hello there"})),
        "text-classification" => json(json!({"text": "good"})),
        "translation-m2m100" => json(json!({"text": "hello", "target_lang": "fr"})),
        "translation-indictrans2" => json(json!({"text": "hello", "target_language": "hin_Deva"})),
        "tts-melotts" => json(json!({"prompt": "hello"})),
        class if class.starts_with("tts-aura") => json(json!({"text": "hello"})),
        class if class.starts_with("emb-") => json(json!({"text": ["hello", "hello there"]})),
        _ => json(json!({"messages": messages})),
    }
}

#[test]
fn every_name_is_answered_without_weights_and_without_a_network() {
    let home = tempfile::tempdir().unwrap();
    let server = serve(home.path(), &["--engine", "stub", "--offline"]);
    let mut answered = 0;
    for card in Catalog::builtin().unwrap().cards() {
        // Names that answer over a WebSocket alone are refused on the run route, whatever serves them.
        if card.schema_class == "asr-deepgram-flux" {
            continue;
        }
        let answer = ask(&server, card);
        let text = String::from_utf8_lossy(&answer.body);
        assert_eq!(answer.status, 200, "{}: {text}", card.name);
        assert_eq!(answer.header("hearth-model"), STUB, "{}", card.name);
        assert!(!answer.body.is_empty(), "{}", card.name);
        answered += 1;
    }
    assert!(answered >= 113, "{answered}");
    assert!(!home.path().join("weights").exists(), "nothing was fetched");
    let log = server.log();
    assert!(log.contains("without a model"), "{log}");
}

#[test]
fn chat_embeddings_and_whisper_answer_as_clients_read_them() {
    let home = tempfile::tempdir().unwrap();
    let server = serve(home.path(), &["--engine=stub", "--offline"]);
    let chat = json!({"messages": [{"role": "user", "content": "How high is Mont Blanc?"}]});
    let whole = server.run(LLAMA, &chat).json()["result"]["response"].clone();
    let whole = whole.as_str().unwrap();
    assert!(
        whole.contains("stub") && whole.contains("Mont Blanc"),
        "{whole}"
    );

    let mut stream = chat.clone();
    stream["stream"] = json!(true);
    let answer = server.run(LLAMA, &stream);
    assert_eq!(answer.header("hearth-model"), STUB);
    let frames = frames(&answer.text());
    let text: String = frames
        .iter()
        .filter_map(|frame| Some(frame["response"].as_str()?.to_owned()))
        .collect();
    assert_eq!(text, whole);
    assert!(frames.len() > 5, "it comes piece by piece");

    let texts = json!({"text": ["a cat on a mat", "the cat is on the mat", "stock prices"]});
    let result = server.run(BGE, &texts).json()["result"].clone();
    assert_eq!(result["shape"], json!([3, 768]));
    let row = |index: usize| -> Vec<f64> {
        let row = result["data"][index].as_array().unwrap();
        row.iter().map(|number| number.as_f64().unwrap()).collect()
    };
    let cosine =
        |a: usize, b: usize| -> f64 { row(a).iter().zip(row(b)).map(|(a, b)| a * b).sum() };
    assert!(cosine(0, 1) > cosine(0, 2) + 0.2);
    assert!((cosine(0, 0) - 1.0).abs() < 1e-4);

    let speech = server
        .post("@cf/openai/whisper", "audio/wav", &sound())
        .json();
    let heard = speech["result"]["text"].as_str().unwrap();
    assert!(heard.contains("stub"), "{heard}");
    let refused = server.post("@cf/openai/whisper", "audio/wav", b"no sound");
    assert_eq!(
        (refused.status, refused.json()["errors"][0]["code"].as_u64()),
        (400, Some(8001))
    );
}

#[test]
fn lists_and_ps_say_that_stubs_answer_and_stop_unloads_them() {
    let home = tempfile::tempdir().unwrap();
    let names = json_of(&hearth(home.path(), &["list", "--engine=stub", "--json"]));
    let names = names.as_array().unwrap();
    assert_eq!(names.len(), Catalog::builtin().unwrap().cards().count());
    for name in names {
        assert_eq!(
            (&name["grade"], &name["weights"]),
            (&json!("stub"), &json!("stub")),
            "{name}"
        );
    }
    let server = serve(home.path(), &["--engine=stub", "--offline"]);
    let chat = json!({"prompt": "hello"});
    assert_eq!(server.run(LLAMA, &chat).status, 200);
    let loaded = server.get("/hearth/ps").json()["models"].clone();
    assert_eq!(loaded.as_array().unwrap().len(), 1);
    assert_eq!(loaded[0]["weights"], "stub");
    assert_eq!(loaded[0]["need"]["total_bytes"], 0);
    let serves = loaded[0]["serves"].as_array().unwrap();
    assert_eq!(serves.len(), names.len());
    let llama = serves.iter().find(|name| name["model"] == LLAMA).unwrap();
    assert_eq!(
        (&llama["grade"], &llama["window"]),
        (&json!("stub"), &json!(128_000))
    );
    let address = server.base.trim_start_matches("http://");
    let stopped = hearth(home.path(), &["stop", "stub", "--listen", address]);
    assert!(
        stopped.status.success(),
        "{}",
        String::from_utf8_lossy(&stopped.stderr)
    );
    assert_eq!(server.get("/hearth/ps").json()["models"], json!([]));
    assert_eq!(server.run(LLAMA, &chat).status, 200, "it comes again");
}

/// A stub never takes the place of weights unless it was allowed, and then says so.
#[test]
fn stubs_stand_in_only_where_they_may() {
    let home = tempfile::tempdir().unwrap();
    let chat = json!({"prompt": "hello"});
    let strict = serve(home.path(), &["--offline"]);
    let refused = strict.run(LLAMA, &chat);
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(refused.text().contains("hearth pull"), "{}", refused.text());

    let kind = serve(home.path(), &["--offline", "--allow-stub"]);
    let answer = kind.run(LLAMA, &chat);
    assert_eq!((answer.status, answer.header("hearth-model")), (200, STUB));
    assert_eq!(kind.run(LLAMA, &chat).status, 200);
    let log = kind.log();
    assert_eq!(
        log.matches(&format!("{LLAMA}: a stub answers")).count(),
        1,
        "{log}"
    );
    assert!(log.contains("hearth pull"), "it says why: {log}");

    let by_name = format!("--use={LLAMA}=stub");
    let one = serve(home.path(), &["--offline", &by_name]);
    assert_eq!(one.run(LLAMA, &chat).header("hearth-model"), STUB);
    assert_eq!(one.run(BGE, &json!({"text": "hello"})).status, 503);
}

#[test]
fn the_file_the_environment_and_run_know_stubs_too() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("hearth.toml"), "engine = \"stub\"\n").unwrap();
    let said = hearth(home.path(), &["run", LLAMA, "hello"]);
    let text = String::from_utf8_lossy(&said.stdout);
    assert!(
        said.status.success() && text.contains("This is a stub"),
        "{text}"
    );
    let settings = json_of(&hearth(home.path(), &["config", "--json"]));
    let engine = settings
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["key"] == "engine")
        .unwrap();
    assert_eq!(
        (&engine["value"], &engine["origin"]),
        (&json!("stub"), &json!("file"))
    );
    for wrong in [&["list", "--grade=exact"][..], &["list", "--engine=magic"]] {
        let refused = hearth(home.path(), wrong);
        let stderr = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains("engine"), "{stderr}");
    }
    let pulled = hearth(home.path(), &["pull", LLAMA]);
    let stderr = String::from_utf8_lossy(&pulled.stderr);
    assert!(stderr.contains("needs no weights"), "{stderr}");
}
