//! Every name of the catalogue, text generation apart: the smallest input that is valid is answered as
//! its published schema says, the smallest that is not is refused.

use std::collections::HashMap;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use catalog::{Catalog, ModelCard, TaskKind};
use serde_json::Value;

use crate::every_text_model::surface;
use crate::files::{base64, numbers, png, wav};
use crate::house::{Answer, binding, of_all_names, path, request, send, streamed};

/// What is sent.
enum Sent {
    Json(String),
    /// Raw bytes, and what they are called.
    Bytes(&'static str, Vec<u8>),
}

/// What comes back.
enum Back {
    Json,
    File(&'static str),
    Nothing,
}

/// The smallest valid input of a class, what it gives, and the smallest invalid one.
fn smallest(class: &str) -> (Sent, Back, &'static str) {
    let json = |input: &str| Sent::Json(input.into());
    let picture = numbers(&png(2, 2));
    let sound = base64(&wav());
    match class {
        "emb-bge" | "emb-bge-m3" | "emb-text" | "emb-plamo" | "text-classification" => {
            (json(r#"{"text":"1,0"}"#), Back::Json, r#"{"text":5}"#)
        }
        "emb-qwen3" => (
            json(r#"{"queries":"1,0"}"#),
            Back::Json,
            r#"{"instruction":5}"#,
        ),
        "reranker" => (
            json(r#"{"query":"a","contexts":[{"text":"0.5"}]}"#),
            Back::Json,
            "{}",
        ),
        "asr-whisper" => (
            Sent::Json(format!(r#"{{"audio":{}}}"#, numbers(&wav()))),
            Back::Json,
            "{}",
        ),
        "asr-whisper-turbo" | "asr-nemotron-speech" | "vad-smart-turn" => (
            Sent::Json(format!(r#"{{"audio":"{sound}"}}"#)),
            Back::Json,
            "{}",
        ),
        "asr-nova-3" => (Sent::Bytes("audio/wav", wav()), Back::Json, "{}"),
        "asr-deepgram-flux" => (
            json(r#"{"encoding":"linear16","sample_rate":"16000"}"#),
            Back::Nothing,
            "{}",
        ),
        "t2i-sd" => (json(r#"{"prompt":"a"}"#), Back::File("image/png"), "{}"),
        "t2i-phoenix" => (
            json(r#"{"prompt":"a","width":16,"height":16}"#),
            Back::File("image/jpeg"),
            "{}",
        ),
        "t2i-flux-1" | "tts-melotts" => (json(r#"{"prompt":"a"}"#), Back::Json, "{}"),
        "t2i-lucid" => (
            json(r#"{"prompt":"a","width":16,"height":16}"#),
            Back::Json,
            "{}",
        ),
        "t2i-flux-2" => {
            let form =
                "--b\r\ncontent-disposition: form-data; name=\"prompt\"\r\n\r\na\r\n--b--\r\n";
            (
                Sent::Bytes("multipart/form-data", form.into()),
                Back::Json,
                r#"{"prompt":"a"}"#,
            )
        }
        "tts-aura-1" | "tts-aura-2-en" | "tts-aura-2-es" => {
            (json(r#"{"text":"a"}"#), Back::File("audio/mpeg"), "{}")
        }
        "translation-m2m100" => (json(r#"{"text":"a","target_lang":"fr"}"#), Back::Json, "{}"),
        "translation-indictrans2" => (json(r#"{"text":"a"}"#), Back::Json, "{}"),
        "summarization" => (json(r#"{"input_text":"a"}"#), Back::Json, "{}"),
        "image-to-text" => (
            Sent::Json(format!(r#"{{"image":{picture}}}"#)),
            Back::Json,
            r#"{"image":{"a":{}}}"#,
        ),
        "image-classification" | "object-detection" => (
            Sent::Json(format!(r#"{{"image":{picture}}}"#)),
            Back::Json,
            "{}",
        ),
        "moondream" => (
            Sent::Json(format!(
                r#"{{"stream":false,"image":"data:image/png;base64,{}"}}"#,
                base64(&png(2, 2))
            )),
            Back::Json,
            r#"{"temperature":3}"#,
        ),
        "decision-clef" => (
            json(
                r#"{"model":"clef","state":1,"questions":{"a":{"type":"noul","instructions":"i"}}}"#,
            ),
            Back::Json,
            "{}",
        ),
        class => panic!("no smallest input of {class}"),
    }
}

fn asks(model: &str, sent: &Sent) -> [Request<Body>; 2] {
    match sent {
        Sent::Json(input) => [
            request("POST", &path(model), input.clone()),
            binding(model, input),
        ],
        Sent::Bytes(kind, bytes) => {
            let mut rest = request("POST", &path(model), bytes.clone());
            rest.headers_mut()
                .insert("content-type", kind.parse().unwrap());
            [rest, streamed(model, kind, "{}", bytes.clone())]
        }
    }
}

/// The output schema of a class, as published.
fn output(class: &str) -> jsonschema::Validator {
    let place = format!(
        "{}/src/run/schemas/{class}.json",
        env!("CARGO_MANIFEST_DIR")
    );
    let file: Value = serde_json::from_slice(&std::fs::read(place).unwrap()).unwrap();
    let mut schema = file["output"].clone();
    // The published lists leave out what tells their branches apart, so that one answer fits many.
    if let Some(branches) = schema.as_object_mut().unwrap().shift_remove("oneOf") {
        schema["anyOf"] = branches;
    }
    jsonschema::validator_for(&schema).unwrap()
}

fn check(
    card: &ModelCard,
    surface: usize,
    answer: &Answer,
    back: &Back,
    schema: &jsonschema::Validator,
) {
    let name = &card.name;
    assert!(answer.header("cf-ai-req-id").is_some(), "{name}");
    if let Back::Nothing = back {
        assert_eq!(answer.status, 400, "{name}");
        return;
    }
    assert_eq!(answer.status, 200, "{name}: {}", answer.body);
    assert_eq!(
        answer.header("cf-ai-neurons").is_some(),
        card.neurons.is_some(),
        "{name}"
    );
    if let Back::File(kind) = back {
        assert_eq!(answer.header("content-type"), Some(*kind), "{name}");
    } else {
        {
            assert_eq!(
                answer.header("content-type"),
                Some("application/json"),
                "{name}"
            );
            let mut json: Value = serde_json::from_str(&answer.body).unwrap();
            if surface == 0 {
                assert_eq!(json["success"], true);
                json = json["result"].take();
            }
            let errors: Vec<_> = schema.iter_errors(&json).map(|e| e.to_string()).collect();
            assert!(errors.is_empty(), "{name}: {errors:?} in {json}");
        }
    }
}

#[tokio::test]
async fn every_name_answers_its_smallest_input_and_refuses_its_smallest_wrong_one() {
    let catalog = || Catalog::builtin().unwrap();
    for app in [of_all_names(catalog()), surface(catalog())] {
        ask_every_name(&app, &catalog()).await;
    }
}

async fn ask_every_name(app: &Router, catalog: &Catalog) {
    let mut schemas = HashMap::new();
    let mut names = 0;
    for card in catalog.cards() {
        let class = card.schema_class.as_str();
        if card.task == TaskKind::TextGeneration && class != "decision-clef" {
            continue;
        }
        names += 1;
        let (sent, back, wrong) = smallest(class);
        let schema = schemas.entry(class).or_insert_with(|| output(class));
        for (surface, ask) in asks(&card.name, &sent).into_iter().enumerate() {
            let answer = send(app, ask).await;
            check(card, surface, &answer, &back, schema);
        }
        let code = [r#""code":5006"#, r#""internalCode":5006"#];
        let wrong = asks(&card.name, &Sent::Json(wrong.into()));
        for (ask, code) in wrong.into_iter().zip(code) {
            let answer = send(app, ask).await;
            assert_eq!(answer.status, 400, "{}", card.name);
            assert!(answer.body.contains(code), "{}: {}", card.name, answer.body);
        }
    }
    assert_eq!(names, 42);
}
