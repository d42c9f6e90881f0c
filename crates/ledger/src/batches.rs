//! Asynchronous batches: accepted durably, answered item by item, each item once.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, ErrorCode, OptionalExtension, params};
use uuid::Uuid;

use crate::ledger_error::LedgerError;
use crate::results::{Finished, finished};
use crate::{Ledger, State};

/// The most bytes that the requests of one batch may have together, their references included.
pub const BATCH_MAX_BYTES: usize = 10_000_000;

/// The most requests that one batch may have.
pub const BATCH_MAX_ITEMS: usize = 50_000;

/// The most bytes that all batches may keep, results included, for another one to be accepted.
pub const STORED_MAX_BYTES: u64 = 1024 * 1024 * 1024;

/// The most bytes that one batch may keep, results included.
pub const BATCH_KEPT_MAX_BYTES: u64 = 128 * 1024 * 1024;

/// How long a finished batch is kept.
pub const RETENTION: Duration = Duration::from_hours(24);

/// What a row costs beside its texts, in bytes, rounded up.
const ROW_BYTES: u64 = 128;

/// A request of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The input, as JSON.
    pub input: String,
    /// The caller's own name of it, which comes back with its result.
    pub reference: Option<String>,
}

/// An item that is to be answered. It is handed out to one at a time; dropping it gives it back.
#[derive(Debug)]
pub struct Taken {
    ledger: Ledger,
    batch: i64,
    reference: Option<String>,
    /// The item.
    pub item: Item,
}

/// What has to be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The batch.
    pub request_id: Uuid,
    /// The place in the batch, from 0.
    pub position: u32,
    /// The model's name.
    pub model: String,
    /// The input, as JSON.
    pub input: String,
    /// How often it was taken and neither answered nor given back, this time included: an item that ends its process
    /// each time is known by it.
    pub attempts: u32,
}

/// How an item ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ItemOutcome {
    /// It was answered.
    Answered {
        /// The result, as JSON.
        json: String,
        /// Tokens that were read, where the result counts them.
        prompt_tokens: u64,
        /// Tokens that were written.
        completion_tokens: u64,
    },
    /// What went wrong.
    Failed(String),
}

/// An item with its result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemResult {
    /// The place in the batch, from 0.
    pub position: u32,
    /// How it ended.
    pub outcome: ItemOutcome,
    /// The caller's own name of it.
    pub reference: Option<String>,
}

/// Where a batch is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Polled {
    /// No item was begun.
    Queued,
    /// Some items are answered, or one is being answered.
    Running,
    /// Every item has its result; [`Ledger::page`] reads them.
    Done(Finished),
}

impl Ledger {
    /// Accepts a batch. When this returns, the batch is on disk.
    ///
    /// # Errors
    /// [`LedgerError::EmptyBatch`], [`LedgerError::BatchTooLarge`], [`LedgerError::Full`], [`LedgerError::Sqlite`].
    pub fn accept(
        &self,
        model: &str,
        requests: &[Request],
        now: SystemTime,
    ) -> Result<Uuid, LedgerError> {
        let bytes = size(requests)?;
        let mut state = self.state();
        sweep(&mut state, now)?;
        if state.stored_bytes + bytes > STORED_MAX_BYTES {
            return Err(LedgerError::Full {
                stored_bytes: state.stored_bytes,
                asked_bytes: bytes,
                limit_bytes: STORED_MAX_BYTES,
            });
        }
        let request_id = Uuid::new_v4();
        let change = state.connection.transaction()?;
        change.execute(
            "INSERT INTO batch (request_id, model, items, bytes, accepted_at) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![
                request_id.to_string(),
                model,
                requests.len() as i64,
                bytes as i64,
                milliseconds(now)
            ],
        )?;
        let batch = change.last_insert_rowid();
        {
            let mut add =
                change.prepare_cached("INSERT INTO batch_open (batch, position, input, reference) VALUES (?1, ?2, ?3, ?4)")?;
            for (position, request) in requests.iter().enumerate() {
                add.execute(params![
                    batch,
                    position as i64,
                    request.input,
                    request.reference
                ])?;
            }
        }
        change.commit()?;
        state.stored_bytes += bytes;
        Ok(request_id)
    }

    /// Takes the next item: of the batch that was accepted first, the first that has no result and is not taken.
    ///
    /// # Errors
    /// [`LedgerError::Sqlite`].
    pub fn take(&self) -> Result<Option<Taken>, LedgerError> {
        let mut state = self.state();
        let found = {
            let mut rows = state.connection.prepare_cached(
                "SELECT batch, position, input, reference FROM batch_open ORDER BY batch, position LIMIT ?1",
            )?;
            // Behind as many rows as are taken there is one that is not.
            let mut rows = rows.query([state.taken.len() as i64 + 1])?;
            loop {
                let Some(row) = rows.next()? else {
                    return Ok(None);
                };
                let key: (i64, u32) = (row.get(0)?, row.get(1)?);
                if !state.taken.contains(&key) {
                    let (input, reference) = (row.get(2)?, row.get(3)?);
                    break (key.0, key.1, input, reference);
                }
            }
        };
        let (batch, position, input, reference) = found;
        let (request_id, model): (String, String) = state.connection.query_row(
            "SELECT request_id, model FROM batch WHERE number = ?1",
            [batch],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        let attempts = state
            .connection
            .prepare_cached(
                "UPDATE batch_open SET attempts = attempts + 1 WHERE batch = ?1 AND position = ?2 RETURNING attempts",
            )?
            .query_row(params![batch, position], |row| row.get(0))?;
        state.taken.insert((batch, position));
        Ok(Some(Taken {
            ledger: self.clone(),
            batch,
            reference,
            item: Item {
                request_id: request_id.parse().unwrap_or_default(),
                position,
                model,
                input,
                attempts,
            },
        }))
    }

    /// Where a batch is; `None` for one that is not known, or no longer.
    ///
    /// # Errors
    /// [`LedgerError::Sqlite`].
    pub fn poll(
        &self,
        request_id: Uuid,
        model: &str,
        now: SystemTime,
    ) -> Result<Option<Polled>, LedgerError> {
        let mut state = self.state();
        sweep(&mut state, now)?;
        let found: Option<(i64, bool)> = state
            .connection
            .prepare_cached(
                "SELECT number, finished_at IS NOT NULL FROM batch WHERE request_id = ?1 AND model = ?2",
            )?
            .query_row(params![request_id.to_string(), model], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()?;
        let Some((batch, is_finished)) = found else {
            return Ok(None);
        };
        if is_finished {
            return Ok(Some(Polled::Done(finished(&state.connection, batch)?)));
        }
        let is_begun = state.taken.iter().any(|(taken, _)| *taken == batch)
            || state
                .connection
                .prepare_cached("SELECT 1 FROM batch_result WHERE batch = ?1")?
                .exists([batch])?;
        Ok(Some(if is_begun {
            Polled::Running
        } else {
            Polled::Queued
        }))
    }

    /// Removes batches past their time.
    ///
    /// # Errors
    /// [`LedgerError::Sqlite`].
    pub fn sweep(&self, now: SystemTime) -> Result<(), LedgerError> {
        self.shared.sweep(now)
    }

    /// Bytes that batches keep, results included.
    pub fn stored_bytes(&self) -> u64 {
        self.state().stored_bytes
    }
}

impl Taken {
    /// Writes the item's result, once, and on disk when this returns.
    ///
    /// # Errors
    /// [`LedgerError::AlreadyAnswered`], [`LedgerError::Sqlite`]; it may be tried again. The item is given back when
    /// this is dropped unfinished.
    pub fn finish(&self, outcome: &ItemOutcome, now: SystemTime) -> Result<(), LedgerError> {
        let reference_bytes = self.reference.as_ref().map_or(0, String::len) as u64;
        let before = self.item.input.len() as u64 + reference_bytes + ROW_BYTES;
        let no_room;
        let (mut is_success, mut body, mut tokens) = match outcome {
            ItemOutcome::Answered {
                json,
                prompt_tokens,
                completion_tokens,
            } => (true, json, (*prompt_tokens, *completion_tokens)),
            ItemOutcome::Failed(text) => (false, text, (0, 0)),
        };
        let mut state = self.ledger.state();
        let stored_bytes = state.stored_bytes;
        let change = state.connection.transaction()?;
        let kept: i64 = change
            .prepare_cached("SELECT bytes FROM batch WHERE number = ?1")?
            .query_row([self.batch], |row| row.get(0))?;
        let grows = (body.len() as u64 + reference_bytes + ROW_BYTES).saturating_sub(before);
        if grows > 0
            && (kept as u64 + grows > BATCH_KEPT_MAX_BYTES
                || stored_bytes + grows > STORED_MAX_BYTES)
        {
            no_room = format!(
                "no room for a result of {} bytes: a batch keeps at most {BATCH_KEPT_MAX_BYTES} bytes, all together \
                 {STORED_MAX_BYTES}. Ask for it in a smaller batch",
                body.len()
            );
            (is_success, body, tokens) = (false, &no_room, (0, 0));
        }
        let after = body.len() as u64 + reference_bytes + ROW_BYTES;
        let written = change
            .prepare_cached("INSERT INTO batch_result VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?
            .execute(params![
                self.batch,
                self.item.position,
                is_success,
                body,
                self.reference,
                tokens.0 as i64,
                tokens.1 as i64,
            ]);
        match written {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
                return Err(LedgerError::AlreadyAnswered {
                    request_id: self.item.request_id,
                    position: self.item.position,
                });
            }
            other => other?,
        };
        change
            .prepare_cached("DELETE FROM batch_open WHERE batch = ?1 AND position = ?2")?
            .execute(params![self.batch, self.item.position])?;
        change
            .prepare_cached(
                "UPDATE batch SET bytes = bytes + ?2, finished_at = CASE
                    WHEN EXISTS (SELECT 1 FROM batch_open WHERE batch = ?1) THEN NULL ELSE ?3 END
                 WHERE number = ?1",
            )?
            .execute(params![
                self.batch,
                after as i64 - before as i64,
                milliseconds(now)
            ])?;
        change.commit()?;
        state.stored_bytes = (state.stored_bytes + after).saturating_sub(before);
        Ok(())
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let key = (self.batch, self.item.position);
        let mut state = self.ledger.state();
        state.taken.remove(&key);
        // An attempt that was given back did not end the process. A finished item has no row any more.
        let given_back = state
            .connection
            .prepare_cached(
                "UPDATE batch_open SET attempts = attempts - 1 WHERE batch = ?1 AND position = ?2",
            )
            .and_then(|mut update| update.execute(params![key.0, key.1]));
        let _ = given_back; // at worst one attempt too many is counted
    }
}

/// What a batch will keep.
fn size(requests: &[Request]) -> Result<u64, LedgerError> {
    let too_large = |unit, found, limit| LedgerError::BatchTooLarge { unit, found, limit };
    if requests.is_empty() {
        return Err(LedgerError::EmptyBatch);
    }
    if requests.len() > BATCH_MAX_ITEMS {
        return Err(too_large("requests", requests.len(), BATCH_MAX_ITEMS));
    }
    let texts = requests
        .iter()
        .map(|request| request.input.len() + request.reference.as_ref().map_or(0, String::len));
    let texts: usize = texts.sum();
    if texts > BATCH_MAX_BYTES {
        return Err(too_large("bytes", texts, BATCH_MAX_BYTES));
    }
    Ok(texts as u64 + ROW_BYTES * (requests.len() as u64 + 1))
}

/// Bytes that the batches of a file keep.
pub(crate) fn stored_bytes(connection: &Connection) -> Result<u64, LedgerError> {
    let bytes: i64 =
        connection.query_row("SELECT coalesce(sum(bytes), 0) FROM batch", [], |row| {
            row.get(0)
        })?;
    Ok(bytes.max(0) as u64)
}

pub(crate) fn sweep(state: &mut State, now: SystemTime) -> Result<(), LedgerError> {
    let oldest = milliseconds(now) - RETENTION.as_millis() as i64;
    let removed = state
        .connection
        .prepare_cached("DELETE FROM batch WHERE finished_at < ?1")?
        .execute([oldest])?;
    if removed > 0 {
        state.stored_bytes = stored_bytes(&state.connection)?;
    }
    Ok(())
}

/// Since 1970; negative before.
pub(crate) fn milliseconds(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => since.as_millis() as i64,
        Err(before) => -(before.duration().as_millis() as i64),
    }
}
