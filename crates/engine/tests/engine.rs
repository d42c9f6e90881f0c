//! Promises of the loops, kept with models made of integers.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // test models panic and spawn as tests do

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use engine::model::{
    Admission, BatchCompanion, BatchModel, CacheShape, Job, Prelude, Rows, SequenceId, Step,
    StepCompanion, StepModel, Writer,
};
use engine::{Caller, Engine, Lane, Loader};
use tasks::{Failure, Finish, Grade, Sampling, Served, Task, Usage};

/// Counts up from the last token of its prompt, modulo the vocabulary.
struct Count;

impl Task for Count {
    type Request = (Vec<u32>, usize);
    type Event = u32;
    const NAME: &'static str = "counting";
}

const VOCABULARY: usize = 1000;
const PANIC: u32 = 666;
const REFUSED: u32 = 667;

#[derive(Default)]
struct Counter {
    /// Tokens by sequence, written through its blocks as a real cache is.
    cache: HashMap<(u32, usize), u32>,
    live: Arc<AtomicUsize>,
    most_spans: Arc<AtomicUsize>,
}

impl StepModel for Counter {
    fn cache(&self) -> CacheShape {
        CacheShape {
            blocks: 64,
            sequences: 8,
        }
    }
    fn admit(&mut self, _: SequenceId, prelude: Option<Prelude>) -> Result<(), Failure> {
        if prelude.is_some() {
            return Err(Failure::BadInput("refused".into()));
        }
        self.live.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
    fn step(&mut self, step: &Step) -> Result<Rows, Failure> {
        self.most_spans
            .fetch_max(step.spans.len(), Ordering::SeqCst);
        let mut logits = Vec::new();
        for span in &step.spans {
            for (row, position) in span.rows.clone().zip(span.start..) {
                assert_ne!(step.tokens[row], PANIC, "asked to panic");
                self.cache.insert(
                    (span.blocks[position / 32], position % 32),
                    step.tokens[row],
                );
            }
            if span.logits > 0 {
                let last = span.start + span.rows.len() - 1;
                let token = self.cache[&(span.blocks[last / 32], last % 32)];
                let mut row = vec![0.0; VOCABULARY];
                row[(token as usize + 1) % VOCABULARY] = 1.0;
                logits.extend(row);
            }
        }
        std::thread::sleep(Duration::from_micros(200));
        Ok(Rows {
            width: VOCABULARY,
            logits,
        })
    }
    fn release(&mut self, _: SequenceId) {
        self.live.fetch_sub(1, Ordering::SeqCst);
    }
}

struct CountCompanion;
struct CountWriter;

impl Writer<Count> for CountWriter {
    fn token(&mut self, token: u32, out: &mut Vec<u32>) -> Option<Finish> {
        if token == 0 {
            return Some(Finish::Stop);
        }
        out.push(token);
        None
    }
    fn finish(&mut self, _: Finish, usage: Usage, out: &mut Vec<u32>) {
        out.push(1_000_000 + usage.completion_tokens);
    }
}

impl StepCompanion<Count> for CountCompanion {
    fn admit(
        &self,
        (tokens, max_new_tokens): (Vec<u32>, usize),
    ) -> Result<Admission<Count>, Failure> {
        let prelude: Option<Prelude> = (tokens[0] == REFUSED).then(|| Box::new(()) as Prelude);
        Ok(Admission {
            tokens,
            max_new_tokens,
            sampling: Sampling::greedy(),
            logprobs: None,
            rules: None,
            adapter: None,
            prelude,
            writer: Box::new(CountWriter),
        })
    }
}

/// Doubles numbers in batches.
struct Double;
impl Task for Double {
    type Request = u32;
    type Event = u32;
    const NAME: &'static str = "doubling";
}
struct Doubler(Arc<Mutex<Vec<usize>>>);
impl BatchCompanion<Double> for Doubler {
    type Work = u32;
    fn prepare(&self, request: u32) -> Result<Job<u32>, Failure> {
        Ok(Job {
            work: request,
            cost: request as usize,
        })
    }
}
impl BatchModel<Double> for Doubler {
    type Work = u32;
    fn budget(&self) -> usize {
        10
    }
    fn run(&mut self, batch: Vec<u32>) -> Vec<Result<u32, Failure>> {
        self.0
            .lock()
            .unwrap()
            .push(batch.iter().sum::<u32>() as usize);
        std::thread::sleep(Duration::from_millis(2));
        batch.into_iter().map(|n| Ok(n * 2)).collect()
    }
}

#[derive(Default)]
struct TestLoader {
    loads: AtomicUsize,
    live: Arc<AtomicUsize>,
    most_spans: Arc<AtomicUsize>,
    batches: Arc<Mutex<Vec<usize>>>,
}

impl Loader for TestLoader {
    fn choose(&self, model: &str) -> Result<Served, Failure> {
        match model {
            "missing" => Err(Failure::NoSuchModel(model.into())),
            other => Ok(Served {
                weights: other.into(),
                grade: Grade::Stub,
            }),
        }
    }
    fn load(&self, served: &Served) -> Result<Lane, Failure> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(20));
        match served.weights.as_str() {
            "counter" => Ok(Lane::steps::<Count>(
                Arc::new(CountCompanion),
                Counter {
                    cache: HashMap::new(),
                    live: self.live.clone(),
                    most_spans: self.most_spans.clone(),
                },
            )),
            "doubler" => Ok(Lane::batch::<Double, u32>(
                Arc::new(Doubler(self.batches.clone())),
                Doubler(self.batches.clone()),
            )),
            _ => Err(Failure::Unavailable("no such weights".into())),
        }
    }
}

fn engine() -> (Engine, Arc<TestLoader>) {
    let loader = Arc::new(TestLoader::default());
    (Engine::start(loader.clone(), "test").unwrap(), loader)
}

async fn count(engine: &Engine, prompt: Vec<u32>, new: usize) -> Result<Vec<u32>, Failure> {
    let mut replies = engine.submit::<Count>("counter", (prompt, new)).await?;
    let mut all = Vec::new();
    while let Some(event) = replies.next().await {
        all.push(event?);
    }
    Ok(all)
}

async fn until(mut condition: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("the condition never came true");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_requests_share_steps_and_each_gets_its_own_answer() {
    let (engine, loader) = engine();
    let jobs: Vec<_> = (0..20_u32)
        .map(|n| {
            let engine = engine.clone();
            let prompt: Vec<u32> = (0..=n * 13).map(|i| i % 7).chain([100 + n]).collect();
            tokio::task::spawn(async move { (n, count(&engine, prompt, 30).await.unwrap()) })
        })
        .collect();
    for job in jobs {
        let (n, events) = job.await.unwrap();
        let expected: Vec<u32> = (1..=30).map(|i| 100 + n + i).chain([1_000_030]).collect();
        assert_eq!(events, expected);
    }
    assert_eq!(
        loader.loads.load(Ordering::SeqCst),
        1,
        "loaded once for all"
    );
    assert!(
        loader.most_spans.load(Ordering::SeqCst) > 1,
        "requests were batched"
    );
    until(|| loader.live.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test]
async fn what_a_model_did_is_counted_when_its_answer_is_there() {
    let (engine, _) = engine();
    let work = || engine.loaded()[0].work.unwrap();
    for jobs in 1..=2_u64 {
        count(&engine, vec![1, 2, 3, 4, 5], 30).await.unwrap();
        let work = work();
        // The newest token is never computed.
        let counted = (work.steps, work.rows, work.tokens);
        assert_eq!(counted, (30 * jobs, 34 * jobs, 30 * jobs));
        let pauses = Duration::from_micros(200) * work.steps as u32;
        assert!(work.forward.wall >= pauses, "{work:?}");
        // Elsewhere the processor's clock may be coarse.
        if cfg!(target_os = "linux") {
            assert!(work.forward.cpu + pauses <= work.forward.wall, "{work:?}");
            assert!(work.sampling.cpu <= work.sampling.wall, "{work:?}");
        }
        assert!(!work.sampling.wall.is_zero());
    }
}

#[tokio::test]
async fn a_stop_token_ends_the_answer_and_is_not_counted() {
    let (engine, _) = engine();
    assert_eq!(
        count(&engine, vec![997], 30).await.unwrap(),
        [998, 999, 1_000_002]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_leaves_frees_its_sequence() {
    let (engine, loader) = engine();
    let mut replies = engine
        .submit::<Count>("counter", (vec![1], 900))
        .await
        .unwrap();
    assert_eq!(replies.next().await, Some(Ok(2)));
    assert_eq!(loader.live.load(Ordering::SeqCst), 1);
    drop(replies);
    until(|| loader.live.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_refuses_to_wait_is_told_that_every_place_is_taken() {
    let (engine, loader) = engine();
    let mut running = Vec::new();
    // Each is set blocks aside for 900 tokens, so that two run and the others wait.
    for _ in 0..40 {
        let submitted = engine.submit::<Count>("counter", (vec![REFUSED + 1], 900));
        running.push(submitted.await.unwrap());
    }
    until(|| loader.live.load(Ordering::SeqCst) == 2).await;
    let impatient = Caller {
        refuses_to_wait: true,
        ..Caller::default()
    };
    let submit = || engine.submit_for::<Count>(impatient, "counter", (vec![1], 1));
    let refused = submit().await.unwrap().next().await;
    assert_eq!(refused, Some(Err(Failure::Busy)));
    drop(running);
    until(|| loader.live.load(Ordering::SeqCst) == 0).await;
    assert_eq!(submit().await.unwrap().next().await, Some(Ok(2)));
}

#[tokio::test]
async fn a_refused_sequence_fails_alone() {
    let (engine, _) = engine();
    let other = engine
        .submit::<Count>("counter", (vec![5], 50))
        .await
        .unwrap();
    let refused = count(&engine, vec![REFUSED], 5).await;
    assert_eq!(refused, Err(Failure::BadInput("refused".into())));
    let mut replies = other;
    assert_eq!(replies.next().await, Some(Ok(6)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_fails_its_batch_and_the_model_is_loaded_anew() {
    let (engine, loader) = engine();
    let failed = count(&engine, vec![PANIC], 5).await;
    assert!(matches!(failed, Err(Failure::Internal(_))), "{failed:?}");
    until(|| engine.loaded().is_empty()).await;
    assert_eq!(count(&engine, vec![1], 1).await.unwrap(), [2, 1_000_001]);
    assert_eq!(loader.loads.load(Ordering::SeqCst), 2);
    assert_eq!(engine.loaded().len(), 1);
}

#[tokio::test]
async fn a_batch_holds_no_more_than_its_budget_and_answers_in_place() {
    let (engine, loader) = engine();
    let mut all = Vec::new();
    for n in [3, 4, 5, 20, 1, 1] {
        all.push((n, engine.submit::<Double>("doubler", n).await.unwrap()));
    }
    for (n, mut replies) in all {
        assert_eq!(replies.next().await, Some(Ok(n * 2)));
        assert_eq!(replies.next().await, None);
    }
    let batches = loader.batches.lock().unwrap().clone();
    assert_eq!(batches.iter().sum::<usize>(), 34);
    assert!(
        batches.iter().all(|&cost| cost <= 10 || cost == 20),
        "{batches:?}"
    );
}

#[tokio::test]
async fn a_wrong_name_a_failed_load_and_a_wrong_task_are_failures() {
    let (engine, loader) = engine();
    let missing = engine.submit::<Count>("missing", (vec![1], 1)).await;
    assert_eq!(missing.err(), Some(Failure::NoSuchModel("missing".into())));
    for _ in 0..2 {
        let failed = engine.submit::<Count>("broken", (vec![1], 1)).await;
        assert!(matches!(failed.err(), Some(Failure::Unavailable(_))));
    }
    assert_eq!(
        loader.loads.load(Ordering::SeqCst),
        2,
        "a failed load is tried again"
    );
    let wrong = engine.submit::<Double>("counter", 1).await;
    assert!(matches!(wrong.err(), Some(Failure::Internal(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_refuses_and_loses_nothing() {
    let (engine, _) = engine();
    let mut accepted = Vec::new();
    let mut refused = 0;
    for _ in 0..1200 {
        match engine.submit::<Double>("doubler", 10).await {
            Ok(replies) => accepted.push(replies),
            Err(Failure::Busy) => refused += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(refused > 0, "the queue has a bound");
    for mut replies in accepted {
        assert_eq!(replies.next().await, Some(Ok(20)));
    }
}
