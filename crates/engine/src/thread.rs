//! One thread for each device: it owns every model there and gives each a turn.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::Thread;

use tasks::Failure;
use tokio::sync::oneshot;

/// Lanes that may wait to be taken in by the thread.
const ATTACH_MAX_LANES: usize = 16;

/// What a lane did with its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It worked, and may have more to do.
    Worked,
    /// It has nothing to do until its bell rings.
    Idle,
}

/// The half of a lane that lives on the device thread.
pub(crate) trait DeviceHalf: Send {
    /// Does one bounded piece of work.
    fn turn(&mut self) -> Turn;
}

/// Wakes the device thread, says whether the lane still lives there, and tells it to go.
#[derive(Debug)]
pub(crate) struct Bell {
    thread: OnceLock<Thread>,
    alive: AtomicBool,
    leaving: AtomicBool,
}

impl Bell {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            thread: OnceLock::new(),
            alive: AtomicBool::new(true),
            leaving: AtomicBool::new(false),
        })
    }

    pub(crate) fn ring(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// False once the model panicked: it must be loaded anew.
    pub(crate) fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Acquire)
    }

    /// Has the lane dropped before its next turn. Its jobs, if it has any, are lost: only for
    /// lanes without leases.
    pub(crate) fn send_away(&self) {
        self.leaving.store(true, Ordering::Release);
        self.ring();
    }
}

/// Resolves once a lane and its model have been dropped by the device thread.
#[derive(Debug)]
pub(crate) struct Gone(oneshot::Receiver<Infallible>);

impl Gone {
    /// Of a lane that never was on a device.
    pub(crate) fn at_once() -> Self {
        Self(oneshot::channel().1)
    }

    pub(crate) async fn wait(self) {
        let Err(_) = self.0.await; // nothing is ever sent: the sender is dropped after the model
    }
}

struct Attached {
    /// `None` once it was dropped.
    half: Option<Box<dyn DeviceHalf>>,
    bell: Arc<Bell>,
    /// Dropped after the half: that is what [`Gone`] waits for.
    _here: oneshot::Sender<Infallible>,
}

impl Attached {
    /// Drops the model here and now. Whatever its destructor does, the thread goes on.
    fn drop_half(&mut self) {
        let half = self.half.take();
        if catch_unwind(AssertUnwindSafe(|| drop(half))).is_err() {
            tracing::error!("a model panicked while it was dropped");
        }
    }
}

/// A running device thread. It ends when the handle is dropped.
pub(crate) struct DeviceThread {
    lanes: mpsc::SyncSender<Attached>,
    thread: Thread,
}

impl DeviceThread {
    /// Starts the thread.
    ///
    /// # Errors
    /// [`Failure::Internal`] when the system gives no thread.
    pub(crate) fn start(name: &str) -> Result<Self, Failure> {
        let (lanes, incoming) = mpsc::sync_channel(ATTACH_MAX_LANES);
        let handle = std::thread::Builder::new()
            .name(format!("device-{name}"))
            .spawn(move || run(&incoming))
            .map_err(|error| Failure::Internal(format!("no thread for device {name}: {error}")))?;
        Ok(Self {
            lanes,
            thread: handle.thread().clone(),
        })
    }

    /// Gives a lane to the thread. Blocks while the thread is busy with others; not for async code.
    pub(crate) fn attach(
        &self,
        half: Box<dyn DeviceHalf>,
        bell: &Arc<Bell>,
    ) -> Result<Gone, Failure> {
        let _ = bell.thread.set(self.thread.clone()); // a lane is attached once
        let (here, gone) = oneshot::channel();
        let attached = Attached {
            half: Some(half),
            bell: bell.clone(),
            _here: here,
        };
        self.lanes
            .send(attached)
            .map_err(|_| Failure::Internal("the device thread has ended".into()))?;
        self.thread.unpark();
        Ok(Gone(gone))
    }
}

impl Drop for DeviceThread {
    fn drop(&mut self) {
        // Replaces the sender first, so that the thread sees the channel closed when it wakes.
        let (closed, _) = mpsc::sync_channel(0);
        self.lanes = closed;
        self.thread.unpark();
    }
}

fn run(incoming: &mpsc::Receiver<Attached>) {
    let mut lanes: Vec<Attached> = Vec::new();
    loop {
        loop {
            match incoming.try_recv() {
                Ok(lane) => lanes.push(lane),
                Err(mpsc::TryRecvError::Empty) => break,
                Err(mpsc::TryRecvError::Disconnected) => return,
            }
        }
        let mut worked = false;
        lanes.retain_mut(|lane| {
            let Some(half) = lane.half.as_mut() else {
                return false;
            };
            if lane.bell.leaving.load(Ordering::Acquire) {
                lane.drop_half();
                return false;
            }
            // A model that panics takes its own jobs with it (their channels close) and no others.
            if let Ok(turn) = catch_unwind(AssertUnwindSafe(|| half.turn())) {
                worked |= turn == Turn::Worked;
                return true;
            }
            lane.bell.alive.store(false, Ordering::Release);
            tracing::error!("a model panicked; it is dropped and loaded anew when asked");
            lane.drop_half();
            false
        });
        if !worked {
            std::thread::park(); // a ring before this line makes it return at once
        }
    }
}
