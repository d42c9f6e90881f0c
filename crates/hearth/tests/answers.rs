//! The binary answers real requests with real weights: what the README promises.
#![allow(clippy::unwrap_used)] // helpers of tests panic as tests do

use std::sync::OnceLock;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use serde_json::{Value, json};
use testkit::{Answer, Server, frames, golden, weights_home};

/// One server for all tests of this file.
fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| Server::start(env!("CARGO_BIN_EXE_hearth"), &weights_home(), &[]))
}

fn result(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cf-ai-req-id").map(str::len), Some(36));
    let json = answer.json();
    let keys: Vec<_> = json.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["result", "success", "errors", "messages"]);
    json["result"].clone()
}

const LLAMA: &str = "@cf/meta/llama-3.1-8b-instruct";

#[test]
fn a_chat_is_answered_by_the_twin_and_says_so() {
    let input = json!({
        "messages": [{"role": "user", "content": "What is the capital of France?"}],
        "temperature": 0,
        "max_tokens": 24,
    });
    let answer = server().run(LLAMA, &input);
    let result = result(&answer);
    assert!(
        result["response"].as_str().unwrap().contains("Paris"),
        "{result}"
    );
    assert_eq!(result["tool_calls"], json!([]));
    let usage = &result["usage"];
    let total =
        usage["prompt_tokens"].as_u64().unwrap() + usage["completion_tokens"].as_u64().unwrap();
    assert_eq!(usage["total_tokens"], json!(total));
    assert_eq!(
        answer.header("hearth-model"),
        Some("smollm2-135m-instruct; grade=twin")
    );
    assert_eq!(answer.header("hearth-deprecated"), Some("2026-05-30"));
}

#[test]
fn a_stream_says_the_same_as_the_whole_answer() {
    let mut input = json!({"prompt": "Count to five.", "temperature": 0, "max_tokens": 20});
    let whole = result(&server().run(LLAMA, &input));
    input["stream"] = json!(true);
    let answer = server().run(LLAMA, &input);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("text/event-stream"));
    let frames = frames(&answer.text());
    let text: String = frames
        .iter()
        .filter_map(|frame| frame["response"].as_str())
        .collect();
    assert_eq!(text, whole["response"]);
    assert_eq!(frames.last().unwrap()["usage"], whole["usage"]);
    assert!(frames.len() > 5, "piece by piece");
}

#[test]
fn a_seed_gives_the_same_answer_whatever_runs_beside_it() {
    let input =
        json!({"prompt": "Tell me a story.", "seed": 42, "temperature": 1, "max_tokens": 24});
    let alone = result(&server().run(LLAMA, &input));
    let together: Vec<Value> = std::thread::scope(|scope| {
        let jobs: Vec<_> = (0..6)
            .map(|n| {
                let input = &input;
                let noise = json!({"prompt": format!("Write {n} words."), "max_tokens": 9 + n});
                scope.spawn(move || {
                    let other = scope.spawn(move || server().run(LLAMA, &noise));
                    let answer = result(&server().run(LLAMA, input));
                    assert_eq!(other.join().unwrap().status, 200);
                    answer
                })
            })
            .collect();
        jobs.into_iter().map(|job| job.join().unwrap()).collect()
    });
    for answer in together {
        assert_eq!(answer["response"], alone["response"]);
    }
}

fn vectors(model: &str, width: usize) -> Vec<Vec<f64>> {
    let texts = ["a red apple", "a green pear", "the moon landing of 1969"];
    let answer = server().run(model, &json!({ "text": texts }));
    let result = result(&answer);
    assert_eq!(result["shape"], json!([3, width]));
    assert_eq!(result["pooling"], "mean");
    assert_eq!(
        answer.header("hearth-model"),
        Some("all-minilm-l6-v2; grade=twin")
    );
    let vectors: Vec<Vec<f64>> = serde_json::from_value(result["data"].clone()).unwrap();
    for vector in &vectors {
        let length: f64 = vector.iter().map(|x| x * x).sum();
        assert!((length - 1.0).abs() < 1e-4, "unit length");
    }
    vectors
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[test]
fn embeddings_have_the_width_of_the_name_and_the_same_cosines() {
    let small = vectors("@cf/baai/bge-small-en-v1.5", 384);
    let base = vectors("@cf/baai/bge-base-en-v1.5", 768);
    let large = vectors("@cf/baai/bge-large-en-v1.5", 1024);
    for (i, j) in [(0, 1), (0, 2), (1, 2)] {
        let expected = cosine(&small[i], &small[j]);
        for wide in [&base, &large] {
            assert!((cosine(&wide[i], &wide[j]) - expected).abs() < 1e-4);
        }
    }
    assert!(cosine(&small[0], &small[1]) > cosine(&small[0], &small[2]) + 0.1);
}

#[test]
fn speech_is_transcribed_from_bytes_and_from_numbers() {
    let audio = std::fs::read(golden("whisper/jfk.wav")).unwrap();
    let grades = [
        ("@cf/openai/whisper-tiny-en", "whisper-tiny-en; grade=exact"),
        ("@cf/openai/whisper", "whisper-base; grade=twin"),
    ];
    for (model, header) in grades {
        let answer = server().post(model, "application/octet-stream", &audio);
        let result = result(&answer);
        let text = result["text"].as_str().unwrap().to_lowercase();
        assert!(
            text.contains("ask not what your country can do for you"),
            "{text}"
        );
        let words = text.split_whitespace().count();
        assert_eq!(result["word_count"], json!(words));
        assert!(
            result["vtt"]
                .as_str()
                .unwrap()
                .starts_with("WEBVTT\n\n00.000 --> "),
            "{result}"
        );
        assert_eq!(answer.header("hearth-model"), Some(header));
    }
    let answer = server().post("@cf/openai/whisper-tiny-en", "audio/wav", &audio);
    let words = result(&answer)["words"].clone();
    let words = words.as_array().unwrap();
    assert_eq!((words.len(), &words[0]["word"]), (22, &json!("And")));
    let country = &words[13]; // of "your country can do for you"
    assert!(
        (3.0..9.0).contains(&country["start"].as_f64().unwrap()),
        "{country}"
    );
    let numbers = server().run("@cf/openai/whisper-tiny-en", &json!({ "audio": audio }));
    assert!(
        result(&numbers)["text"]
            .as_str()
            .unwrap()
            .contains("country")
    );
}

#[test]
fn the_large_whisper_takes_options_and_more_than_a_window() {
    const TURBO: &str = "@cf/openai/whisper-large-v3-turbo";
    // The recording, half a minute of silence, and the recording again.
    let mut audio = std::fs::read(golden("whisper/jfk.wav")).unwrap();
    let recording = audio[audio.len() - 2 * 176_000..].to_vec();
    audio.resize(audio.len() + 2 * 30 * 16_000, 0);
    audio.extend(&recording);
    let data = audio.windows(4).position(|word| word == b"data").unwrap();
    for (at, behind) in [(4, 8), (data + 4, data + 8)] {
        let size = (audio.len() - behind) as u32;
        audio[at..at + 4].copy_from_slice(&size.to_le_bytes());
    }
    let audio = BASE64.encode(&audio);
    let heard = result(&server().run(TURBO, &json!({ "audio": audio })));
    let information = &heard["transcription_info"];
    assert_eq!(information["language"], "en");
    assert!(
        (information["duration"].as_f64().unwrap() - 52.0).abs() < 0.1,
        "{information}"
    );
    let text = heard["text"].as_str().unwrap().to_lowercase();
    assert_eq!(text.matches("fellow americans").count(), 2, "{text}");
    let segments = heard["segments"].as_array().unwrap();
    let last = &segments[segments.len() - 1];
    assert!(last["start"].as_f64().unwrap() > 40.0, "{last}");
    let keys: Vec<_> = last.as_object().unwrap().keys().collect();
    let wanted = [
        "start",
        "end",
        "text",
        "temperature",
        "avg_logprob",
        "compression_ratio",
        "no_speech_prob",
        "words",
    ];
    assert_eq!(keys, wanted);
    assert!(
        last["words"][0]["word"].as_str().unwrap().starts_with(' '),
        "{last}"
    );
    assert!(
        heard["vtt"].as_str().unwrap().contains("\n\n00:4"),
        "{}",
        heard["vtt"]
    );

    let german = BASE64.encode(std::fs::read(golden("whisper/espeak-de.wav")).unwrap());
    let input = json!({"audio": german, "task": "translate", "language": "de", "vad_filter": true});
    let translated = result(&server().run(TURBO, &input));
    let text = translated["text"].as_str().unwrap().to_lowercase();
    assert!(text.contains("morning"), "{text}");
    assert_eq!(translated["transcription_info"]["language"], "de");
    let searched = result(&server().run(TURBO, &json!({"audio": german, "beam_size": 3})));
    let text = searched["text"].as_str().unwrap().to_lowercase();
    assert!(text.contains("guten morgen"), "{text}");
}

#[test]
fn bad_input_is_refused_and_the_next_request_is_answered() {
    let wrong = [
        (LLAMA, "{", 400, 3003),
        (LLAMA, "{}", 400, 5006),
        (LLAMA, r#"{"prompt":"a","max_tokens":"9"}"#, 400, 5006),
        (LLAMA, r#"{"prompt":"a","max_tokens":100000}"#, 413, 5021),
        ("@cf/nobody/nothing", r#"{"prompt":"a"}"#, 400, 5007),
        ("@cf/openai/whisper", "this is no audio", 400, 8001),
        ("@cf/openai/whisper", r#"{"audio":[1,2,3]}"#, 400, 8001),
        ("@cf/baai/bge-small-en-v1.5", r#"{"text":7}"#, 400, 5006),
    ];
    for (model, body, status, code) in wrong {
        let answer = server().post(model, "application/octet-stream", body.as_bytes());
        assert_eq!(answer.status, status, "{model} {body}: {}", answer.text());
        let json = answer.json();
        assert_eq!(
            json["errors"][0]["code"],
            json!(code),
            "{model} {body}: {json}"
        );
        assert_eq!(json["success"], json!(false));
        let id = answer.header("cf-ai-req-id").unwrap();
        let message = json["errors"][0]["message"].as_str().unwrap();
        assert!(
            message.starts_with("AiError: ") && message.ends_with(&format!(" ({id})")),
            "{message}"
        );
    }
    let answer = server().run(LLAMA, &json!({"prompt": "Hi", "max_tokens": 2}));
    assert_eq!(answer.status, 200);
}

#[test]
fn it_listens_at_once() {
    // The promise is 200 ms on a quiet machine; tests run on busy ones.
    assert!(
        server().listened_after < Duration::from_secs(2),
        "{:?}",
        server().listened_after
    );
}
