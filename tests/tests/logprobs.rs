//! How likely tokens were: the numbers are torch's, and each is told with its text.
#![allow(clippy::unwrap_used)] // helpers of tests panic as tests do

use std::sync::Arc;

use engine::model::StepCompanion;
use engine::{Engine, Lane, Likelihood, Loader, Scored};
use models::device::Device;
use models::{ChatCompanion, Files, Fit, decoder};
use proptest::prelude::*;
use serde_json::Value;
use tasks::{
    Chat, ChatEvent, ChatOptions, ChatRequest, Failure, Finish, Grade, Prompt, Sampling, Served,
    TokenLogprobs, Usage,
};
use testkit::golden;

struct TinyLlama;

impl Loader for TinyLlama {
    fn choose(&self, _: &str) -> Result<Served, Failure> {
        Ok(Served {
            weights: "tiny-llama".into(),
            grade: Grade::Exact,
        })
    }
    fn load(&self, _: &Served) -> Result<Lane, Failure> {
        let files = Files::new(golden("tiny-llama"));
        models::load("llama", &files, &Device::Cpu, Fit::default())
            .map_err(|error| Failure::Unavailable(error.to_string()))
    }
}

fn ask(prompt: &str, logprobs: Option<u32>) -> ChatRequest {
    ChatRequest {
        prompt: Prompt::Raw(prompt.into()),
        max_tokens: Some(32),
        sampling: Sampling::greedy(),
        window: 256,
        options: ChatOptions {
            logprobs,
            ..ChatOptions::default()
        },
    }
}

/// Text, and what was told of tokens.
async fn answer(engine: &Engine, request: ChatRequest) -> (String, Vec<TokenLogprobs>) {
    let mut replies = engine.submit::<Chat>("tiny", request).await.unwrap();
    let (mut text, mut told) = (String::new(), Vec::new());
    while let Some(event) = replies.next().await {
        match event.unwrap() {
            ChatEvent::Text(more) => text.push_str(&more),
            ChatEvent::Logprobs(more) => told.extend(more),
            _ => {}
        }
    }
    (text, told)
}

const PROMPT: &str = "The quick brown fox jumps over the lazy dog. What is the capital of France?";

#[tokio::test]
async fn golden_logprobs_of_a_greedy_path() {
    let reference = std::fs::read(golden("tiny-llama-lora").join("reference.json")).unwrap();
    let reference: Value = serde_json::from_slice(&reference).unwrap();
    let tokens = reference["base"]["tokens"].as_array().unwrap();
    let engine = Engine::start(Arc::new(TinyLlama), "cpu").unwrap();
    let (text, told) = answer(&engine, ask(PROMPT, Some(5))).await;
    assert_eq!(told.len(), tokens.len());
    let close = |told: f32, wanted: &Value| {
        let difference = f64::from(told) - wanted.as_f64().unwrap();
        // The cache is in half precision: a logit is within 0.02 of float32's (`models/tests/decoder.rs`).
        assert!(difference.abs() < 0.02, "{told} is not {wanted}");
    };
    for (told, wanted) in told.iter().zip(tokens) {
        close(told.token.logprob, &wanted["logprob"]);
        for (told, wanted) in told
            .top
            .iter()
            .zip(wanted["top_logprobs"].as_array().unwrap())
        {
            close(told.logprob, wanted);
        }
        assert_eq!(told.top.len(), 5);
        assert_eq!(told.top[0], told.token, "greedy");
    }
    let spelt: Vec<u8> = told
        .iter()
        .flat_map(|told| told.token.bytes.to_vec())
        .collect();
    assert_eq!(String::from_utf8_lossy(&spelt), text);

    // What a request does to the choice changes nothing of what the model holds likely.
    let mut hot = ask(PROMPT, Some(1));
    hot.sampling.temperature = 5.0;
    hot.sampling.top_k = Some(1);
    hot.options.logit_bias = vec![(196, -100.0)];
    let (_, hot) = answer(&engine, hot).await;
    assert_eq!(hot[0].top[0], told[0].token, "it was the likeliest");
    assert_eq!(hot[0].token, told[0].top[1], "and was forbidden");
    // Nobody asked.
    let (same, none) = answer(&engine, ask(PROMPT, None)).await;
    assert_eq!((same, none), (text, Vec::new()));
}

fn companion() -> Arc<ChatCompanion> {
    let files = Files::new(golden("tiny-llama"));
    decoder::load(&files, &Device::Cpu).unwrap().0
}

/// The pieces of an answer of these tokens, each with the bytes of the tokens that are told with it.
fn pieces(companion: &ChatCompanion, tokens: &[u32], stops: &[String]) -> Vec<(String, Vec<u8>)> {
    let mut request = ask("a", Some(0));
    request.max_tokens = Some(200);
    request.options.stop = stops.to_vec();
    let mut writer = companion.admit(request).unwrap().writer;
    let mut out = Vec::new();
    let mut finish = Finish::Length;
    for (place, &token) in tokens.iter().enumerate() {
        writer.likelihood(Likelihood {
            chosen: Scored {
                token,
                logprob: -(place as f32),
            },
            top: Vec::new(),
        });
        if let Some(ended) = writer.token(token, &mut out) {
            finish = ended;
            break;
        }
    }
    writer.finish(finish, Usage::default(), &mut out);
    let mut pieces = Vec::new();
    let (mut spelt, mut next) = (Vec::new(), 0.0_f32);
    for event in out {
        match event {
            ChatEvent::Logprobs(told) => {
                assert!(spelt.is_empty(), "one a piece");
                for told in told {
                    assert_eq!(
                        told.token.logprob.to_bits(),
                        (-next).to_bits(),
                        "in order, none twice"
                    );
                    next += 1.0;
                    spelt.extend(told.token.bytes);
                }
            }
            ChatEvent::Text(text) => pieces.push((text, std::mem::take(&mut spelt))),
            ChatEvent::Done { .. } if !spelt.is_empty() => {
                pieces.push((String::new(), std::mem::take(&mut spelt)));
            }
            _ => {}
        }
    }
    pieces
}

#[test]
fn a_piece_is_told_with_its_tokens() {
    let companion = companion();
    let tokens = |text: &str| companion.text().tokens(text, false).unwrap();
    let told = |text: &str, stops: &[&str]| {
        let stops: Vec<_> = stops.iter().map(ToString::to_string).collect();
        pieces(&companion, &tokens(text), &stops)
    };
    for text in [" Hello world", "a🙂b你好", "  two  \n\n"] {
        for (text, spelt) in told(text, &[]) {
            assert_eq!(text.as_bytes(), spelt);
        }
    }
    // What may become a stop text waits, with its tokens.
    for (text, spelt) in told("wor wo world", &["worn"]) {
        assert!(text.len() <= spelt.len() + 1, "{text:?} {spelt:?}");
    }
    // A token that a stop text begins in is told, those behind it are not.
    let told = told("The fox <stop> jumps", &["x <st"]);
    let spelt: Vec<u8> = told.iter().flat_map(|piece| piece.1.clone()).collect();
    let spelt = String::from_utf8(spelt).unwrap();
    assert!(
        spelt.starts_with("The fo") && !spelt.contains("<s"),
        "{spelt:?}"
    );
    // The end token is no part of an answer.
    let mut ended = tokens("Hi");
    ended.push(4);
    let spelt = pieces(&companion, &ended, &[]);
    assert_eq!(
        spelt
            .iter()
            .flat_map(|piece| piece.1.clone())
            .collect::<Vec<_>>(),
        b"Hi"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn tokens_and_text_never_part(
        parts in prop::collection::vec(prop::sample::select(vec!["a", "é", "🙂", " the", "END", "EN", "\n", "<", "你"]), 1..24),
        stop in prop::sample::select(vec!["END", "🙂🙂", "the EN", "zzz"]),
    ) {
        thread_local!(static COMPANION: Arc<ChatCompanion> = companion());
        let text = parts.concat();
        COMPANION.with(|companion| {
            let tokens = companion.text().tokens(&text, false).unwrap();
            let wanted = text.split(stop).next().unwrap();
            let (mut said, mut spelt) = (String::new(), Vec::new());
            for (text, bytes) in pieces(companion, &tokens, &[stop.to_owned()]) {
                said += &text;
                spelt.extend(bytes);
                // No token comes after its text, but for what follows a piece.
                assert!(spelt.len() + 8 >= said.len());
                assert!(text.is_empty() || spelt.starts_with(&said.as_bytes()[..spelt.len().min(said.len())]));
            }
            assert_eq!(&said, wanted);
            // All of the text is told of, and of what follows no more than the rest of a token.
            assert_eq!(&spelt[..said.len()], said.as_bytes());
            let most = if text.contains(stop) { 16 } else { 0 };
            assert!(spelt.len() <= said.len() + most);
        });
    }
}
