//! Promises of models without a device: answered where they are asked, made as they are read.
#![allow(clippy::unwrap_used)] // helpers of tests panic as tests do

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use engine::model::DirectModel;
use engine::{Answer, DirectLane, Engine, Lane, Loader, Resident, Room, make_room};
use tasks::{Failure, Grade, Served, Task};

/// Counts up from a number, for ever; from [`PANIC`] on it panics, and 0 it refuses.
struct Up;
/// Counts down to nothing.
struct Down;
/// Nobody serves it.
struct Sideways;

const PANIC: u32 = 1_000_000;

impl Task for Up {
    type Request = u32;
    type Event = u32;
    const NAME: &'static str = "counting up";
}
impl Task for Down {
    type Request = u32;
    type Event = u32;
    const NAME: &'static str = "counting down";
}
impl Task for Sideways {
    type Request = u32;
    type Event = u32;
    const NAME: &'static str = "counting sideways";
}

#[derive(Default)]
struct Counter {
    made: Arc<AtomicUsize>,
}

impl DirectModel<Up> for Counter {
    fn answer(&self, from: u32) -> Result<Answer<u32>, Failure> {
        if from == 0 {
            return Err(Failure::BadInput("0".into()));
        }
        let made = self.made.clone();
        Ok(Box::new((from..).map(move |number| {
            assert!(number < PANIC, "asked to panic");
            made.fetch_add(1, Ordering::SeqCst);
            Ok(number)
        })))
    }
}

impl DirectModel<Down> for Counter {
    fn answer(&self, from: u32) -> Result<Answer<u32>, Failure> {
        assert!(from < PANIC, "asked to panic");
        Ok(Box::new((0..from).rev().map(Ok)))
    }
}

#[derive(Default)]
struct Counters {
    made: Arc<AtomicUsize>,
}

impl Loader for Counters {
    fn choose(&self, _: &str) -> Result<Served, Failure> {
        Ok(Served {
            weights: "counter".into(),
            grade: Grade::Stub,
        })
    }
    fn load(&self, _: &Served) -> Result<Lane, Failure> {
        let made = self.made.clone();
        let counter = Arc::new(Counter { made });
        let lane = DirectLane::new().quick::<Up>(counter.clone());
        Ok(lane.slow::<Down>(counter).into())
    }
}

fn engine() -> (Engine, Arc<AtomicUsize>) {
    let loader = Counters::default();
    let made = loader.made.clone();
    (Engine::start(Arc::new(loader), "test").unwrap(), made)
}

#[tokio::test]
async fn one_lane_serves_each_of_its_tasks_and_no_other() {
    let (engine, _) = engine();
    let mut up = engine.submit::<Up>("any", 7).await.unwrap();
    let mut down = engine.submit::<Down>("any", 2).await.unwrap();
    assert_eq!(up.next().await, Some(Ok(7)));
    assert_eq!(down.next().await, Some(Ok(1)));
    assert_eq!(up.next().await, Some(Ok(8)));
    assert_eq!(down.next().await, Some(Ok(0)));
    assert_eq!(down.next().await, None);
    assert_eq!(down.next().await, None);
    let refused = engine.submit::<Up>("any", 0).await.unwrap_err();
    assert_eq!(refused, Failure::BadInput("0".into()));
    let unknown = engine.submit::<Sideways>("any", 1).await.unwrap_err();
    assert!(matches!(unknown, Failure::Internal(_)), "{unknown}");
    let loaded = engine.loaded();
    assert_eq!((loaded.len(), loaded[0].task), (1, "many tasks"));
    assert_eq!(loaded[0].need.total_bytes(), 0);
}

#[tokio::test]
async fn nothing_is_made_before_it_is_read_and_a_reader_that_leaves_ends_it() {
    let (engine, made) = engine();
    let mut replies = engine.submit::<Up>("any", 1).await.unwrap();
    assert_eq!(made.load(Ordering::SeqCst), 0);
    for expected in 1..=3 {
        assert_eq!(replies.next().await, Some(Ok(expected)));
    }
    assert_eq!(made.load(Ordering::SeqCst), 3);
    assert_eq!(engine.loaded()[0].busy, 1);
    drop(replies);
    assert_eq!(made.load(Ordering::SeqCst), 3);
    assert_eq!(engine.loaded()[0].busy, 0);
}

#[tokio::test]
async fn the_end_leaves_the_model_idle_and_it_can_be_stopped_and_comes_again() {
    let (engine, _) = engine();
    let mut down = engine.submit::<Down>("any", 1).await.unwrap();
    while down.next().await.is_some() {}
    assert_eq!(engine.loaded()[0].busy, 0); // the replies still live
    assert_eq!(engine.stop("counter").await, engine::Stopped::Unloaded);
    assert!(engine.loaded().is_empty());
    let mut again = engine.submit::<Down>("any", 1).await.unwrap();
    assert_eq!(again.next().await, Some(Ok(0)));
}

#[tokio::test]
async fn a_panic_takes_its_own_answer_only() {
    let (engine, _) = engine();
    let mut other = engine.submit::<Up>("any", 1).await.unwrap();
    let at_once = engine.submit::<Down>("any", PANIC).await.unwrap_err();
    assert!(matches!(at_once, Failure::Internal(_)), "{at_once}");
    let mut later = engine.submit::<Up>("any", PANIC - 1).await.unwrap();
    assert_eq!(later.next().await, Some(Ok(PANIC - 1)));
    assert!(matches!(
        later.next().await,
        Some(Err(Failure::Internal(_)))
    ));
    assert_eq!(later.next().await, None);
    assert_eq!(other.next().await, Some(Ok(1)));
}

#[tokio::test]
async fn a_long_answer_lets_others_have_their_turn() {
    let (engine, _) = engine();
    let mut endless = engine.submit::<Up>("any", 1).await.unwrap();
    let reads = async move { while let Some(Ok(_)) = endless.next().await {} };
    let others = async {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        () = reads => panic!("it has no end"),
        () = others => {}
    }
}

#[test]
fn what_takes_no_memory_is_not_evicted_for_it() {
    let idle = |bytes| Resident {
        bytes,
        idle_since: Some(std::time::Instant::now()),
        pinned: false,
    };
    assert_eq!(
        make_room(100, 50, &[idle(0), idle(80), idle(0)]),
        Room::Evict(vec![1])
    );
}
