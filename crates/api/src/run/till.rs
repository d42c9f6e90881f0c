//! What a stream books at its end, when its handler is long gone.

use std::sync::Arc;

use catalog::Rate;
use tasks::Usage;

use super::{Call, neurons};
use crate::account::Account;
use crate::manage::Meter;

/// Where the cost of one stream goes.
pub(super) struct Till {
    account: Arc<Account>,
    meter: Meter,
    rate: Option<Rate>,
}

impl Till {
    pub(super) fn of(call: Call<'_>) -> Self {
        Self {
            account: call.app.account.clone(),
            meter: call.meter(),
            rate: call.card.neurons,
        }
    }

    /// Books what was read and written.
    pub(super) fn book(&self, usage: Usage) {
        let (read, written) = (usage.prompt_tokens.into(), usage.completion_tokens.into());
        let cost = neurons::of_tokens(self.rate, read, written);
        if let Some(neurons) = cost.neurons {
            self.account.spend(neurons);
        }
        self.meter.streamed(cost);
    }
}
