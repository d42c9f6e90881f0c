//! Which models are loaded, and the way from a request to one of them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tasks::{Failure, Served, Task};
use tokio::sync::{Semaphore, watch};

use crate::caller::Caller;
use crate::lane::{Front, Lane};
use crate::lease::{Lease, Pulse, Users};
use crate::memory::{Need, Policy};
use crate::replies::Replies;
use crate::slots::{LoadResult, Slot, Slots};
use crate::thread::DeviceThread;
use crate::work::Work;

/// Requests that may be in preparation (template, tokenising, decoding of audio) at once.
const PREPARE_MAX_REQUESTS: usize = 256;

/// Finds and loads the weights that serve a name. Given by the binary.
pub trait Loader: Send + Sync + 'static {
    /// The weights that serve `model` on this machine now. Quick: no download, no load.
    ///
    /// # Errors
    /// [`Failure::NoSuchModel`], or [`Failure::Unavailable`] with what to do about it.
    fn choose(&self, model: &str) -> Result<Served, Failure>;

    /// What the weights will take of the device's memory: from their files' headers, or from the
    /// catalogue while the files are not there. Quick, and asked before every load. Models that are
    /// made of nothing need nothing.
    ///
    /// # Errors
    /// [`Failure::Unavailable`] for files that cannot be read.
    fn need(&self, _served: &Served) -> Result<Need, Failure> {
        Ok(Need::default())
    }

    /// Fetches the weights if they are not there. Blocks; memory is set aside only afterwards.
    ///
    /// # Errors
    /// [`Failure::Unavailable`] where they cannot be had.
    fn fetch(&self, _served: &Served) -> Result<(), Failure> {
        Ok(())
    }

    /// Loads the weights. Blocks; called once for each load, and one load at a time.
    ///
    /// # Errors
    /// [`Failure::Unavailable`] where they do not load.
    fn load(&self, served: &Served) -> Result<Lane, Failure>;

    /// Bytes of memory that the process uses now; asked before and after each load.
    fn memory_in_use(&self) -> Option<u64> {
        None
    }

    /// Gives memory that was freed back to the system. Called after each load and unload.
    fn release_memory(&self) {}
}

/// A loaded model, for listings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The name of its weights.
    pub weights: String,
    /// Its task; `many tasks` where it has several.
    pub task: &'static str,
    /// When it was loaded.
    pub since: SystemTime,
    /// What was set aside for it.
    pub need: Need,
    /// By how much the process grew while it was loaded, in bytes; near to its weights, as caches
    /// grow later, and only near, as other models may have worked at the same time.
    pub measured_bytes: Option<u64>,
    /// What it has done; `None` where it does not generate token by token.
    pub work: Option<Work>,
    /// Jobs that are prepared, queued or running.
    pub busy: usize,
    /// How long it has had none.
    pub idle: Option<Duration>,
    /// When it is unloaded, if nothing asks for it; `None` while it is busy, and where it stays.
    pub expires_in: Option<Duration>,
    /// Whether it is pinned.
    pub pinned: bool,
    /// Whether it goes as soon as it is idle.
    pub stopping: bool,
}

/// What [`Engine::stop`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// It was idle; its memory has been given back.
    Unloaded,
    /// It is busy, or still being loaded, and goes as soon as it is idle.
    WhenIdle {
        /// Jobs that are prepared, queued or running.
        busy: usize,
    },
    /// Nothing of that name was loaded.
    NotLoaded,
}

/// The memory of the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Bytes that all models may need together; `None`: no limit.
    pub budget_bytes: Option<u64>,
    /// Bytes that are set aside now.
    pub needed_bytes: u64,
    /// How long a model may be idle; `None`: for ever.
    pub keep_alive: Option<Duration>,
}

/// The engine. Cheap to clone; its device thread ends with the last clone.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) loader: Arc<dyn Loader>,
    pub(crate) device: Arc<DeviceThread>,
    pub(crate) policy: Policy,
    /// Held for a look-up only, never across a load or a step.
    slots: Mutex<Slots>,
    /// Beats when a model becomes idle, is loaded, or has gone.
    pub(crate) pulse: Pulse,
    /// Held by the one load that reads weights.
    pub(crate) loading: tokio::sync::Mutex<()>,
    preparing: Arc<Semaphore>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.pulse.beat(); // the reaper sees that it is alone
    }
}

impl Inner {
    pub(crate) fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_pinned(&self, weights: &str) -> bool {
        let serves = |model: &str| {
            self.loader
                .choose(model)
                .is_ok_and(|s| s.weights == weights)
        };
        self.policy
            .pinned
            .iter()
            .any(|name| name == weights || serves(name))
    }
}

impl Engine {
    /// Starts an engine with one device thread, no limit of memory, and models that stay.
    ///
    /// # Errors
    /// [`Failure::Internal`] when the system gives no thread.
    pub fn start(loader: Arc<dyn Loader>, device: &str) -> Result<Self, Failure> {
        Self::with_policy(loader, device, Policy::default())
    }

    /// Starts an engine with one device thread.
    ///
    /// # Errors
    /// [`Failure::Internal`] when the system gives no thread.
    pub fn with_policy(
        loader: Arc<dyn Loader>,
        device: &str,
        policy: Policy,
    ) -> Result<Self, Failure> {
        Ok(Self(Arc::new(Inner {
            loader,
            device: Arc::new(DeviceThread::start(device)?),
            policy,
            slots: Mutex::default(),
            pulse: Pulse::new(),
            loading: tokio::sync::Mutex::default(),
            preparing: Arc::new(Semaphore::new(PREPARE_MAX_REQUESTS)),
        })))
    }

    /// Answers a request with the weights that serve `model`, loading them on first use.
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// Whatever the loader, the companion or a full queue says, and [`Failure::Unavailable`] where
    /// the memory does not suffice; later failures come through [`Replies::next`].
    pub async fn submit<T: Task>(
        &self,
        model: &str,
        request: T::Request,
    ) -> Result<Replies<T::Event>, Failure> {
        self.submit_for::<T>(Caller::default(), model, request)
            .await
    }

    /// As [`Engine::submit`], for a caller that is told apart from others. One that refuses to wait for a place among
    /// the sequences of its model gets [`Failure::Busy`] from [`Replies::next`].
    ///
    /// # Errors
    /// As [`Engine::submit`].
    pub async fn submit_for<T: Task>(
        &self,
        caller: Caller,
        model: &str,
        request: T::Request,
    ) -> Result<Replies<T::Event>, Failure> {
        let served = self.0.loader.choose(model)?;
        let (front, lease) = self.front(&served).await?;
        if front.is_quick::<T>(&request) {
            let submit = AssertUnwindSafe(|| front.submit::<T>(request, caller, lease));
            let source = catch_unwind(submit).unwrap_or_else(|_| {
                let why = "preparing a request: it panicked";
                Err(Failure::Internal(why.to_owned()))
            })?;
            return Ok(Replies::new(served, source));
        }
        let permit = self
            .0
            .preparing
            .clone()
            .try_acquire_owned()
            .map_err(|_| Failure::Busy)?;
        let source = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            front.submit::<T>(request, caller, lease)
        })
        .await
        .map_err(|error| Failure::Internal(format!("preparing a request: {error}")))??;
        Ok(Replies::new(served, source))
    }

    /// Loads the weights that serve `model`, if they are not loaded yet.
    ///
    /// # Errors
    /// As [`Engine::submit`].
    pub async fn preload(&self, model: &str) -> Result<Served, Failure> {
        let served = self.0.loader.choose(model)?;
        self.front(&served).await?;
        Ok(served)
    }

    /// The weights that would serve `model` now.
    ///
    /// # Errors
    /// As [`Loader::choose`].
    pub fn served(&self, model: &str) -> Result<Served, Failure> {
        self.0.loader.choose(model)
    }

    /// Unloads weights: now if they are idle, else as soon as they are.
    pub async fn stop(&self, weights: &str) -> Stopped {
        let departure = {
            let mut slots = self.0.slots();
            let Some(slot) = slots.get_mut(weights) else {
                return Stopped::NotLoaded;
            };
            slot.stopping = true;
            if slot.idle_since().is_none() {
                let busy = slot.users.busy();
                return Stopped::WhenIdle { busy };
            }
            slots.take_out(weights)
        };
        if let Some(departure) = departure {
            let departures = [self.0.see_off(departure, "stopped")].into();
            self.0.see_gone(&departures).await;
        }
        Stopped::Unloaded
    }

    /// What is loaded, by name.
    pub fn loaded(&self) -> Vec<Loaded> {
        let now = Instant::now();
        let slots = self.0.slots();
        let mut loaded: Vec<_> = slots
            .loaded()
            .map(|(weights, slot, ready)| Loaded {
                weights: weights.clone(),
                task: ready.front.task(),
                since: ready.since,
                need: slot.need.unwrap_or_default(),
                measured_bytes: ready.measured_bytes,
                work: ready.front.meter.as_ref().map(|meter| meter.read()),
                busy: slot.users.busy(),
                idle: slot
                    .idle_since()
                    .map(|since| now.saturating_duration_since(since)),
                expires_in: slot
                    .due(self.0.policy.keep_alive)
                    .map(|due| due.saturating_duration_since(now)),
                pinned: slot.pinned,
                stopping: slot.stopping,
            })
            .collect();
        loaded.sort_by(|a, b| a.weights.cmp(&b.weights));
        loaded
    }

    /// How much memory is set aside, and how much may be.
    pub fn memory(&self) -> Memory {
        Memory {
            budget_bytes: self.0.policy.budget_bytes,
            needed_bytes: self.0.slots().needed_bytes(),
            keep_alive: self.0.policy.keep_alive,
        }
    }

    /// The model's front, loaded once however many ask at once, and a lease of it. The load goes on
    /// when they leave.
    async fn front(&self, served: &Served) -> Result<(Front, Lease), Failure> {
        let (mut receiver, lease) = self.join_or_start_load(served);
        let result = receiver
            .wait_for(Option::is_some)
            .await
            .map(|found| found.clone());
        match result {
            Ok(Some(result)) => result.map(|front| (front, lease)),
            _ => Err(Failure::Internal(format!(
                "loading {} ended without a result",
                served.weights
            ))),
        }
    }

    fn join_or_start_load(&self, served: &Served) -> (watch::Receiver<LoadResult>, Lease) {
        let inner = &self.0;
        let mut slots = inner.slots();
        let dead = match slots.join(&served.weights) {
            Ok(joined) => return joined,
            Err(dead) => dead,
        };
        if let Some(departure) = dead {
            inner.see_off(departure, "it had panicked");
        }
        if !slots.reaping {
            slots.reaping = true;
            crate::load::spawn(crate::unload::reap(
                Arc::downgrade(inner),
                inner.pulse.subscribe(),
            ));
        }
        let (sender, receiver) = watch::channel(None);
        let users = Users::new(inner.pulse.clone());
        let lease = users.lease();
        slots.insert(
            served.weights.clone(),
            Slot {
                users,
                pinned: inner.is_pinned(&served.weights),
                stopping: false,
                result: receiver.clone(),
                need: None,
                ready: None,
            },
        );
        crate::load::spawn(inner.clone().load(served.clone(), sender));
        (receiver, lease)
    }
}
