//! What was used, and what the service would have billed for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use ledger::{Ledger, Units, Used};
use serde::Serialize;

use super::envelope::{Declined, NO_LEDGER};
use super::prices::{AS_OF, FREE_NEURONS_PER_DAY, USD_PER_1000_NEURONS, rounded, usd};
use crate::App;
use crate::blocking::blocking;
use crate::errors::json;
use crate::run::Cost;

/// Counts what one model does; without a ledger, nothing. Cheap to clone and to use.
#[derive(Debug, Clone)]
pub(crate) struct Meter {
    ledger: Option<Ledger>,
    model: String,
}

impl Meter {
    pub(crate) fn of(app: &App, model: &str) -> Self {
        Self {
            ledger: app.settings.ledger.clone(),
            model: model.to_owned(),
        }
    }

    /// A request was answered.
    pub(crate) fn answered(&self, cost: Cost) {
        self.add(Units {
            requests: 1,
            ..units(cost)
        });
    }

    /// A request is being answered as a stream.
    pub(crate) fn begun(&self) {
        self.add(Units {
            requests: 1,
            ..Units::default()
        });
    }

    /// A stream has ended, or was left.
    pub(crate) fn streamed(&self, cost: Cost) {
        self.add(units(cost));
    }

    fn add(&self, units: Units) {
        if let Some(ledger) = &self.ledger {
            ledger.add(&self.model, units);
        }
    }
}

fn units(cost: Cost) -> Units {
    Units {
        requests: 0,
        unpriced: u64::from(cost.neurons.is_none()),
        neurons: cost.neurons.unwrap_or(0.0),
        input_tokens: cost.read,
        output_tokens: cost.written,
        seconds: cost.seconds,
    }
}

/// `GET /hearth/usage`.
pub(crate) async fn page(State(app): State<Arc<App>>) -> Response {
    let Some(ledger) = app.settings.ledger.clone() else {
        return Declined::unavailable(NO_LEDGER).into_response();
    };
    match blocking("reading the ledger", move || {
        Ok::<_, Declined>(ledger.report()?)
    })
    .await
    {
        Ok(used) => json(StatusCode::OK, &Page::of(used)),
        Err(declined) => declined.into_response(),
    }
}

#[derive(Debug, Serialize)]
struct Page {
    price_table: PriceTable,
    total: Amount,
    /// The latest first.
    days: Vec<OfDay>,
}

#[derive(Debug, Serialize)]
struct PriceTable {
    as_of: &'static str,
    usd_per_1000_neurons: f64,
    free_neurons_per_day: f64,
}

/// Neurons, what they cost at the listed price, and what of it the free allowance of each day leaves.
#[derive(Debug, Default, Serialize)]
struct Amount {
    requests: u64,
    /// Requests whose neurons are not known, and are in no sum.
    unpriced_requests: u64,
    neurons: f64,
    usd: f64,
    billed_neurons: f64,
    billed_usd: f64,
}

#[derive(Debug, Serialize)]
struct OfDay {
    day: String,
    #[serde(flatten)]
    amount: Amount,
    models: Vec<OfModel>,
}

#[derive(Debug, Serialize)]
struct OfModel {
    model: String,
    requests: u64,
    unpriced_requests: u64,
    neurons: f64,
    usd: f64,
    input_tokens: u64,
    output_tokens: u64,
    audio_seconds: f64,
}

impl Page {
    fn of(used: Vec<Used>) -> Self {
        let mut by_day: BTreeMap<String, Vec<Used>> = BTreeMap::new();
        for used in used {
            by_day.entry(used.day.clone()).or_default().push(used);
        }
        let mut total = Amount::default();
        let days = by_day.into_iter().rev().map(|(day, used)| {
            let amount = Amount::of_day(&used);
            total.add(&amount);
            OfDay {
                day,
                amount: amount.rounded(),
                models: used.into_iter().map(OfModel::of).collect(),
            }
        });
        let days = days.collect();
        Self {
            price_table: PriceTable {
                as_of: AS_OF,
                usd_per_1000_neurons: USD_PER_1000_NEURONS,
                free_neurons_per_day: FREE_NEURONS_PER_DAY,
            },
            total: total.rounded(),
            days,
        }
    }
}

impl Amount {
    fn of_day(used: &[Used]) -> Self {
        let neurons: f64 = used.iter().map(|used| used.units.neurons).sum();
        let billed_neurons = (neurons - FREE_NEURONS_PER_DAY).max(0.0);
        Self {
            requests: used.iter().map(|used| used.units.requests).sum(),
            unpriced_requests: used.iter().map(|used| used.units.unpriced).sum(),
            neurons,
            usd: usd(neurons),
            billed_neurons,
            billed_usd: usd(billed_neurons),
        }
    }

    fn add(&mut self, more: &Self) {
        self.requests += more.requests;
        self.unpriced_requests += more.unpriced_requests;
        self.neurons += more.neurons;
        self.usd += more.usd;
        self.billed_neurons += more.billed_neurons;
        self.billed_usd += more.billed_usd;
    }

    fn rounded(self) -> Self {
        Self {
            neurons: rounded(self.neurons),
            usd: rounded(self.usd),
            billed_neurons: rounded(self.billed_neurons),
            billed_usd: rounded(self.billed_usd),
            ..self
        }
    }
}

impl OfModel {
    fn of(used: Used) -> Self {
        let Used { model, units, .. } = used;
        Self {
            model,
            requests: units.requests,
            unpriced_requests: units.unpriced,
            neurons: rounded(units.neurons),
            usd: rounded(usd(units.neurons)),
            input_tokens: units.input_tokens,
            output_tokens: units.output_tokens,
            audio_seconds: rounded(units.seconds),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(day: &str, model: &str, neurons: f64) -> Used {
        let units = Units {
            requests: 1,
            neurons,
            ..Units::default()
        };
        Used {
            day: day.into(),
            model: model.into(),
            units,
        }
    }

    #[test]
    fn the_free_allowance_is_of_a_day_and_of_all_models_together() {
        let page = Page::of(vec![
            used("2026-11-24", "a", 9_000.0),
            used("2026-11-24", "b", 3_000.0),
            used("2026-11-23", "a", 9_999.0),
        ]);
        let told = serde_json::to_value(&page).unwrap();
        let days = &told["days"];
        assert_eq!(days[0]["day"], "2026-11-24");
        assert_eq!(days[0]["usd"], 0.132);
        assert_eq!(days[0]["billed_neurons"], 2000.0);
        assert_eq!(days[0]["billed_usd"], 0.022);
        assert_eq!(days[1]["billed_usd"], 0.0);
        assert_eq!(told["total"]["neurons"], 21_999.0);
        assert_eq!(told["total"]["billed_usd"], 0.022);
    }
}
