//! The smallest inputs of every schema class: one that is valid, one that is not.

use axum::body::Body;
use axum::http::Request;

use crate::files::{base64, numbers, png, wav};
use crate::house::{binding, path, request, streamed};

/// What is sent.
pub(crate) enum Sent {
    Json(String),
    /// Raw bytes, and what they are called.
    Bytes(&'static str, Vec<u8>),
}

/// What comes back.
pub(crate) enum Back {
    Json,
    File(&'static str),
    Nothing,
}

/// Whether the models of a class write text.
pub(crate) fn is_text(class: &str) -> bool {
    class.starts_with("tg-")
        || ["chat-anyof", "chat-oneof", "gpt-oss", "llama-guard"].contains(&class)
}

/// The smallest valid input of a class, what it gives, and the smallest invalid one.
pub(crate) fn smallest(class: &str) -> (Sent, Back, &'static str) {
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
        class if is_text(class) => (
            json(r#"{"messages":[{"role":"user","content":"hello there"}]}"#),
            Back::Json,
            r#"{"messages":5}"#,
        ),
        class => panic!("no smallest input of {class}"),
    }
}

pub(crate) fn asks(model: &str, sent: &Sent) -> [Request<Body>; 2] {
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
