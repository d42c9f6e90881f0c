//! Requests that are prepared on the thread that asks, and those that are not.
#![allow(clippy::unwrap_used)] // helpers of tests panic as tests do

use std::sync::{Arc, Mutex};
use std::thread::ThreadId;

use engine::model::{
    Admission, CacheShape, Prelude, Rows, SequenceId, Step, StepCompanion, StepModel, Writer,
};
use engine::{Engine, Lane, Loader};
use tasks::{Failure, Finish, Grade, Sampling, Served, Task, Usage};

/// Tells one token.
struct Tell;

impl Task for Tell {
    type Request = Asked;
    type Event = u32;
    const NAME: &'static str = "telling";
}

#[derive(Clone, Copy)]
struct Asked {
    is_brief: bool,
    panics: bool,
}

/// Where requests were prepared.
#[derive(Clone, Default)]
struct Companion(Arc<Mutex<Vec<ThreadId>>>);

impl StepCompanion<Tell> for Companion {
    fn is_brief(&self, request: &Asked) -> bool {
        request.is_brief
    }

    fn admit(&self, request: Asked) -> Result<Admission<Tell>, Failure> {
        assert!(!request.panics, "asked to panic");
        self.0.lock().unwrap().push(std::thread::current().id());
        Ok(Admission {
            tokens: vec![1],
            max_new_tokens: 1,
            sampling: Sampling::greedy(),
            logprobs: None,
            rules: None,
            adapter: None,
            prelude: None,
            writer: Box::new(TellWriter),
        })
    }
}

struct TellWriter;

impl Writer<Tell> for TellWriter {
    fn token(&mut self, token: u32, out: &mut Vec<u32>) -> Option<Finish> {
        out.push(token);
        None
    }
    fn finish(&mut self, _: Finish, _: Usage, _: &mut Vec<u32>) {}
}

struct Model;

impl StepModel for Model {
    fn cache(&self) -> CacheShape {
        CacheShape {
            blocks: 8,
            sequences: 2,
        }
    }
    fn admit(&mut self, _: SequenceId, _: Option<Prelude>) -> Result<(), Failure> {
        Ok(())
    }
    fn step(&mut self, step: &Step) -> Result<Rows, Failure> {
        let logits = step.logit_rows().flat_map(|_| [0.0, 0.0, 1.0]).collect();
        Ok(Rows { width: 3, logits })
    }
    fn release(&mut self, _: SequenceId) {}
}

impl Loader for Companion {
    fn choose(&self, model: &str) -> Result<Served, Failure> {
        Ok(Served {
            weights: model.into(),
            grade: Grade::Stub,
        })
    }
    fn load(&self, _: &Served) -> Result<Lane, Failure> {
        Ok(Lane::steps::<Tell>(Arc::new(self.clone()), Model))
    }
}

async fn ask(engine: &Engine, is_brief: bool, panics: bool) -> Result<Vec<u32>, Failure> {
    let asked = Asked { is_brief, panics };
    let mut replies = engine.submit::<Tell>("teller", asked).await?;
    let mut all = Vec::new();
    while let Some(event) = replies.next().await {
        all.push(event?);
    }
    Ok(all)
}

#[tokio::test]
async fn a_brief_request_is_prepared_on_the_thread_that_asks() {
    let companion = Companion::default();
    let engine = Engine::start(Arc::new(companion.clone()), "test").unwrap();
    for is_brief in [true, false] {
        assert_eq!(ask(&engine, is_brief, false).await.unwrap(), [2]);
        let here = std::thread::current().id();
        let prepared = companion.0.lock().unwrap().pop().unwrap();
        assert_eq!(prepared == here, is_brief);
    }
}

#[tokio::test]
async fn a_panic_fails_the_request_that_was_being_prepared_and_no_other() {
    let engine = Engine::start(Arc::new(Companion::default()), "test").unwrap();
    for is_brief in [true, false] {
        let failed = ask(&engine, is_brief, true).await.unwrap_err();
        assert!(matches!(failed, Failure::Internal(_)), "{failed}");
        assert_eq!(ask(&engine, is_brief, false).await.unwrap(), [2]);
    }
    // Nothing of it is held: the model is idle.
    assert!(engine.loaded().iter().all(|loaded| loaded.busy == 0));
}
