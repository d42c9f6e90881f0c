//! What the account that asks may do: its plan, its licences, and what it used up. All of it is off
//! until a setting turns it on. What the server forgets when it ends: agreements and the requests of a minute. The
//! neurons of the day begin where the ledger, if there is one, has them.

mod limits;
mod meter;

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use catalog::ModelCard;
use serde_json::Value;

use crate::errors::Refusal;
use crate::settings::{Plan, Settings};
use meter::Meter;

/// The prompt by which an account agrees to a model's licence.
const AGREEMENT: &str = "agree";

/// The one account of this server.
pub(crate) struct Account {
    plan: Plan,
    has_quota: bool,
    has_rate_limits: bool,
    has_gates: bool,
    /// Models whose licence was agreed to.
    agreed: Mutex<BTreeSet<String>>,
    meter: Mutex<Meter>,
}

impl Account {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            plan: settings.plan,
            has_quota: settings.quota,
            has_rate_limits: settings.rate_limits,
            has_gates: settings.gates,
            agreed: Mutex::default(),
            meter: Mutex::new(Meter::with(used_today(settings))),
        }
    }

    /// Whether the account may ask this model at all.
    ///
    /// # Errors
    /// [`Refusal::PaidOnly`], [`Refusal::Private`].
    pub(crate) fn admit(&self, card: &ModelCard) -> Result<(), Refusal> {
        if card.flags.require_workers_paid && self.plan == Plan::Free {
            return Err(Refusal::PaidOnly(card.name.clone()));
        }
        if card.flags.private_access && self.has_gates {
            return Err(Refusal::Private);
        }
        Ok(())
    }

    /// Whether the model's licence was agreed to, or is with this very prompt.
    ///
    /// # Errors
    /// [`Refusal::NotAgreed`].
    pub(crate) fn check_licence(&self, card: &ModelCard, input: &Value) -> Result<(), Refusal> {
        if !(card.flags.licence_agreement && self.has_gates) {
            return Ok(());
        }
        let mut agreed = open(&self.agreed);
        if input["prompt"] == AGREEMENT {
            agreed.insert(card.name.clone());
        }
        if agreed.contains(&card.name) {
            Ok(())
        } else {
            Err(Refusal::NotAgreed)
        }
    }

    /// Counts a request that is about to run.
    ///
    /// # Errors
    /// [`Refusal::QuotaSpent`], [`Refusal::RateLimited`].
    pub(crate) fn begin(&self, card: &ModelCard) -> Result<(), Refusal> {
        if self.has_quota && open(&self.meter).is_spent() {
            return Err(Refusal::QuotaSpent);
        }
        if self.has_rate_limits
            && let Some(limit) = limits::of(card)
            && !open(&self.meter).count(limit)
        {
            return Err(Refusal::RateLimited);
        }
        Ok(())
    }

    /// Books what an answer cost.
    pub(crate) fn spend(&self, neurons: f64) {
        if self.has_quota {
            open(&self.meter).spend(neurons);
        }
    }
}

/// The neurons of today that were used before this server began.
fn used_today(settings: &Settings) -> f64 {
    let Some(ledger) = settings.ledger.as_ref().filter(|_| settings.quota) else {
        return 0.0;
    };
    ledger
        .neurons_of_day(SystemTime::now())
        .unwrap_or_else(|error| {
            tracing::error!("the neurons of today are not known and begin at none: {error}");
            0.0
        })
}

/// What is behind a lock; the counts are whole after every change, so a panic elsewhere spoils none.
fn open<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}
