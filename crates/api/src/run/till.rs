//! Where answers are booked: each once, in the account's count of the day and in the ledger's at the same time.

use std::sync::Arc;

use catalog::Rate;
use tasks::Usage;

use super::answer::{Answer, Content};
use super::neurons::Cost;
use super::{Call, neurons};
use crate::account::Account;
use crate::manage::Meter;

/// Where the cost of one call goes.
pub(super) struct Till {
    account: Arc<Account>,
    meter: Meter,
    rate: Option<Rate>,
}

impl Till {
    pub(super) fn of(call: Call<'_>) -> Self {
        Self {
            account: call.app.account.clone(),
            meter: Meter::of(call.app, &call.card.name),
            rate: call.card.neurons,
        }
    }

    /// Books an answer; what a stream costs comes when it has ended or was left.
    pub(super) fn answered(&self, answer: &Answer) {
        if matches!(answer.content, Content::Events(_)) {
            return self.meter.begun();
        }
        self.spend(answer.cost);
        self.meter.answered(answer.cost);
    }

    /// Books what was read and written for a stream.
    pub(super) fn streamed(&self, usage: Usage) {
        let (read, written) = (usage.prompt_tokens.into(), usage.completion_tokens.into());
        let cost = neurons::of_tokens(self.rate, read, written);
        self.spend(cost);
        self.meter.streamed(cost);
    }

    fn spend(&self, cost: Cost) {
        if let Some(neurons) = cost.neurons {
            self.account.spend(neurons);
        }
    }
}
