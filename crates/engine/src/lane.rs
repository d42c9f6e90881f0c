//! A loaded model behind one of the three loops, its task's types hidden and found again.

use std::any::{Any, TypeId};
use std::sync::{Arc, mpsc};

use tasks::{Failure, Task};

use crate::QUEUE_MAX_JOBS;
use crate::batch::BatchLane;
use crate::caller::Caller;
use crate::direct::Running;
use crate::lease::Lease;
use crate::model::{
    BatchCompanion, BatchModel, SessionCompanion, SessionModel, StepCompanion, StepModel,
};
use crate::replies::Reply;
use crate::sessions::SessionLane;
use crate::steps::StepLane;
use crate::thread::{Bell, DeviceHalf};
use crate::work::Meter;

/// The answers of a job that the device thread sends.
type Replies<T> = tokio::sync::mpsc::Receiver<Reply<<T as Task>::Event>>;

/// Where the answers of a job come from.
pub(crate) enum Source<E> {
    /// The device thread.
    Queue(tokio::sync::mpsc::Receiver<Reply<E>>),
    /// Whoever reads them.
    Direct(Running<E>),
}

/// Prepares a request and queues or answers it. Blocks on the preparation only.
pub(crate) type Door<T> = dyn Fn(<T as Task>::Request, Caller, Lease) -> Result<Source<<T as Task>::Event>, Failure>
    + Send
    + Sync;

/// Whether a request is prepared so soon that a thread which must not block may do it.
pub(crate) type Quick<T> = dyn Fn(&<T as Task>::Request) -> bool + Send + Sync;

/// Where the requests of one task go in.
struct Entrance<T: Task> {
    door: Arc<Door<T>>,
    is_quick: Box<Quick<T>>,
}

/// A loaded model in its loop, ready for a device thread.
pub struct Lane {
    pub(crate) front: Front,
    /// `None`: it needs no device.
    pub(crate) half: Option<Box<dyn DeviceHalf>>,
}

/// The doors of a lane, one a task; a few at most.
#[derive(Default)]
pub(crate) struct Doors(Vec<DoorOfTask>);

struct DoorOfTask {
    task: TypeId,
    name: &'static str,
    /// The [`Entrance`] of the task.
    entrance: Box<dyn Any + Send + Sync>,
}

impl Doors {
    pub(crate) fn add<T: Task>(&mut self, door: Arc<Door<T>>, is_quick: Box<Quick<T>>) {
        self.0.push(DoorOfTask {
            task: TypeId::of::<T>(),
            name: T::NAME,
            entrance: Box::new(Entrance::<T> { door, is_quick }),
        });
    }

    fn one<T: Task>(door: Arc<Door<T>>, is_quick: Box<Quick<T>>) -> Self {
        let mut doors = Self::default();
        doors.add::<T>(door, is_quick);
        doors
    }
}

/// The shared half of a lane: where requests go in.
#[derive(Clone)]
pub(crate) struct Front {
    doors: Arc<Doors>,
    pub(crate) bell: Arc<Bell>,
    /// Of a lane that generates token by token.
    pub(crate) meter: Option<Arc<Meter>>,
}

impl Front {
    pub(crate) fn new(bell: Arc<Bell>, doors: Doors) -> Self {
        Self {
            doors: Arc::new(doors),
            bell,
            meter: None,
        }
    }

    fn of<T: Task>(&self) -> Option<&Entrance<T>> {
        let wanted = TypeId::of::<T>();
        let found = self.doors.0.iter().find(|door| door.task == wanted)?;
        found.entrance.downcast_ref()
    }

    /// Whether [`Front::submit`] may be called for a request on a thread that must not block.
    pub(crate) fn is_quick<T: Task>(&self, request: &T::Request) -> bool {
        self.of::<T>()
            .is_some_and(|entrance| (entrance.is_quick)(request))
    }

    /// Prepares a request and queues it; for a thread that may block, unless the request is quick.
    pub(crate) fn submit<T: Task>(
        &self,
        request: T::Request,
        caller: Caller,
        lease: Lease,
    ) -> Result<Source<T::Event>, Failure> {
        let entrance = self.of::<T>().ok_or_else(|| {
            let (asked, has) = (T::NAME, self.task());
            Failure::Internal(format!("a {asked} request for a model of {has}"))
        })?;
        (entrance.door)(request, caller, lease)
    }

    /// The name of its task, where it has one.
    pub(crate) fn task(&self) -> &'static str {
        match self.doors.0.as_slice() {
            [] => "no task",
            [only] => only.name,
            _ => MANY_TASKS,
        }
    }
}

/// Stands for the name of its task where a lane has several.
const MANY_TASKS: &str = "many tasks";

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
    /// A lane whose door queues what `prepare` makes of a request for the device half.
    fn queued<T: Task, J: Send + 'static, H: DeviceHalf + 'static>(
        prepare: impl Fn(T::Request, Caller, Lease) -> Result<(J, Replies<T>), Failure>
        + Send
        + Sync
        + 'static,
        is_quick: Box<Quick<T>>,
        half: impl FnOnce(mpsc::Receiver<J>) -> H,
    ) -> Self {
        let (queue, jobs) = mpsc::sync_channel(QUEUE_MAX_JOBS);
        let bell = Bell::new();
        let ring = bell.clone();
        let door: Arc<Door<T>> = Arc::new(move |request, caller, lease| {
            let (job, replies) = prepare(request, caller, lease)?;
            enqueue(&queue, &ring, job)?;
            Ok(Source::Queue(replies))
        });
        Self {
            front: Front::new(bell, Doors::one::<T>(door, is_quick)),
            half: Some(Box::new(half(jobs))),
        }
    }

    /// A model that generates token by token, many sequences at once.
    pub fn steps<T: Task>(
        companion: Arc<dyn StepCompanion<T>>,
        model: impl StepModel + 'static,
    ) -> Self {
        let brief = companion.clone();
        let is_quick = Box::new(move |request: &T::Request| brief.is_brief(request));
        let prepare = move |request, caller, lease| {
            let admission = companion.admit(request)?;
            Ok(crate::steps::Job::new(admission, caller, lease))
        };
        let meter = Arc::new(Meter::default());
        let counted = meter.clone();
        let half = |jobs| StepLane::new(model, jobs, counted);
        let mut lane = Self::queued::<T, _, _>(prepare, is_quick, half);
        lane.front.meter = Some(meter);
        lane
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
        let prepare =
            move |request, _, lease| Ok(crate::batch::Job::new(companion.prepare(request)?, lease));
        Self::queued::<T, _, _>(prepare, Box::new(|_| false), |jobs| {
            BatchLane::new(model, jobs)
        })
    }

    /// A model that works on long jobs side by side.
    pub fn sessions<T, W>(
        companion: Arc<dyn SessionCompanion<T, Work = W>>,
        model: impl SessionModel<T, Work = W> + 'static,
    ) -> Self
    where
        T: Task,
        W: Send + 'static,
    {
        let prepare = move |request, _, lease| {
            Ok(crate::sessions::Job::new(
                companion.prepare(request)?,
                lease,
            ))
        };
        Self::queued::<T, _, _>(prepare, Box::new(|_| false), |jobs| {
            SessionLane::new(model, jobs)
        })
    }
}
