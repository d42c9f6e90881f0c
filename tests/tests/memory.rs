//! Models come and go, and leave nothing behind. Alone in its process, because it weighs it.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)] // helpers of tests panic as tests do

use std::sync::Arc;

use engine::{Engine, Lane, Loader, Need, Policy};
use models::device::Device;
use models::{Files, Fit};
use tasks::{
    Chat, ChatOptions, ChatRequest, Embed, EmbedRequest, Failure, Grade, Overlong, Pooling, Prompt,
    Sampling, Served,
};
use testkit::golden;

/// Loads and unloads altogether.
const LOADS: usize = 1000;
/// Loads after which everything that is made once (threads, tables, the allocator's pools) is made.
const WARM_LOADS: usize = 60;
/// What may be left, in bytes: pages that the allocator keeps.
const LEFT_MAX_BYTES: u64 = 32 << 20;

/// The tiny checkpoints, by the names of their folders.
struct Golden;

fn architecture(weights: &str) -> &'static str {
    models::ARCHITECTURES
        .iter()
        .find(|row| row.golden == weights)
        .unwrap()
        .name
}

impl Loader for Golden {
    fn choose(&self, model: &str) -> Result<Served, Failure> {
        Ok(Served {
            weights: model.into(),
            grade: Grade::Exact,
        })
    }
    fn need(&self, served: &Served) -> Result<Need, Failure> {
        let files = Files::new(golden(&served.weights));
        models::need(
            architecture(&served.weights),
            &files,
            &Device::Cpu,
            Fit::default(),
        )
        .map_err(|error| Failure::Unavailable(error.to_string()))
    }
    fn load(&self, served: &Served) -> Result<Lane, Failure> {
        let files = Files::new(golden(&served.weights));
        models::load(
            architecture(&served.weights),
            &files,
            &Device::Cpu,
            Fit::default(),
        )
        .map_err(|error| Failure::Unavailable(error.to_string()))
    }
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    let kilobytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kilobytes * 1024
}

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

async fn embed(engine: &Engine) {
    let request = EmbedRequest {
        text: "Nearer things look larger.".into(),
        pooling: Pooling::Mean,
        width: 48,
        window: 64,
        overlong: Overlong::Truncate,
    };
    let mut replies = engine
        .submit::<Embed>("tiny-bert-embed", request)
        .await
        .unwrap();
    assert_eq!(replies.next().await.unwrap().unwrap().vector.len(), 48);
    assert!(replies.next().await.is_none());
}

async fn chat(engine: &Engine) {
    let request = ChatRequest {
        prompt: Prompt::Raw("Once".into()),
        max_tokens: Some(4),
        sampling: Sampling::greedy(),
        window: 64,
        options: ChatOptions::default(),
    };
    let mut replies = engine.submit::<Chat>("tiny-llama", request).await.unwrap();
    while let Some(event) = replies.next().await {
        event.unwrap();
    }
}

#[tokio::test]
async fn a_thousand_loads_of_three_real_models_leave_no_memory_and_no_file_behind() {
    let need = |weights: &str| {
        let served = Golden.choose(weights).unwrap();
        Golden.need(&served).unwrap().total_bytes()
    };
    let needs = ["tiny-bert-embed", "tiny-llama", "tiny-whisper"].map(need);
    assert!(needs.iter().all(|&bytes| bytes > 100_000), "{needs:?}");
    let policy = Policy {
        // The largest has the device to itself; each load evicts the model before it.
        budget_bytes: needs.iter().max().copied(),
        ..Policy::default()
    };
    let engine = Engine::with_policy(Arc::new(Golden), "cpu", policy).unwrap();
    let mut start = (0, 0);
    for load in 0..LOADS {
        if load == WARM_LOADS {
            for loaded in engine.loaded() {
                engine.stop(&loaded.weights).await;
            }
            start = (resident_bytes(), open_files());
        }
        match load % 3 {
            0 => embed(&engine).await,
            1 => chat(&engine).await,
            _ => {
                engine.preload("tiny-whisper").await.unwrap();
            }
        }
    }
    for loaded in engine.loaded() {
        engine.stop(&loaded.weights).await;
    }
    assert_eq!(engine.memory().needed_bytes, 0);
    let left = resident_bytes().saturating_sub(start.0);
    println!(
        "{needs:?} bytes needed, {} bytes at the start, {left} left",
        start.0
    );
    assert!(
        left < LEFT_MAX_BYTES,
        "{left} bytes are left of {}",
        start.0
    );
    assert_eq!(open_files(), start.1, "files are still open");
}
