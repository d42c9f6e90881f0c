//! Who has had how much: a virtual token counter for each tenant (Sheng et al. 2024), and the places it holds.

use std::collections::HashMap;

/// What a row of a prompt and a generated token count.
pub(super) const PROMPT_TOKEN: u64 = 1;
pub(super) const NEW_TOKEN: u64 = 2;

/// Tenants without work whose counters are kept.
const AWAY_MAX_TENANTS: usize = 1024;

#[derive(Debug, Default, Clone, Copy)]
struct Tenant {
    counted: u64,
    /// That wait or run.
    sequences: usize,
    /// That run.
    places: usize,
}

/// The counters. Who has been away starts no lower than the lowest of those who have work: idleness saves up nothing.
#[derive(Debug, Default)]
pub(super) struct Tenants(HashMap<u64, Tenant>);

impl Tenants {
    fn working(&self) -> impl Iterator<Item = &Tenant> {
        self.0.values().filter(|tenant| tenant.sequences > 0)
    }

    fn lowest(&self) -> Option<u64> {
        self.working().map(|tenant| tenant.counted).min()
    }

    /// The part of so many places that each tenant with work may hold while others wait, rounded up.
    pub(super) fn share(&self, places: usize) -> usize {
        places.div_ceil(self.working().count().max(1))
    }

    /// One of a tenant's sequences begins to run.
    pub(super) fn take_place(&mut self, tenant: u64) {
        if let Some(tenant) = self.0.get_mut(&tenant) {
            tenant.places += 1;
        }
    }

    /// One of a tenant's sequences runs no more.
    pub(super) fn leave_place(&mut self, tenant: u64) {
        if let Some(tenant) = self.0.get_mut(&tenant) {
            tenant.places -= 1;
        }
    }

    /// Sequences of a tenant that run.
    pub(super) fn places(&self, tenant: u64) -> usize {
        self.0.get(&tenant).map_or(0, |tenant| tenant.places)
    }

    /// One more sequence of a tenant.
    pub(super) fn join(&mut self, tenant: u64) {
        let lowest = self.lowest();
        let tenant = self.0.entry(tenant).or_default();
        if tenant.sequences == 0 {
            tenant.counted = tenant.counted.max(lowest.unwrap_or(0));
        }
        tenant.sequences += 1;
    }

    /// One sequence fewer.
    pub(super) fn leave(&mut self, tenant: u64) {
        if let Some(tenant) = self.0.get_mut(&tenant) {
            tenant.sequences -= 1;
            if tenant.sequences > 0 {
                return;
            }
        }
        let lowest = self.lowest();
        if lowest.is_none() {
            self.0.clear(); // nobody is behind anybody
        } else if self.0.len() > AWAY_MAX_TENANTS {
            let lowest = lowest.unwrap_or(0);
            self.0
                .retain(|_, tenant| tenant.sequences > 0 || tenant.counted > lowest);
            if self.0.len() > 2 * AWAY_MAX_TENANTS {
                self.0.retain(|_, tenant| tenant.sequences > 0);
            }
        }
    }

    pub(super) fn charge(&mut self, tenant: u64, tokens: u64) {
        if let Some(tenant) = self.0.get_mut(&tenant) {
            tenant.counted = tenant.counted.saturating_add(tokens);
        }
    }

    pub(super) fn counted(&self, tenant: u64) -> u64 {
        self.0.get(&tenant).map_or(0, |tenant| tenant.counted)
    }
}
