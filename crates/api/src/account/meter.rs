//! Counts of a minute and of a day.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use super::limits::Limit;

/// Neurons of a day on the free plan; a day begins at midnight UTC.
const DAY_FREE_NEURONS: f64 = 10_000.0;

const DAY_SECONDS: u64 = 24 * 60 * 60;
const MINUTE: Duration = Duration::from_mins(1);

/// What was used.
#[derive(Debug, Default)]
pub(super) struct Meter {
    /// Days since 1970 of the neurons.
    day: u64,
    neurons: f64,
    /// When each minute began and its requests; keys are tasks and models of the catalogue, so that
    /// there are never many.
    minutes: BTreeMap<String, (Instant, u32)>,
}

impl Meter {
    /// A day that has begun with so many neurons.
    pub(super) fn with(neurons: f64) -> Self {
        let mut meter = Self::default();
        meter.spend(neurons);
        meter
    }

    /// Whether the neurons of today are used up.
    pub(super) fn is_spent(&self) -> bool {
        self.day == today() && self.neurons >= DAY_FREE_NEURONS
    }

    pub(super) fn spend(&mut self, neurons: f64) {
        let today = today();
        if self.day != today {
            (self.day, self.neurons) = (today, 0.0);
        }
        self.neurons += neurons;
    }

    /// Counts a request; false, and not counted, where the minute is full.
    pub(super) fn count(&mut self, limit: Limit<'_>) -> bool {
        let now = Instant::now();
        let (began, requests) = self.minutes.entry(limit.key.to_owned()).or_insert((now, 0));
        if now.duration_since(*began) >= MINUTE {
            (*began, *requests) = (now, 0);
        }
        let fits = *requests < limit.per_minute;
        *requests += u32::from(fits);
        fits
    }
}

/// Days since 1970, UTC.
fn today() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH);
    elapsed.unwrap_or_default().as_secs() / DAY_SECONDS
}
