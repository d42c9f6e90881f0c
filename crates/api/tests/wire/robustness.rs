//! Whatever bytes come in, the answer is one of the service's: no failure of the server's own.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::files::{base64, hollow_png, numbers, png};
use crate::house::{app, binding, path, request, send, settings, streamed};

const MODELS: &[&str] = &[
    "bge",
    "bge-m3",
    "embed-text",
    "embed-qwen3",
    "embed-plamo",
    "whisper",
    "whisper-turbo",
    "nova",
    "nemotron",
    "flux-listen",
    "reranker",
    "sentiment",
    "resnet",
    "detr",
    "llava",
    "moondream",
    "sd",
    "flux-1",
    "flux-2-dev",
    "lucid",
    "phoenix",
    "melotts",
    "aura-1",
    "m2m100",
    "indictrans2",
    "bart",
    "smart-turn",
    "clef",
];

/// A RIFF header that says it holds four gigabytes.
const LYING_WAV: &[u8] = b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\x01\0\x01\0\x80\x3e\0\0\0\x7d\0\0\x02\0\x10\0data\xff\xff\xff\xff";

fn bodies() -> Vec<Vec<u8>> {
    let files = [
        vec![],
        vec![0],
        LYING_WAV.to_vec(),
        hollow_png(65_535, 65_535),
        png(2, 2)[..20].to_vec(),
    ];
    let mut bodies: Vec<Vec<u8>> = vec![
        b"{".to_vec(),
        b"[]".to_vec(),
        b"null".to_vec(),
        b"\"\"".to_vec(),
        b"{}".to_vec(),
        b" ".to_vec(),
        vec![b'['; 300],
        vec![0; 1000],
    ];
    for file in &files {
        bodies.push(file.clone());
        let (list, encoded) = (numbers(file), base64(file));
        let cut = encoded
            .get(..encoded.len().saturating_sub(3))
            .unwrap_or_default();
        for value in [
            list,
            format!(r#""{encoded}""#),
            format!(r#""{cut}""#),
            format!(r#""data:image/png;base64,{cut}""#),
            format!(r#"{{"body":"{encoded}","contentType":"audio/wav"}}"#),
            r#"{"0":300}"#.into(),
            r#"{"18446744073709551616":1}"#.into(),
            "null".into(),
            "[null]".into(),
            "1e400".into(),
            "-0.5".into(),
        ] {
            for field in ["audio", "image", "image_b64", "mask", "text", "multipart"] {
                bodies.push(
                    format!(
                        r#"{{"prompt":"a","text":"1,2","target_lang":"fr","{field}":{value}}}"#
                    )
                    .into_bytes(),
                );
            }
        }
    }
    bodies
}

#[tokio::test]
async fn no_body_makes_a_failure_of_the_servers_own() {
    let app = app(settings());
    let mut random = StdRng::seed_from_u64(11);
    for name in MODELS {
        let model = format!("@cf/test/{name}");
        for body in bodies() {
            // Most bodies once, on one surface; all surfaces see all kinds over the models.
            let ask = match random.random_range(0..3) {
                0 => request("POST", &path(&model), body.clone()),
                1 => match std::str::from_utf8(&body) {
                    Ok(text) => binding(&model, text),
                    Err(_) => request("POST", &path(&model), body.clone()),
                },
                _ => streamed(
                    &model,
                    "application/octet-stream",
                    "{\"prompt\":\"a\"}",
                    body.clone(),
                ),
            };
            let answer = tokio::time::timeout(Duration::from_mins(1), send(&app, ask)).await;
            let answer = answer.unwrap_or_else(|_| panic!("{model} hangs at {body:?}"));
            assert!(
                answer.status.as_u16() < 500,
                "{model} {}: {}",
                String::from_utf8_lossy(&body),
                answer.body
            );
        }
    }
}
