//! Who waits, and who of them is next.

use std::collections::BTreeMap;

use super::sequence::Sequence;
use super::tenants::Tenants;
use crate::caller::CLASSES;

/// Starts of others that a class lets pass while it waits; then one of its own is next.
pub(super) const PASSED_MAX_STARTS: u32 = 16;

/// In each class, one start of so many goes to the oldest of all tenants: newcomers, who begin at the lowest
/// counter, may not pass somebody for ever.
const OLDEST_EVERY_STARTS: u32 = 8;

/// Where a sequence waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    class: usize,
    tenant: u64,
    arrival: u64,
}

/// The lines of one class: a tenant's sequences by their arrival.
type Lines = BTreeMap<u64, BTreeMap<u64, Sequence>>;

#[derive(Debug, Default)]
pub(super) struct Queue {
    lines: [Lines; CLASSES],
    /// Starts that each class has let pass.
    passed: [u32; CLASSES],
    /// Starts in each class.
    starts: [u32; CLASSES],
    len: usize,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn insert(&mut self, sequence: Sequence) -> Place {
        let place = Place {
            class: sequence.class(),
            tenant: sequence.caller.tenant,
            arrival: sequence.arrival,
        };
        let line = self.lines[place.class].entry(place.tenant).or_default();
        line.insert(place.arrival, sequence);
        self.len += 1;
        place
    }

    /// The most urgent class, or one that has let too many pass; in it a tenant that holds less than its share of so many
    /// places, before those that hold theirs; of several the one that had least, or else whoever has waited longest; of its
    /// sequences the oldest.
    pub(super) fn next(&self, tenants: &Tenants, places: usize) -> Option<Place> {
        let waiting = |class: &usize| !self.lines[*class].is_empty();
        let overdue = |class: &usize| self.passed[*class] >= PASSED_MAX_STARTS;
        let mut classes = (0..CLASSES).filter(waiting);
        let class = (0..CLASSES)
            .rev()
            .filter(waiting)
            .find(overdue)
            .or_else(|| classes.next())?;
        let turn_of_oldest = self.starts[class] % OLDEST_EVERY_STARTS == OLDEST_EVERY_STARTS - 1;
        let share = tenants.share(places);
        let rank = |tenant| {
            if turn_of_oldest {
                (false, 0)
            } else {
                (tenants.places(tenant) >= share, tenants.counted(tenant))
            }
        };
        let (&tenant, line) = self.lines[class].iter().min_by_key(|&(&tenant, line)| {
            let oldest = line.first_key_value().map(|(&arrival, _)| arrival);
            (rank(tenant), oldest)
        })?;
        let (&arrival, _) = line.first_key_value()?;
        Some(Place {
            class,
            tenant,
            arrival,
        })
    }

    pub(super) fn get(&self, place: Place) -> Option<&Sequence> {
        let line = self.lines[place.class].get(&place.tenant)?;
        line.get(&place.arrival)
    }

    pub(super) fn get_mut(&mut self, place: Place) -> Option<&mut Sequence> {
        let line = self.lines[place.class].get_mut(&place.tenant)?;
        line.get_mut(&place.arrival)
    }

    /// Takes out one that leaves.
    pub(super) fn remove(&mut self, place: Place) -> Option<Sequence> {
        let lines = &mut self.lines[place.class];
        let line = lines.get_mut(&place.tenant)?;
        let sequence = line.remove(&place.arrival)?;
        if line.is_empty() {
            lines.remove(&place.tenant);
        }
        if lines.is_empty() {
            self.passed[place.class] = 0;
        }
        self.len -= 1;
        Some(sequence)
    }

    /// Takes out one that starts, and counts it against those that it passes.
    pub(super) fn start(&mut self, place: Place) -> Option<Sequence> {
        let is_overdue = self.passed[place.class] >= PASSED_MAX_STARTS;
        let mut sequence = self.remove(place)?;
        sequence.is_settled |= is_overdue;
        self.starts[place.class] = self.starts[place.class].wrapping_add(1);
        self.passed[place.class] = 0;
        for class in 0..CLASSES {
            if class != place.class && !self.lines[class].is_empty() {
                self.passed[class] += 1;
            }
        }
        Some(sequence)
    }
}
