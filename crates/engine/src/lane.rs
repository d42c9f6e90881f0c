//! A loaded model behind one of the three loops, its task's types hidden and found again.

use std::any::Any;
use std::sync::{Arc, mpsc};

use tasks::{Failure, Task};

use crate::QUEUE_MAX_JOBS;
use crate::batch::BatchLane;
use crate::lease::Lease;
use crate::model::{BatchCompanion, BatchModel, SoloModel, StepCompanion, StepModel};
use crate::replies::Reply;
use crate::solo::SoloLane;
use crate::steps::StepLane;
use crate::thread::{Bell, DeviceHalf};

type Receiver<E> = tokio::sync::mpsc::Receiver<Reply<E>>;
/// Prepares a request and queues it. Blocks on the preparation only.
type Door<T> = dyn Fn(<T as Task>::Request, Lease) -> Result<Receiver<<T as Task>::Event>, Failure>
    + Send
    + Sync;

/// A loaded model in its loop, ready for a device thread.
pub struct Lane {
    pub(crate) front: Front,
    pub(crate) half: Box<dyn DeviceHalf>,
}

/// The shared half of a lane: where requests go in.
#[derive(Clone)]
pub(crate) struct Front {
    task: &'static str,
    /// An `Arc<Door<T>>` of the lane's task.
    door: Arc<dyn Any + Send + Sync>,
    pub(crate) bell: Arc<Bell>,
}

impl Front {
    fn new<T: Task>(bell: Arc<Bell>, door: Arc<Door<T>>) -> Self {
        Self {
            task: T::NAME,
            door: Arc::new(door),
            bell,
        }
    }

    /// Prepares a request and queues it; for a thread that may block.
    pub(crate) fn submit<T: Task>(
        &self,
        request: T::Request,
        lease: Lease,
    ) -> Result<Receiver<T::Event>, Failure> {
        let door = self.door.downcast_ref::<Arc<Door<T>>>().ok_or_else(|| {
            Failure::Internal(format!(
                "a {} request for a model of {}",
                T::NAME,
                self.task
            ))
        })?;
        door(request, lease)
    }

    pub(crate) fn task(&self) -> &'static str {
        self.task
    }
}

/// Queues a prepared job, or says that the queue is full.
fn enqueue<J>(queue: &mpsc::SyncSender<J>, bell: &Bell, job: J) -> Result<(), Failure> {
    queue.try_send(job).map_err(|error| match error {
        mpsc::TrySendError::Full(_) => Failure::Busy,
        mpsc::TrySendError::Disconnected(_) => {
            Failure::Internal("the model is gone from its device".into())
        }
    })?;
    bell.ring();
    Ok(())
}

impl Lane {
    /// A model that generates token by token, many sequences at once.
    pub fn steps<T: Task>(
        companion: Arc<dyn StepCompanion<T>>,
        model: impl StepModel + 'static,
    ) -> Self {
        let (queue, jobs) = mpsc::sync_channel(QUEUE_MAX_JOBS);
        let bell = Bell::new();
        let ring = bell.clone();
        let door: Arc<Door<T>> = Arc::new(move |request, lease| {
            let (job, receiver) = crate::steps::Job::new(companion.admit(request)?, lease);
            enqueue(&queue, &ring, job)?;
            Ok(receiver)
        });
        Self {
            front: Front::new::<T>(bell, door),
            half: Box::new(StepLane::new(model, jobs)),
        }
    }

    /// A model that answers many jobs with one forward pass.
    pub fn batch<T, W>(
        companion: Arc<dyn BatchCompanion<T, Work = W>>,
        model: impl BatchModel<T, Work = W> + 'static,
    ) -> Self
    where
        T: Task,
        W: Send + 'static,
    {
        let (queue, jobs) = mpsc::sync_channel(QUEUE_MAX_JOBS);
        let bell = Bell::new();
        let ring = bell.clone();
        let door: Arc<Door<T>> = Arc::new(move |request, lease| {
            let (job, receiver) = crate::batch::Job::new(companion.prepare(request)?, lease);
            enqueue(&queue, &ring, job)?;
            Ok(receiver)
        });
        Self {
            front: Front::new::<T>(bell, door),
            half: Box::new(BatchLane::new(model, jobs)),
        }
    }

    /// A model that works on one long job at a time.
    pub fn solo<T: Task>(model: impl SoloModel<T> + 'static) -> Self {
        let (queue, jobs) = mpsc::sync_channel(QUEUE_MAX_JOBS);
        let bell = Bell::new();
        let ring = bell.clone();
        let door: Arc<Door<T>> = Arc::new(move |request, lease| {
            let (job, receiver) = crate::solo::Job::new(request, lease);
            enqueue(&queue, &ring, job)?;
            Ok(receiver)
        });
        Self {
            front: Front::new::<T>(bell, door),
            half: Box::new(SoloLane::new(model, jobs)),
        }
    }
}
