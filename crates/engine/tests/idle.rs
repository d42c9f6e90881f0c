//! An idle engine sleeps. Alone in its process, because it counts how often any thread wakes.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)] // helpers of tests panic as tests do

use std::sync::Arc;
use std::time::Duration;

use engine::model::{BatchCompanion, BatchModel, Job};
use engine::{Engine, Lane, Loader, Policy};
use tasks::{Failure, Grade, Served, Task};

struct Echo;
impl Task for Echo {
    type Request = u32;
    type Event = u32;
    const NAME: &'static str = "echo";
}
impl BatchCompanion<Echo> for Echo {
    type Work = u32;
    fn prepare(&self, request: u32) -> Result<Job<u32>, Failure> {
        Ok(Job {
            work: request,
            cost: 1,
        })
    }
}
impl BatchModel<Echo> for Echo {
    type Work = u32;
    fn budget(&self) -> usize {
        1
    }
    fn run(&mut self, batch: Vec<u32>) -> Vec<Result<u32, Failure>> {
        batch.into_iter().map(Ok).collect()
    }
}
impl Loader for Echo {
    fn choose(&self, model: &str) -> Result<Served, Failure> {
        Ok(Served {
            weights: model.into(),
            grade: Grade::Stub,
        })
    }
    fn load(&self, _: &Served) -> Result<Lane, Failure> {
        Ok(Lane::batch::<Echo, u32>(Arc::new(Self), Self))
    }
}

/// Times that each other thread of this process has gone to sleep, by thread.
fn sleeps() -> Vec<(String, u64)> {
    let here = std::fs::read_link("/proc/thread-self").unwrap();
    let mut all = Vec::new();
    for thread in std::fs::read_dir("/proc/self/task")
        .unwrap()
        .map(Result::unwrap)
    {
        if here.file_name() == Some(&thread.file_name()) {
            continue;
        }
        let Ok(status) = std::fs::read_to_string(thread.path().join("status")) else {
            continue; // it has just ended
        };
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().to_owned()
        };
        let name = format!("{} {}", field("Pid:"), field("Name:"));
        all.push((name, field("voluntary_ctxt_switches:").parse().unwrap()));
    }
    all.sort();
    all
}

#[test]
fn an_idle_engine_wakes_nobody_until_its_models_expire() {
    let keep_alive = Duration::from_secs(5);
    let policy = Policy {
        keep_alive: Some(keep_alive),
        ..Policy::default()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_keep_alive(Duration::from_millis(100)) // idle threads for blocking work end first
        .enable_all()
        .build()
        .unwrap();
    let engine = Engine::with_policy(Arc::new(Echo), "test", policy).unwrap();
    for model in ["a", "b"] {
        let answer = runtime.block_on(async {
            let mut replies = engine.submit::<Echo>(model, 7).await.unwrap();
            replies.next().await
        });
        assert_eq!(answer, Some(Ok(7)));
    }
    std::thread::sleep(Duration::from_millis(600));
    let before = sleeps();
    std::thread::sleep(Duration::from_secs(2));
    let woken: u64 = sleeps()
        .iter()
        .zip(&before)
        .map(|(after, before)| {
            assert_eq!(after.0, before.0, "no thread came or went");
            after.1 - before.1
        })
        .sum();
    // A timer that is seconds away is looked at once or twice on its way; nothing else may move.
    assert!(
        woken <= 4,
        "{woken} wake-ups in two idle seconds: {before:?} {:?}",
        sleeps()
    );
    std::thread::sleep(keep_alive);
    assert!(engine.loaded().is_empty(), "and yet they expire");
}
