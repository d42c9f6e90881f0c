//! Asking a stub.

use std::sync::{Arc, LazyLock};

use engine::{Engine, Lane, Loader};
use tasks::{Failure, Grade, Served, Task};
use tokio::runtime::Runtime;

struct Stubs;

impl Loader for Stubs {
    fn choose(&self, _: &str) -> Result<Served, Failure> {
        Ok(Served {
            weights: "stub".into(),
            grade: Grade::Stub,
        })
    }
    fn load(&self, _: &Served) -> Result<Lane, Failure> {
        Ok(doubles::stub::lane())
    }
}

static ENGINE: LazyLock<(Runtime, Engine)> = LazyLock::new(|| {
    let runtime = Runtime::new().unwrap();
    let engine = Engine::start(Arc::new(Stubs), "none").unwrap();
    (runtime, engine)
});

/// All events of an answer.
pub(crate) fn all<T: Task>(request: T::Request) -> Result<Vec<T::Event>, Failure> {
    let (runtime, engine) = &*ENGINE;
    runtime.block_on(async {
        let mut replies = engine.submit::<T>("any", request).await?;
        let mut events = Vec::new();
        while let Some(event) = replies.next().await {
            events.push(event?);
        }
        Ok(events)
    })
}

/// The only event of an answer.
pub(crate) fn one<T: Task>(request: T::Request) -> Result<T::Event, Failure> {
    let mut events = all::<T>(request)?;
    assert_eq!(events.len(), 1);
    Ok(events.remove(0))
}
