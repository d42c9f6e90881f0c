//! A fine-tune from its upload to its answers.
#![allow(clippy::unwrap_used)] // helpers of tests panic as tests do

use std::fmt::Write as _;
use std::sync::OnceLock;

use serde_json::{Value, json};
use testkit::{Answer, Server, golden};

const MODEL: &str = "@cf/meta/llama-3.3-70b-instruct-fp8-fast";
const OTHER: &str = "@cf/google/gemma-3-12b-it";
const PROMPT: &str = "The quick brown fox jumps over the lazy dog. What is the capital of France?";

/// A server where the tiny Llama stands in for two models, one with the shapes of its adapters and one that adapters of
/// the first are not for.
fn server() -> &'static Server {
    static SERVER: OnceLock<(Server, tempfile::TempDir)> = OnceLock::new();
    let (server, _) = SERVER.get_or_init(|| {
        let home = tempfile::tempdir().unwrap();
        let path = golden("tiny-llama").canonicalize().unwrap();
        let mut rows = format!(
            "[weights.tiny-llama]\narchitecture = \"llama\"\npath = \"{}\"\n",
            path.display()
        );
        for model in [MODEL, OTHER] {
            write!(
                rows,
                "[model.\"{model}\"]\nvariants = [{{ weights = \"tiny-llama\", grade = \"twin\" }}]\n"
            )
            .unwrap();
        }
        let config = home.path().join("hearth.toml");
        std::fs::write(&config, rows).unwrap();
        let data = home.path().join("data");
        let arguments = [
            "--offline",
            "--config",
            config.to_str().unwrap(),
            "--data",
            data.to_str().unwrap(),
        ];
        let server = Server::start(env!("CARGO_BIN_EXE_hearth"), home.path(), &arguments);
        (server, home)
    });
    server
}

fn api(path: &str, content_type: &str, body: &[u8]) -> Value {
    let url = server().run_url(MODEL);
    let base = url.split("/ai/run/").next().unwrap();
    let mut answer = ureq::post(format!("{base}/ai/{path}"))
        .header("authorization", "Bearer any")
        .header("content-type", content_type)
        .send(body)
        .unwrap();
    let text = answer.body_mut().read_to_string().unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Uploads a golden adapter under a name; its id.
fn upload(name: &str, adapter: &str, files: &[&str]) -> String {
    let body = json!({"model": MODEL, "name": name, "description": "d"}).to_string();
    let made = api("finetunes", "application/json", body.as_bytes());
    let id = made["result"]["id"].as_str().unwrap().to_owned();
    for file in files {
        let content = std::fs::read(golden("tiny-llama-lora").join(adapter).join(file)).unwrap();
        let mut form = Vec::new();
        for (field, content) in [("file_name", file.as_bytes()), ("file", &content)] {
            form.extend(
                format!("--edge\r\ncontent-disposition: form-data; name=\"{field}\"; filename=\"{file}\"\r\n\r\n").bytes(),
            );
            form.extend(content);
            form.extend(b"\r\n");
        }
        form.extend(b"--edge--\r\n");
        let path = format!("finetunes/{id}/finetune-assets");
        let told = api(&path, "multipart/form-data; boundary=edge", &form);
        assert_eq!(told["success"], true, "{told}");
    }
    id
}

const FILES: [&str; 2] = ["adapter_config.json", "adapter_model.safetensors"];

fn ask(model: &str, lora: Option<&str>, max_tokens: usize) -> Answer {
    let mut input =
        json!({"prompt": PROMPT, "raw": true, "temperature": 0, "max_tokens": max_tokens});
    if let Some(lora) = lora {
        input["lora"] = lora.into();
    }
    server().run(model, &input)
}

fn said(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["result"]["response"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// The text of a reference's new tokens, up to the end of a turn.
fn text(path: &Value) -> String {
    let vocabulary = std::fs::read(golden("tiny-llama").join("tokenizer.json")).unwrap();
    let tokenizer = tokenizers::Tokenizer::from_bytes(vocabulary).unwrap();
    let ids = path.as_array().unwrap().iter().skip(20);
    let ids: Vec<u32> = ids.map(|id| id.as_u64().unwrap() as u32).collect();
    let end = ids.iter().position(|id| [1, 4].contains(id));
    tokenizer
        .decode(&ids[..end.unwrap_or(ids.len())], true)
        .unwrap()
}

#[test]
fn an_uploaded_adapter_changes_answers_as_torch_says() {
    let reference = std::fs::read(golden("tiny-llama-lora").join("reference.json")).unwrap();
    let reference: Value = serde_json::from_slice(&reference).unwrap();
    let base = text(&reference["base"]["greedy_ids"]);
    assert_eq!(said(&ask(MODEL, None, 32)), base);
    let first = upload("mine-all", "all", &FILES);
    upload("mine-some", "some", &FILES);
    let wanted = ["all", "some"].map(|name| text(&reference["adapters"][name]["greedy_ids"]));
    assert!(wanted[0] != wanted[1] && !wanted.contains(&base));
    // By name, by id, and all at once.
    let asked = [
        (Some("mine-all"), &wanted[0]),
        (Some(first.as_str()), &wanted[0]),
        (Some("mine-some"), &wanted[1]),
        (None, &base),
    ];
    for (lora, wanted) in asked {
        assert_eq!(&said(&ask(MODEL, lora, 32)), wanted, "{lora:?}");
    }
    std::thread::scope(|scope| {
        for _ in 0..3 {
            for (lora, wanted) in asked {
                scope.spawn(move || assert_eq!(&said(&ask(MODEL, lora, 32)), wanted));
            }
        }
    });
}

#[test]
fn adapters_that_cannot_serve_are_refused() {
    let refused = |answer: &Answer| {
        let error = answer.json()["errors"][0].clone();
        (
            answer.status,
            error["code"].clone(),
            error["message"].to_string(),
        )
    };
    upload("half", "all", &FILES[..1]);
    for name in ["unknown", "half"] {
        let (status, code, text) = refused(&ask(MODEL, Some(name), 4));
        assert_eq!((status, code), (400, json!(3039)), "{text}");
    }
    upload("for-llama", "all", &FILES);
    let (status, code, text) = refused(&ask(OTHER, Some("for-llama"), 4));
    assert_eq!((status, code), (400, json!(8007)));
    assert!(text.contains(MODEL) && text.contains(OTHER), "{text}");
    let (status, code, text) = refused(&ask(MODEL, Some("cf-public-magicoder"), 4));
    assert_eq!((status, code), (400, json!(8007)));
    assert!(text.contains("not public"), "{text}");
}
