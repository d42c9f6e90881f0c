//! The memory of a device as integers: what a model needs, and which idle ones go to make room.
//!
//! The decision ([`make_room`]) is a pure function of what is there; `tests/memory.rs` holds it by
//! properties.

use std::fmt;
use std::time::{Duration, Instant};

const MEGABYTE: u64 = 1_000_000;
const GIGABYTE: u64 = 1_000 * MEGABYTE;

/// What a model takes of its device's memory when it works as hard as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Need {
    /// Bytes of the weights as they are kept in memory, which may be more than on disk.
    pub weights_bytes: u64,
    /// Bytes of the KV cache with every block in use; 0 for a model without one.
    pub cache_bytes: u64,
    /// Bytes of the largest step's intermediate tensors.
    pub activation_bytes: u64,
}

impl Need {
    /// Bytes altogether.
    pub fn total_bytes(&self) -> u64 {
        self.weights_bytes
            .saturating_add(self.cache_bytes)
            .saturating_add(self.activation_bytes)
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "weights {}", Needed(self.weights_bytes))?;
        if self.cache_bytes > 0 {
            write!(f, ", KV cache {}", Needed(self.cache_bytes))?;
        }
        write!(f, ", activations {}", Needed(self.activation_bytes))
    }
}

/// How the memory of a device is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Bytes that all models may need together; `None`: no limit.
    pub budget_bytes: Option<u64>,
    /// How long a model may be idle before it is unloaded; `None`: for ever.
    pub keep_alive: Option<Duration>,
    /// Names of models, or of weights, that are neither evicted nor unloaded after a time.
    pub pinned: Vec<String>,
    /// How long a load waits for busy models to come to an end where only they are in its way.
    pub memory_wait: Duration,
}

/// How long a load waits for busy models, unless the policy says otherwise: half of what a request
/// waits for its model.
const MEMORY_WAIT: Duration = Duration::from_mins(1);

impl Default for Policy {
    /// No limit, and every model stays.
    fn default() -> Self {
        Self {
            budget_bytes: None,
            keep_alive: None,
            pinned: Vec::new(),
            memory_wait: MEMORY_WAIT,
        }
    }
}

/// A model that holds memory, as [`make_room`] sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resident {
    /// Bytes that it needs.
    pub bytes: u64,
    /// When its last job ended; `None` while it loads or works.
    pub idle_since: Option<Instant>,
    /// It stays whatever happens.
    pub pinned: bool,
}

/// What [`make_room`] decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Room {
    /// There is room once these residents (by index, least recently used first) have gone.
    Evict(Vec<usize>),
    /// Only busy residents are in the way: there may be room when they come to an end.
    Later,
    /// There is no room, even with everything gone that may go.
    Never,
}

/// Whether `needed_bytes` more fit within `budget_bytes`, and which idle residents have to go.
pub fn make_room(budget_bytes: u64, needed_bytes: u64, residents: &[Resident]) -> Room {
    let sum = |bytes: &mut dyn Iterator<Item = u64>| bytes.fold(0, u64::saturating_add);
    let stays = sum(&mut residents.iter().filter(|r| r.pinned).map(|r| r.bytes));
    if stays.saturating_add(needed_bytes) > budget_bytes {
        return Room::Never;
    }
    let mut held = sum(&mut residents.iter().map(|r| r.bytes));
    let mut idle: Vec<(Instant, usize)> = residents
        .iter()
        .enumerate()
        .filter(|(_, resident)| !resident.pinned && resident.bytes > 0) // what takes nothing gives nothing
        .filter_map(|(index, resident)| Some((resident.idle_since?, index)))
        .collect();
    idle.sort_unstable();
    let mut idle = idle.into_iter();
    let mut evicted = Vec::new();
    while held.saturating_add(needed_bytes) > budget_bytes {
        let Some((_, index)) = idle.next() else {
            return Room::Later;
        };
        held -= residents[index].bytes;
        evicted.push(index);
    }
    Room::Evict(evicted)
}

/// An amount that is needed, rounded up, so that it never looks equal to a limit that it exceeds.
pub(crate) struct Needed(pub(crate) u64);

/// An amount that is there, rounded down.
pub(crate) struct There(pub(crate) u64);

/// From here on an amount is told in gigabytes; below, differences of some megabytes matter.
const TOLD_IN_GIGABYTES: u64 = 10 * GIGABYTE;

impl fmt::Display for Needed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 >= TOLD_IN_GIGABYTES {
            let tenths = self.0.div_ceil(GIGABYTE / 10);
            return write!(f, "{}.{} GB", tenths / 10, tenths % 10);
        }
        write!(f, "{} MB", self.0.div_ceil(MEGABYTE))
    }
}

impl fmt::Display for There {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 >= TOLD_IN_GIGABYTES {
            let tenths = self.0 / (GIGABYTE / 10);
            return write!(f, "{}.{} GB", tenths / 10, tenths % 10);
        }
        write!(f, "{} MB", self.0 / MEGABYTE)
    }
}

/// A time since something, for people.
pub(crate) struct For(pub(crate) Duration);

impl fmt::Display for For {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_secs() {
            seconds if seconds < 120 => write!(f, "{seconds} s"),
            seconds if seconds < 7200 => write!(f, "{} min", seconds / 60),
            seconds => write!(f, "{} h", seconds / 3600),
        }
    }
}
