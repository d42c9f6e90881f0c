//! What is cached for one adapter serves no other, and not the model alone.
#![allow(clippy::unwrap_used)] // helpers of tests panic as tests do

use std::sync::Arc;

use engine::{Engine, Lane, Loader};
use models::device::Device;
use models::{Files, Fit};
use tasks::{
    Chat, ChatEvent, ChatOptions, ChatRequest, Failure, Grade, Lora, Prompt, Sampling, Served,
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
        let fit = Fit {
            adapters: true,
            ..Fit::default()
        };
        models::load("llama", &files, &Device::Cpu, fit)
            .map_err(|error| Failure::Unavailable(error.to_string()))
    }
}

/// The text of an answer, and how much of its prompt was in the cache.
async fn answer(engine: &Engine, adapter: Option<&str>) -> (String, u32) {
    let request = ChatRequest {
        prompt: Prompt::Raw("The quick brown fox jumps over the lazy dog. ".repeat(8)),
        max_tokens: Some(24),
        sampling: Sampling::greedy(),
        window: 256,
        options: ChatOptions {
            lora: adapter.map(|name| Lora {
                name: name.into(),
                folder: Some(golden("tiny-llama-lora").join(name)),
            }),
            ..ChatOptions::default()
        },
    };
    let mut replies = engine.submit::<Chat>("tiny", request).await.unwrap();
    let (mut text, mut cached) = (String::new(), 0);
    while let Some(event) = replies.next().await {
        match event.unwrap() {
            ChatEvent::Text(more) => text.push_str(&more),
            ChatEvent::Done { usage, .. } => cached = usage.cached_tokens,
            _ => {}
        }
    }
    (text, cached)
}

#[tokio::test]
async fn each_adapter_has_a_cache_of_its_own() {
    const ASKED: [Option<&str>; 3] = [Some("all"), None, Some("some")];
    let engine = Engine::start(Arc::new(TinyLlama), "cpu").unwrap();
    let mut first = Vec::new();
    for adapter in ASKED {
        let (text, cached) = answer(&engine, adapter).await;
        assert_eq!(cached, 0, "{adapter:?}");
        let fresh = Engine::start(Arc::new(TinyLlama), "cpu").unwrap();
        assert_eq!(answer(&fresh, adapter).await.0, text, "{adapter:?}");
        first.push(text);
    }
    assert!(first[0] != first[1] && first[1] != first[2] && first[0] != first[2]);
    for (adapter, text) in ASKED.iter().zip(&first) {
        let (again, cached) = answer(&engine, *adapter).await;
        assert_eq!(&again, text, "{adapter:?}");
        assert!(cached > 0, "{adapter:?}");
    }
}
