//! What is loaded, what is being loaded, and what is on its way out: the state under the fleet's lock.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tasks::Failure;
use tokio::sync::watch;

use crate::lane::Front;
use crate::lease::{Lease, Users};
use crate::memory::{Need, Resident};
use crate::thread::Gone;

/// `None` while the load goes on.
pub(crate) type LoadResult = Option<Result<Front, Failure>>;

/// A set of weights that is loaded, or will be.
pub(crate) struct Slot {
    pub(crate) users: Arc<Users>,
    pub(crate) pinned: bool,
    /// Goes as soon as it is idle, pinned or not.
    pub(crate) stopping: bool,
    pub(crate) result: watch::Receiver<LoadResult>,
    /// What was set aside for it; `None` before that.
    pub(crate) need: Option<Need>,
    pub(crate) ready: Option<Ready>,
}

/// The loaded part of a slot.
pub(crate) struct Ready {
    pub(crate) front: Front,
    pub(crate) gone: Gone,
    pub(crate) since: SystemTime,
    pub(crate) measured_bytes: Option<u64>,
}

/// A model that was taken out of the slots and is still to be dropped by its device.
pub(crate) struct Departure {
    pub(crate) id: u64,
    pub(crate) weights: String,
    pub(crate) ready: Ready,
}

/// All slots.
#[derive(Default)]
pub(crate) struct Slots {
    by_weights: HashMap<String, Slot>,
    /// Departures that have not come to their end.
    leaving: BTreeSet<u64>,
    departures: u64,
    /// Whether the task that unloads idle models runs.
    pub(crate) reaping: bool,
}

impl Slot {
    /// False for a slot whose model or load has died.
    fn is_usable(&self) -> bool {
        match &self.ready {
            Some(ready) => ready.front.bell.is_alive(),
            // A sender that is gone without a result was a load that panicked.
            None => self.result.has_changed().is_ok(),
        }
    }

    pub(crate) fn idle_since(&self) -> Option<Instant> {
        self.ready.as_ref().and(self.users.idle_since())
    }

    /// When it is to be unloaded, if nobody asks for it until then.
    pub(crate) fn due(&self, keep_alive: Option<Duration>) -> Option<Instant> {
        let idle_since = self.idle_since()?;
        if self.stopping {
            return Some(idle_since);
        }
        let keep_alive = keep_alive.filter(|_| !self.pinned)?;
        idle_since.checked_add(keep_alive)
    }
}

impl Slots {
    /// A usable slot and a lease of it. One that is not usable is taken out; what has to be done
    /// about that is the departure.
    pub(crate) fn join(
        &mut self,
        weights: &str,
    ) -> Result<(watch::Receiver<LoadResult>, Lease), Option<Departure>> {
        match self.by_weights.get(weights) {
            Some(slot) if slot.is_usable() => Ok((slot.result.clone(), slot.users.lease())),
            Some(_) => Err(self.take_out(weights)),
            None => Err(None),
        }
    }

    pub(crate) fn insert(&mut self, weights: String, slot: Slot) {
        self.by_weights.insert(weights, slot);
    }

    pub(crate) fn get_mut(&mut self, weights: &str) -> Option<&mut Slot> {
        self.by_weights.get_mut(weights)
    }

    /// Slots whose model works.
    pub(crate) fn loaded(&self) -> impl Iterator<Item = (&String, &Slot, &Ready)> {
        self.by_weights
            .iter()
            .filter(|(_, slot)| slot.is_usable())
            .filter_map(|(weights, slot)| Some((weights, slot, slot.ready.as_ref()?)))
    }

    /// Takes a slot out; gives the departure of its model, if it has one.
    pub(crate) fn take_out(&mut self, weights: &str) -> Option<Departure> {
        let ready = self.by_weights.remove(weights)?.ready?;
        self.departures += 1;
        self.leaving.insert(self.departures);
        Some(Departure {
            id: self.departures,
            weights: weights.to_owned(),
            ready,
        })
    }

    /// Takes out what is due at `now`, and what died, each with the reason. Also gives the next moment at which something
    /// will be due.
    pub(crate) fn expire(
        &mut self,
        now: Instant,
        keep_alive: Option<Duration>,
    ) -> (Vec<(Departure, &'static str)>, Option<Instant>) {
        let mut next: Option<Instant> = None;
        let mut expired = Vec::new();
        for (weights, slot) in &self.by_weights {
            match slot.due(keep_alive) {
                _ if !slot.is_usable() => expired.push((weights.clone(), "it had panicked")),
                Some(_) if slot.stopping => expired.push((weights.clone(), "stopped")),
                Some(due) if due <= now => expired.push((weights.clone(), "idle")),
                Some(due) => next = Some(next.map_or(due, |next| next.min(due))),
                None => {}
            }
        }
        let departures = expired
            .into_iter()
            .filter_map(|(weights, why)| Some((self.take_out(&weights)?, why)))
            .collect();
        (departures, next)
    }

    /// Everything but `weights` that memory is set aside for.
    pub(crate) fn residents(&self, weights: &str) -> (Vec<&String>, Vec<Resident>) {
        self.by_weights
            .iter()
            .filter(|(name, _)| *name != weights)
            .filter_map(|(name, slot)| {
                let resident = Resident {
                    bytes: slot.need?.total_bytes(),
                    idle_since: slot.idle_since(),
                    pinned: slot.pinned && !slot.stopping,
                };
                Some((name, resident))
            })
            .unzip()
    }

    /// Bytes that are set aside.
    pub(crate) fn needed_bytes(&self) -> u64 {
        let needs = self.by_weights.values().filter_map(|slot| slot.need);
        needs.fold(0, |sum, need| sum.saturating_add(need.total_bytes()))
    }

    /// Departures on their way.
    pub(crate) fn leaving(&self) -> BTreeSet<u64> {
        self.leaving.clone()
    }

    pub(crate) fn has_left(&mut self, departure: u64) {
        self.leaving.remove(&departure);
    }
}
