//! What was used: counts per day and model, kept in memory and put on disk every few seconds.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use rusqlite::params;

use crate::batches::milliseconds;
use crate::ledger_error::LedgerError;
use crate::{Ledger, Shared};

/// Days that are kept.
const KEPT_DAYS: i64 = 400;

/// What a request used, or many did together.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Units {
    /// Requests that were answered.
    pub requests: u64,
    /// Those among them whose neurons are not known.
    pub unpriced: u64,
    /// Neurons, as the service would count them.
    pub neurons: f64,
    /// Tokens that were read.
    pub input_tokens: u64,
    /// Tokens that were written.
    pub output_tokens: u64,
    /// Seconds of audio.
    pub seconds: f64,
}

impl std::ops::AddAssign for Units {
    fn add_assign(&mut self, more: Self) {
        self.requests += more.requests;
        self.unpriced += more.unpriced;
        self.neurons += more.neurons;
        self.input_tokens += more.input_tokens;
        self.output_tokens += more.output_tokens;
        self.seconds += more.seconds;
    }
}

/// What was used of a model on a day.
#[derive(Debug, Clone, PartialEq)]
pub struct Used {
    /// `YYYY-MM-DD`, UTC, where the service's free allowance starts anew too.
    pub day: String,
    /// The model's name.
    pub model: String,
    /// How much.
    pub units: Units,
}

/// Counts that are not on disk yet: by day (since 1970) and model.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    counts: Mutex<Counts>,
}

/// By day and model.
type Counts = HashMap<i64, HashMap<String, Units>>;

impl Buffer {
    fn add(&self, day: i64, model: &str, units: Units) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let of_day = counts.entry(day).or_default();
        match of_day.get_mut(model) {
            Some(counted) => *counted += units,
            None => drop(of_day.insert(model.to_owned(), units)),
        }
    }

    fn take(&self) -> Counts {
        std::mem::take(&mut *self.counts.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Ledger {
    /// Counts; touches memory only. `model` is a name of the catalogue, so that the counts are bounded by it.
    pub fn add(&self, model: &str, units: Units) {
        self.add_at(model, units, SystemTime::now());
    }

    /// As [`Ledger::add`], at a given time.
    pub fn add_at(&self, model: &str, units: Units, now: SystemTime) {
        let day = milliseconds(now).div_euclid(DAY_MILLISECONDS);
        self.shared.usage.add(day, model, units);
    }

    /// Everything that was used, the latest day first, models by name.
    ///
    /// # Errors
    /// [`LedgerError::Sqlite`].
    pub fn report(&self) -> Result<Vec<Used>, LedgerError> {
        self.flush()?;
        let state = self.state();
        let mut rows = state.connection.prepare_cached(
            "SELECT day, model, requests, unpriced, neurons, input_tokens, output_tokens, seconds FROM usage
             ORDER BY day DESC, model",
        )?;
        let rows = rows.query_map([], |row| {
            Ok(Used {
                day: row.get(0)?,
                model: row.get(1)?,
                units: Units {
                    requests: row.get::<_, i64>(2)? as u64,
                    unpriced: row.get::<_, i64>(3)? as u64,
                    neurons: row.get(4)?,
                    input_tokens: row.get::<_, i64>(5)? as u64,
                    output_tokens: row.get::<_, i64>(6)? as u64,
                    seconds: row.get(7)?,
                },
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

impl Ledger {
    /// Neurons of all models on the day (UTC) of `now`, which is what the free allowance of a day is held against.
    ///
    /// # Errors
    /// [`LedgerError::Sqlite`].
    pub fn neurons_of_day(&self, now: SystemTime) -> Result<f64, LedgerError> {
        self.flush()?;
        let day = milliseconds(now).div_euclid(DAY_MILLISECONDS);
        let neurons = self.state().connection.query_row(
            "SELECT total(neurons) FROM usage WHERE day = strftime('%Y-%m-%d', ?1 * 86400, 'unixepoch')",
            [day],
            |row| row.get(0),
        )?;
        Ok(neurons)
    }
}

impl Shared {
    pub(crate) fn flush(&self) -> Result<(), LedgerError> {
        // Taken under the connection's lock, so that a report never misses counts that another flush is writing.
        let mut state = self.state();
        let counts = self.usage.take();
        if counts.is_empty() {
            return Ok(());
        }
        let written = write(&mut state.connection, &counts);
        if written.is_err() {
            for (day, models) in counts {
                for (model, units) in models {
                    self.usage.add(day, &model, units);
                }
            }
        }
        written
    }

    /// Removes batches past their time and days past theirs.
    pub(crate) fn sweep(&self, now: SystemTime) -> Result<(), LedgerError> {
        let mut state = self.state();
        crate::batches::sweep(&mut state, now)?;
        let oldest = milliseconds(now).div_euclid(DAY_MILLISECONDS) - KEPT_DAYS;
        state.connection.execute(
            "DELETE FROM usage WHERE day < strftime('%Y-%m-%d', ?1 * 86400, 'unixepoch')",
            [oldest],
        )?;
        Ok(())
    }
}

fn write(connection: &mut rusqlite::Connection, counts: &Counts) -> Result<(), LedgerError> {
    let change = connection.transaction()?;
    {
        let mut add = change.prepare_cached(
            "INSERT INTO usage VALUES (strftime('%Y-%m-%d', ?1 * 86400, 'unixepoch'), ?2, ?3, ?4, ?5, ?6, ?7, ?8)
             ON CONFLICT (day, model) DO UPDATE SET
                requests = requests + excluded.requests,
                unpriced = unpriced + excluded.unpriced,
                neurons = neurons + excluded.neurons,
                input_tokens = input_tokens + excluded.input_tokens,
                output_tokens = output_tokens + excluded.output_tokens,
                seconds = seconds + excluded.seconds",
        )?;
        let counts = counts
            .iter()
            .flat_map(|(day, models)| models.iter().map(move |(model, units)| (day, model, units)));
        for (day, model, units) in counts {
            add.execute(params![
                day,
                model,
                units.requests as i64,
                units.unpriced as i64,
                units.neurons,
                units.input_tokens as i64,
                units.output_tokens as i64,
                units.seconds,
            ])?;
        }
    }
    change.commit()?;
    Ok(())
}

const DAY_MILLISECONDS: i64 = 24 * 60 * 60 * 1000;
