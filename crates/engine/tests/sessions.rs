//! Promises of the Sessions loop, kept with a model made of integers.
#![allow(clippy::unwrap_used)] // test models panic as tests do

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use engine::model::{Said, SequenceId, SessionCompanion, SessionModel};
use engine::{Engine, Lane, Loader};
use tasks::{Failure, Grade, Served, Task};

/// Counts down to nothing.
struct CountDown;

impl Task for CountDown {
    type Request = u32;
    type Event = u32;
    const NAME: &'static str = "counting down";
}

const UNPREPARED: u32 = 666;
const REFUSED: u32 = 667;
const BROKEN: u32 = 668;
/// Never ends.
const ENDLESS: u32 = 669;
const SESSIONS: usize = 3;

struct Companion;

impl SessionCompanion<CountDown> for Companion {
    type Work = u32;
    fn prepare(&self, request: u32) -> Result<u32, Failure> {
        match request {
            UNPREPARED => Err(Failure::BadInput("unprepared".into())),
            other => Ok(other),
        }
    }
}

#[derive(Default)]
struct Counters {
    live: AtomicUsize,
    most: AtomicUsize,
}

struct Model {
    live: BTreeMap<SequenceId, u32>,
    counters: Arc<Counters>,
}

impl SessionModel<CountDown> for Model {
    type Work = u32;
    fn sessions(&self) -> usize {
        SESSIONS
    }
    fn begin(&mut self, session: SequenceId, work: u32) -> Result<(), Failure> {
        if work == REFUSED {
            return Err(Failure::BadInput("refused".into()));
        }
        self.live.insert(session, work);
        self.counters.live.store(self.live.len(), Ordering::SeqCst);
        self.counters
            .most
            .fetch_max(self.live.len(), Ordering::SeqCst);
        Ok(())
    }
    fn turn(&mut self) -> Vec<(SequenceId, Said<u32>)> {
        std::thread::sleep(Duration::from_millis(1));
        let mut said = Vec::new();
        for (id, left) in &mut self.live {
            match *left {
                BROKEN => said.push((*id, Said::Failed(Failure::BadInput("broken".into())))),
                ENDLESS => {}
                0 => said.push((*id, Said::End)),
                _ => {
                    *left -= 1;
                    said.push((*id, Said::Event(*left)));
                }
            }
        }
        said
    }
    fn end(&mut self, session: SequenceId) {
        self.live.remove(&session).expect("it lives, and ends once");
        self.counters.live.store(self.live.len(), Ordering::SeqCst);
    }
}

struct TestLoader(Arc<Counters>);

impl Loader for TestLoader {
    fn choose(&self, model: &str) -> Result<Served, Failure> {
        Ok(Served {
            weights: model.into(),
            grade: Grade::Stub,
        })
    }
    fn load(&self, _: &Served) -> Result<Lane, Failure> {
        let model = Model {
            live: BTreeMap::new(),
            counters: self.0.clone(),
        };
        Ok(Lane::sessions::<CountDown, u32>(Arc::new(Companion), model))
    }
}

fn engine() -> (Engine, Arc<Counters>) {
    let counters = Arc::new(Counters::default());
    let loader = Arc::new(TestLoader(counters.clone()));
    (Engine::start(loader, "test").unwrap(), counters)
}

async fn count(engine: &Engine, from: u32) -> Result<Vec<u32>, Failure> {
    let mut replies = engine.submit::<CountDown>("model", from).await?;
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
async fn sessions_live_side_by_side_within_the_models_number() {
    let (engine, counters) = engine();
    let wanted = |from: u32| (0..from).rev().collect::<Vec<_>>();
    let (a, b, c, d, e) = tokio::join!(
        count(&engine, 40),
        count(&engine, 41),
        count(&engine, 42),
        count(&engine, 0),
        count(&engine, 44)
    );
    for (answer, from) in [(a, 40), (b, 41), (c, 42), (d, 0), (e, 44)] {
        assert_eq!(answer.unwrap(), wanted(from));
    }
    assert_eq!(counters.most.load(Ordering::SeqCst), SESSIONS);
    until(|| counters.live.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_is_one_sessions_own() {
    let (engine, counters) = engine();
    let (good, unprepared, refused, broken) = tokio::join!(
        count(&engine, 30),
        count(&engine, UNPREPARED),
        count(&engine, REFUSED),
        count(&engine, BROKEN)
    );
    assert_eq!(good.unwrap().len(), 30);
    for (failed, why) in [
        (unprepared, "unprepared"),
        (refused, "refused"),
        (broken, "broken"),
    ] {
        assert_eq!(failed, Err(Failure::BadInput(why.into())));
    }
    until(|| counters.live.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_leaves_ends_its_session_and_makes_room() {
    let (engine, counters) = engine();
    let mut endless = Vec::new();
    for _ in 0..SESSIONS {
        endless.push(engine.submit::<CountDown>("model", ENDLESS).await.unwrap());
    }
    until(|| counters.live.load(Ordering::SeqCst) == SESSIONS).await;
    let waits = engine.submit::<CountDown>("model", 2).await.unwrap();
    endless.pop();
    let mut waits = waits;
    assert_eq!(waits.next().await, Some(Ok(1)));
    drop((endless, waits));
    until(|| counters.live.load(Ordering::SeqCst) == 0).await;
}
