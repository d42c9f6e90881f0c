//! The binary answers with encoders of every kind, from `hearth.toml` to JSON: tiny checkpoints stand in for
//! the real ones under their names.
#![allow(clippy::unwrap_used)] // helpers of tests panic as tests do

use std::sync::OnceLock;

use serde_json::{Value, json};
use testkit::{Answer, Server, golden};

/// Names, and the architecture and the folder of what stands in for each.
const STANDING_IN: [(&str, &str, &str); 5] = [
    ("@cf/baai/bge-m3", "xlm-roberta", "tiny-xlmr-embed"),
    (
        "@cf/baai/bge-reranker-base",
        "xlm-roberta-reranker",
        "tiny-xlmr-reranker",
    ),
    (
        "@cf/huggingface/distilbert-sst-2-int8",
        "distilbert-classifier",
        "tiny-distilbert-sst2",
    ),
    (
        "@cf/google/embeddinggemma-300m",
        "gemma3-embedding",
        "tiny-embeddinggemma",
    ),
    (
        "@cf/qwen/qwen3-embedding-0.6b",
        "qwen3-embedding",
        "tiny-qwen3-embedding",
    ),
];

fn server() -> &'static Server {
    static SERVER: OnceLock<(Server, tempfile::TempDir)> = OnceLock::new();
    let (server, _) = SERVER.get_or_init(|| {
        let home = tempfile::tempdir().unwrap();
        let rows = STANDING_IN.map(|(model, architecture, folder)| {
            let path = golden(folder).canonicalize().unwrap();
            let path = path.display();
            format!(
                "[weights.{folder}]\narchitecture = \"{architecture}\"\npath = \"{path}\"\n\
                 [model.\"{model}\"]\nvariants = [{{ weights = \"{folder}\", grade = \"twin\" }}]\n"
            )
        });
        let config = home.path().join("hearth.toml");
        std::fs::write(&config, rows.concat()).unwrap();
        let config = config.to_str().unwrap();
        let arguments = ["--offline", "--config", config];
        let server = Server::start(env!("CARGO_BIN_EXE_hearth"), home.path(), &arguments);
        (server, home)
    });
    server
}

fn result(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["result"].clone()
}

fn reference(folder: &str) -> Value {
    let bytes = std::fs::read(golden(folder).join("reference.json")).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    let numbers = value.as_array().unwrap().iter();
    numbers.map(|number| number.as_f64().unwrap()).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[test]
fn a_reranker_scores_contexts_best_first() {
    let model = "@cf/baai/bge-reranker-base";
    let folder = "tiny-xlmr-reranker";
    let told = reference(folder);
    let (pairs, expected) = (&told["pairs"], numbers(&told["scores"]));
    let input = json!({
        "query": pairs[0][0],
        "contexts": [{"text": pairs[0][1]}, {"text": pairs[1][1]}],
    });
    let answer = server().run(model, &input);
    let result = result(&answer);
    assert_eq!(
        answer.header("hearth-model"),
        Some("tiny-xlmr-reranker; grade=twin")
    );
    let ranks = result["response"].as_array().unwrap();
    assert_eq!(ranks.len(), 2);
    let best = usize::from(expected[1] > expected[0]);
    assert_eq!(ranks[0]["id"], json!(best));
    for rank in ranks {
        let id = rank["id"].as_u64().unwrap() as usize;
        let score = rank["score"].as_f64().unwrap();
        assert!((score - expected[id]).abs() < 1e-4, "{rank}");
    }
    let long = json!({"query": "Paris", "contexts": [{"text": "Paris ".repeat(3000)}], "top_k": 1});
    let answer = server().run(model, &long);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("hearth-truncated"), Some("1"));
}

#[test]
fn a_classifier_gives_both_labels_in_their_order() {
    let told = reference("tiny-distilbert-sst2");
    let expected = numbers(&told["probabilities"][0]);
    let input = json!({"text": told["texts"][0]});
    let labels = result(&server().run("@cf/huggingface/distilbert-sst-2-int8", &input));
    let labels = labels.as_array().unwrap();
    assert_eq!(labels.len(), 2);
    for ((label, name), expected) in labels.iter().zip(["NEGATIVE", "POSITIVE"]).zip(expected) {
        assert_eq!(label["label"], json!(name));
        let score = label["score"].as_f64().unwrap();
        assert!((score - expected).abs() < 1e-4, "{label}");
    }
}

#[test]
fn every_embedding_is_of_unit_length_and_as_wide_as_its_name_says() {
    for (model, width, input) in [
        (
            "@cf/baai/bge-m3",
            1024,
            json!({"text": ["Paris", "Hello, world!"]}),
        ),
        (
            "@cf/google/embeddinggemma-300m",
            768,
            json!({"text": ["Paris", "Hello, world!"]}),
        ),
        (
            "@cf/qwen/qwen3-embedding-0.6b",
            1024,
            json!({"queries": "Paris", "documents": ["Hello, world!"]}),
        ),
    ] {
        let result = result(&server().run(model, &input));
        assert_eq!(result["shape"], json!([2, width]), "{model}");
        let rows: Vec<_> = result["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(numbers)
            .collect();
        for row in &rows {
            assert!((dot(row, row) - 1.0).abs() < 1e-4, "{model}");
        }
        assert!(dot(&rows[0], &rows[1]).abs() < 0.9999, "{model}");
    }
}

#[test]
fn bge_m3_ranks_contexts_by_their_likeness_and_refuses_what_is_too_long() {
    let model = "@cf/baai/bge-m3";
    let texts = ["The capital of France is Paris.", "Hello, world!"];
    let vectors = result(&server().run(model, &json!({"text": ["France", texts[0], texts[1]]})));
    let rows: Vec<_> = vectors["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(numbers)
        .collect();
    let contexts = texts.map(|text| json!({ "text": text }));
    let ranked = result(&server().run(model, &json!({"query": "France", "contexts": contexts})));
    let ranks = ranked["response"].as_array().unwrap();
    let scores: Vec<f64> = ranks.iter().map(|r| r["score"].as_f64().unwrap()).collect();
    assert!(scores[0] >= scores[1]);
    for rank in ranks {
        let id = rank["id"].as_u64().unwrap() as usize;
        let likeness = dot(&rows[0], &rows[id + 1]);
        assert!((rank["score"].as_f64().unwrap() - likeness).abs() < 1e-4);
    }
    let long = "Paris ".repeat(200);
    let answer = server().run(model, &json!({ "text": long }));
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert!(
        answer.text().contains("Max context reached"),
        "{}",
        answer.text()
    );
    let answer = server().run(model, &json!({"text": long, "truncate_inputs": true}));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("hearth-truncated"), Some("1"));
}
