//! Which models are loaded, and the way from a request to one of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tasks::{Failure, Served, Task};
use tokio::sync::{Semaphore, watch};

use crate::lane::{Front, Lane};
use crate::replies::Replies;
use crate::thread::DeviceThread;

/// Requests that may be in preparation (template, tokenising, decoding of audio) at once.
const PREPARE_MAX_REQUESTS: usize = 256;

/// Finds and loads the weights that serve a name. Given by the binary.
pub trait Loader: Send + Sync + 'static {
    /// The weights that serve `model` on this machine now. Quick: no download, no load.
    ///
    /// # Errors
    /// [`Failure::NoSuchModel`], or [`Failure::Unavailable`] with what to do about it.
    fn choose(&self, model: &str) -> Result<Served, Failure>;

    /// Fetches the weights if need be and loads them. Blocks; called once for each load.
    ///
    /// # Errors
    /// [`Failure::Unavailable`] where they cannot be had or do not load.
    fn load(&self, served: &Served) -> Result<Lane, Failure>;
}

/// A loaded model, for listings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The name of its weights.
    pub weights: String,
    /// Its task.
    pub task: &'static str,
    /// When it was loaded.
    pub since: SystemTime,
}

type LoadResult = Option<Result<Front, Failure>>;

struct Slot {
    front: watch::Receiver<LoadResult>,
    since: SystemTime,
}

/// The engine. Cheap to clone; its device thread ends with the last clone.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    loader: Arc<dyn Loader>,
    device: Arc<DeviceThread>,
    /// By name of the weights. Held for a look-up only, never across a load or a step.
    slots: Mutex<HashMap<String, Slot>>,
    preparing: Arc<Semaphore>,
}

impl Engine {
    /// Starts an engine with one device thread.
    ///
    /// # Errors
    /// [`Failure::Internal`] when the system gives no thread.
    pub fn start(loader: Arc<dyn Loader>, device: &str) -> Result<Self, Failure> {
        Ok(Self(Arc::new(Inner {
            loader,
            device: Arc::new(DeviceThread::start(device)?),
            slots: Mutex::new(HashMap::new()),
            preparing: Arc::new(Semaphore::new(PREPARE_MAX_REQUESTS)),
        })))
    }

    /// Answers a request with the weights that serve `model`, loading them on first use.
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// Whatever the loader, the companion or a full queue says; later failures come through
    /// [`Replies::next`].
    pub async fn submit<T: Task>(
        &self,
        model: &str,
        request: T::Request,
    ) -> Result<Replies<T::Event>, Failure> {
        let served = self.0.loader.choose(model)?;
        let front = self.front(&served).await?;
        let permit = self
            .0
            .preparing
            .clone()
            .try_acquire_owned()
            .map_err(|_| Failure::Busy)?;
        let receiver = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            front.submit::<T>(request)
        })
        .await
        .map_err(|error| Failure::Internal(format!("preparing a request: {error}")))??;
        Ok(Replies::new(served, receiver))
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

    /// What is loaded.
    pub fn loaded(&self) -> Vec<Loaded> {
        let slots = self.0.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let mut loaded: Vec<_> = slots
            .iter()
            .filter_map(|(weights, slot)| match &*slot.front.borrow() {
                Some(Ok(front)) if front.bell.is_alive() => Some(Loaded {
                    weights: weights.clone(),
                    task: front.task(),
                    since: slot.since,
                }),
                _ => None,
            })
            .collect();
        loaded.sort_by(|a, b| a.weights.cmp(&b.weights));
        loaded
    }

    /// The model's front, loaded once however many ask at once. The load goes on when they leave.
    async fn front(&self, served: &Served) -> Result<Front, Failure> {
        let mut receiver = self.join_or_start_load(served);
        let result = receiver
            .wait_for(Option::is_some)
            .await
            .map(|found| found.clone());
        match result {
            Ok(Some(result)) => result,
            _ => Err(Failure::Internal(format!(
                "loading {} ended without a result",
                served.weights
            ))),
        }
    }

    fn join_or_start_load(&self, served: &Served) -> watch::Receiver<LoadResult> {
        let mut slots = self.0.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(&served.weights) {
            let usable = match &*slot.front.borrow() {
                // A sender that is gone without a result was a load that panicked.
                None => slot.front.has_changed().is_ok(),
                Some(Ok(front)) => front.bell.is_alive(),
                Some(Err(_)) => false,
            };
            if usable {
                return slot.front.clone();
            }
        }
        let (sender, receiver) = watch::channel(None);
        slots.insert(
            served.weights.clone(),
            Slot {
                front: receiver.clone(),
                since: SystemTime::now(),
            },
        );
        let (loader, device, served) =
            (self.0.loader.clone(), self.0.device.clone(), served.clone());
        tokio::task::spawn_blocking(move || {
            let result = loader.load(&served).and_then(|lane| {
                device.attach(lane.half, &lane.front.bell)?;
                Ok(lane.front)
            });
            sender.send_replace(Some(result));
        });
        receiver
    }
}
