//! The memory of a device, kept with models that are nothing but a number of bytes.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // test models panic and spawn as tests do

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use engine::model::{BatchCompanion, BatchModel, Job};
use engine::{Engine, Lane, Loader, Need, Policy, Stopped};
use tasks::{Failure, Grade, Served, Task};

/// Works for some milliseconds, then gives the number of its load. 666 panics.
struct Work;

impl Task for Work {
    type Request = u64;
    type Event = usize;
    const NAME: &'static str = "working";
}

const PANIC: u64 = 666;

/// What all models together hold, and the most that they ever held.
#[derive(Default)]
struct Meter {
    bytes: AtomicU64,
    most: AtomicU64,
    loads: AtomicUsize,
    /// The device takes its time to free memory.
    slow: AtomicBool,
}

/// Holds its bytes from its load until it is dropped.
struct Weights {
    bytes: u64,
    load: usize,
    meter: Arc<Meter>,
}

impl Weights {
    fn new(bytes: u64, meter: Arc<Meter>) -> Self {
        let now = meter.bytes.fetch_add(bytes, Ordering::SeqCst) + bytes;
        meter.most.fetch_max(now, Ordering::SeqCst);
        let load = meter.loads.fetch_add(1, Ordering::SeqCst) + 1;
        Self { bytes, load, meter }
    }
}

impl Drop for Weights {
    fn drop(&mut self) {
        if self.meter.slow.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(100));
        }
        self.meter.bytes.fetch_sub(self.bytes, Ordering::SeqCst);
    }
}

struct Companion;

impl BatchCompanion<Work> for Companion {
    type Work = u64;
    fn prepare(&self, request: u64) -> Result<Job<u64>, Failure> {
        Ok(Job {
            work: request,
            cost: 1,
        })
    }
}

impl BatchModel<Work> for Weights {
    type Work = u64;
    /// One job after the other.
    fn budget(&self) -> usize {
        1
    }
    fn run(&mut self, batch: Vec<u64>) -> Vec<Result<usize, Failure>> {
        let work = |request| {
            assert_ne!(request, PANIC, "asked to panic");
            std::thread::sleep(Duration::from_millis(request));
            Ok(self.load)
        };
        batch.into_iter().map(work).collect()
    }
}

/// Names are sizes: `a40` is a model of 40 bytes, most of them weights. `broken...` does not load.
struct Sizes(Arc<Meter>);

fn bytes(weights: &str) -> u64 {
    weights
        .trim_start_matches(char::is_alphabetic)
        .parse()
        .unwrap()
}

impl Loader for Sizes {
    fn choose(&self, model: &str) -> Result<Served, Failure> {
        Ok(Served {
            weights: model.trim_start_matches("@cf/").into(),
            grade: Grade::Stub,
        })
    }
    fn need(&self, served: &Served) -> Result<Need, Failure> {
        let bytes = bytes(&served.weights);
        Ok(Need {
            weights_bytes: bytes - bytes / 4,
            cache_bytes: bytes / 8,
            activation_bytes: bytes / 4 - bytes / 8,
        })
    }
    fn load(&self, served: &Served) -> Result<Lane, Failure> {
        let weights = Weights::new(bytes(&served.weights), self.0.clone());
        if served.weights.starts_with("broken") {
            return Err(Failure::Unavailable("broken".into()));
        }
        assert!(!served.weights.starts_with("panics"), "a load that panics");
        Ok(Lane::batch::<Work, u64>(Arc::new(Companion), weights))
    }
    fn memory_in_use(&self) -> Option<u64> {
        Some(self.0.bytes.load(Ordering::SeqCst))
    }
}

fn fleet(policy: Policy) -> (Engine, Arc<Meter>) {
    let meter = Arc::new(Meter::default());
    let loader = Arc::new(Sizes(meter.clone()));
    (Engine::with_policy(loader, "test", policy).unwrap(), meter)
}

fn budget(bytes: u64) -> Policy {
    Policy {
        budget_bytes: Some(bytes),
        ..Policy::default()
    }
}

/// The number of the load that answered.
async fn ask(engine: &Engine, model: &str, millis: u64) -> Result<usize, Failure> {
    let mut replies = engine.submit::<Work>(model, millis).await?;
    let load = replies.next().await.unwrap()?;
    assert_eq!(replies.next().await, None);
    Ok(load)
}

fn names(engine: &Engine) -> Vec<String> {
    engine
        .loaded()
        .into_iter()
        .map(|loaded| loaded.weights)
        .collect()
}

async fn until(mut condition: impl FnMut() -> bool) {
    for _ in 0..5000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("the condition never came true");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_budget_is_kept_whatever_loads_at_once_and_nobody_is_turned_away() {
    let models = ["a10", "b25", "c30", "d45", "e60", "f100"];
    for keep_alive in [None, Some(Duration::ZERO), Some(Duration::from_millis(3))] {
        let (engine, meter) = fleet(Policy {
            keep_alive,
            ..budget(100)
        });
        let jobs: Vec<_> = (0..24_usize)
            .map(|n| {
                let engine = engine.clone();
                tokio::task::spawn(async move {
                    for round in 0..25 {
                        let model = models[(n * 7 + round * 5 + n * round) % models.len()];
                        ask(&engine, model, (round % 3) as u64).await.unwrap();
                    }
                })
            })
            .collect();
        for job in jobs {
            job.await.unwrap();
        }
        let most = meter.most.load(Ordering::SeqCst);
        assert!(most <= 100, "{most} bytes were held at once");
        assert!(
            meter.loads.load(Ordering::SeqCst) > 20,
            "models came and went"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_model_is_never_evicted_a_load_waits_for_it() {
    let (engine, meter) = fleet(budget(100));
    let mut running = engine.submit::<Work>("a60", 150).await.unwrap();
    let queued = engine.submit::<Work>("a60", 1).await.unwrap();
    let other = ask(&engine, "b60", 0);
    let (first, mut queued) = (running.next(), queued);
    let (first, other) = tokio::join!(first, other);
    assert_eq!((first, other), (Some(Ok(1)), Ok(2)));
    assert_eq!(
        queued.next().await,
        Some(Ok(1)),
        "the queued job was not lost"
    );
    assert_eq!(names(&engine), ["b60"]);
    assert_eq!(meter.most.load(Ordering::SeqCst), 60);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_that_waits_too_long_for_busy_models_is_refused_with_their_names() {
    let (engine, _) = fleet(Policy {
        memory_wait: Duration::from_millis(50),
        ..budget(100_000_000)
    });
    let mut running = engine.submit::<Work>("a60000000", 400).await.unwrap();
    let refused = ask(&engine, "b60000000", 0).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "b60000000 does not fit: it needs 60 MB of memory (weights 45 MB, KV cache 8 MB, activations 8 MB), \
         and models may take 100 MB, of which a60000000 (60 MB) were still busy after 50ms; \
         allow more with --memory, or stop a model with `hearth stop`"
    );
    assert_eq!(running.next().await, Some(Ok(1)));
    assert_eq!(running.next().await, None);
    assert_eq!(
        ask(&engine, "b60000000", 0).await,
        Ok(2),
        "a later try finds it idle"
    );
}

#[tokio::test]
async fn what_can_never_fit_is_refused_with_numbers_and_evicts_nobody() {
    let (engine, meter) = fleet(Policy {
        pinned: vec!["@cf/p30000000".into()],
        ..budget(100_000_000)
    });
    ask(&engine, "p30000000", 0).await.unwrap();
    ask(&engine, "a10000000", 0).await.unwrap();
    let refused = ask(&engine, "b100000001", 0).await.unwrap_err();
    assert_eq!(
        refused,
        Failure::Unavailable(
            "b100000001 does not fit: it needs 101 MB of memory (weights 76 MB, KV cache 13 MB, \
             activations 13 MB), and models may take 100 MB; allow more with --memory"
                .into()
        )
    );
    let refused = ask(&engine, "c80000000", 0).await.unwrap_err();
    let text = refused.to_string();
    assert!(
        text.contains("100 MB, of which p30000000 (30 MB) are pinned; allow"),
        "{text}"
    );
    assert_eq!(names(&engine), ["a10000000", "p30000000"]);
    assert_eq!(meter.loads.load(Ordering::SeqCst), 2, "neither was loaded");
}

#[tokio::test]
async fn the_least_recently_used_goes_first_and_the_pinned_stays() {
    let (engine, _) = fleet(Policy {
        pinned: vec!["@cf/p10".into()],
        ..budget(100)
    });
    for model in ["p10", "a30", "b30", "c30", "a30"] {
        ask(&engine, model, 0).await.unwrap();
    }
    ask(&engine, "d30", 0).await.unwrap();
    assert_eq!(names(&engine), ["a30", "c30", "d30", "p10"]);
    ask(&engine, "e40", 0).await.unwrap();
    assert_eq!(names(&engine), ["d30", "e40", "p10"]);
    let pinned = &engine.loaded()[2];
    assert!(pinned.pinned);
    assert_eq!(pinned.expires_in, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_is_unloaded_after_its_time_but_not_while_it_works_or_is_pinned() {
    let (engine, meter) = fleet(Policy {
        keep_alive: Some(Duration::from_millis(100)),
        pinned: vec!["p5".into()],
        ..Policy::default()
    });
    ask(&engine, "p5", 0).await.unwrap();
    let started = Instant::now();
    assert_eq!(
        ask(&engine, "a10", 250).await,
        Ok(2),
        "longer than its time to live"
    );
    assert_eq!(ask(&engine, "a10", 0).await, Ok(2));
    let loaded = engine.loaded();
    assert_eq!(loaded[0].busy, 0);
    assert!(loaded[0].expires_in.unwrap() <= Duration::from_millis(100));
    assert!(loaded[0].idle.is_some());
    assert_eq!(loaded[0].measured_bytes, Some(10));
    until(|| meter.bytes.load(Ordering::SeqCst) == 5).await;
    assert!(started.elapsed() >= Duration::from_millis(350));
    until(|| engine.memory().needed_bytes == 5).await;
    assert_eq!(names(&engine), ["p5"]);
    assert_eq!(ask(&engine, "a10", 0).await, Ok(3), "it is loaded anew");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_unloads_the_idle_now_and_the_busy_when_they_are_idle() {
    let (engine, meter) = fleet(Policy {
        pinned: vec!["a10".into()],
        ..Policy::default()
    });
    assert_eq!(engine.stop("a10").await, Stopped::NotLoaded);
    ask(&engine, "a10", 0).await.unwrap();
    assert_eq!(engine.stop("a10").await, Stopped::Unloaded);
    assert_eq!(meter.bytes.load(Ordering::SeqCst), 0);
    let mut running = engine.submit::<Work>("a10", 100).await.unwrap();
    assert_eq!(engine.stop("a10").await, Stopped::WhenIdle { busy: 1 });
    assert!(engine.loaded()[0].stopping);
    assert_eq!(running.next().await, Some(Ok(2)));
    until(|| engine.loaded().is_empty()).await;
    until(|| meter.bytes.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_during_an_unload_is_answered_by_a_load_that_waits_for_it() {
    let (engine, meter) = fleet(budget(100));
    meter.slow.store(true, Ordering::SeqCst);
    ask(&engine, "a100", 0).await.unwrap();
    let (stopped, answer) = tokio::join!(engine.stop("a100"), async {
        tokio::time::sleep(Duration::from_millis(30)).await;
        ask(&engine, "a100", 0).await
    });
    assert_eq!((stopped, answer), (Stopped::Unloaded, Ok(2)));
    assert_eq!(
        meter.most.load(Ordering::SeqCst),
        100,
        "never twice in memory"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_is_lost_while_models_expire_under_it() {
    let (engine, _) = fleet(Policy {
        keep_alive: Some(Duration::ZERO),
        ..budget(20)
    });
    let jobs: Vec<_> = (0..8)
        .map(|_| {
            let engine = engine.clone();
            tokio::task::spawn(async move {
                for _ in 0..100 {
                    ask(&engine, "a15", 0).await.unwrap();
                }
            })
        })
        .collect();
    for job in jobs {
        job.await.unwrap();
    }
}

#[tokio::test]
async fn a_thousand_loads_and_evictions_of_three_models_in_the_room_of_two() {
    let (engine, meter) = fleet(budget(25));
    for round in 0..1000_usize {
        let model = ["a10", "b11", "c12"][round % 3];
        assert_eq!(ask(&engine, model, 0).await, Ok(round + 1));
    }
    assert!(meter.most.load(Ordering::SeqCst) <= 25);
    for name in names(&engine) {
        assert_eq!(engine.stop(&name).await, Stopped::Unloaded);
    }
    assert_eq!(meter.bytes.load(Ordering::SeqCst), 0);
    assert_eq!(engine.memory().needed_bytes, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_load_and_a_dead_model_hold_no_memory() {
    let (engine, meter) = fleet(budget(100));
    for model in ["broken100", "panics100"] {
        ask(&engine, model, 0).await.unwrap_err();
        assert_eq!(engine.memory().needed_bytes, 0, "{model}");
    }
    let died = ask(&engine, "a100", PANIC).await.unwrap_err();
    assert!(matches!(died, Failure::Internal(_)));
    assert_eq!(
        ask(&engine, "b100", 0).await,
        Ok(4),
        "its memory is there at once"
    );
    assert_eq!(meter.most.load(Ordering::SeqCst), 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_that_nobody_waits_for_goes_on_and_its_model_expires() {
    let (engine, meter) = fleet(Policy {
        keep_alive: Some(Duration::from_millis(20)),
        ..budget(100)
    });
    let mut blocker = engine.submit::<Work>("a100", 60).await.unwrap();
    let asked = tokio::time::timeout(Duration::from_millis(10), ask(&engine, "b100", 0)).await;
    assert!(asked.is_err(), "it left");
    assert_eq!(blocker.next().await, Some(Ok(1)));
    until(|| meter.loads.load(Ordering::SeqCst) == 2).await;
    until(|| meter.bytes.load(Ordering::SeqCst) == 0).await;
}
