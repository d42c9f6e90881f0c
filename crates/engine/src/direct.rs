//! Models without a device: their answers are made where they are asked for, piece by piece as they
//! are read. One lane of them can serve several tasks.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tasks::{Failure, Task};

use crate::lane::{Doors, Front, Lane, Source};
use crate::lease::Lease;
use crate::model::DirectModel;
use crate::thread::Bell;

/// An answer, made piece by piece as it is read. Dropping it ends the job, so that it needs no queue
/// and nothing of it waits in memory.
pub type Answer<E> = Box<dyn Iterator<Item = Result<E, Failure>> + Send>;

/// An answer that is being read, and the lease of its model.
pub(crate) struct Running<E> {
    answer: Answer<E>,
    _lease: Lease,
}

impl<E> Running<E> {
    /// The next piece. A model that panics takes this answer with it and no other.
    pub(crate) fn next(&mut self) -> Option<Result<E, Failure>> {
        catch_unwind(AssertUnwindSafe(|| self.answer.next()))
            .unwrap_or_else(|_| Some(Err(panicked())))
    }
}

fn panicked() -> Failure {
    Failure::Internal("a model panicked while it answered".into())
}

/// A lane of models without a device, being put together: a model for each task that it serves.
#[derive(Default)]
pub struct DirectLane(Doors);

impl DirectLane {
    /// A lane that serves nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Answers a task at once, on whatever thread asks. For models that take microseconds: neither
    /// [`DirectModel::answer`] nor a piece of its answer may block or work for long.
    #[must_use]
    pub fn quick<T: Task>(self, model: Arc<dyn DirectModel<T>>) -> Self {
        self.with(model, true)
    }

    /// Answers a task with [`DirectModel::answer`] on a thread that may block, among the requests that
    /// are in preparation. The pieces are made where they are read all the same.
    #[must_use]
    pub fn slow<T: Task>(self, model: Arc<dyn DirectModel<T>>) -> Self {
        self.with(model, false)
    }

    fn with<T: Task>(mut self, model: Arc<dyn DirectModel<T>>, is_quick: bool) -> Self {
        let door = move |request, _, lease| {
            let answer = catch_unwind(AssertUnwindSafe(|| model.answer(request)));
            let answer = answer.unwrap_or_else(|_| Err(panicked()))?;
            Ok(Source::Direct(Running {
                answer,
                _lease: lease,
            }))
        };
        self.0.add::<T>(Arc::new(door), Box::new(move |_| is_quick));
        self
    }
}

impl From<DirectLane> for Lane {
    fn from(lane: DirectLane) -> Self {
        Self {
            front: Front::new(Bell::new(), lane.0),
            half: None,
        }
    }
}
