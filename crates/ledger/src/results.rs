//! The results of a finished batch, read a page at a time: all of them may be more than one wants in memory.

use rusqlite::{Connection, params};

use crate::Ledger;
use crate::batches::{ItemOutcome, ItemResult};
use crate::ledger_error::LedgerError;

/// Bytes of results after which a page ends; one that is longer is a page of its own.
pub const PAGE_MAX_BYTES: usize = 1024 * 1024;

/// A batch whose items all have their results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finished {
    batch: i64,
    /// How many items it has.
    pub items: u32,
    /// Tokens that all items together read.
    pub prompt_tokens: u64,
    /// Tokens that they wrote.
    pub completion_tokens: u64,
}

pub(crate) fn finished(connection: &Connection, batch: i64) -> Result<Finished, LedgerError> {
    let mut counts = connection.prepare_cached(
        "SELECT count(*), coalesce(sum(prompt_tokens), 0), coalesce(sum(completion_tokens), 0) FROM batch_result
         WHERE batch = ?1",
    )?;
    let counts = counts.query_row([batch], |row| {
        Ok(Finished {
            batch,
            items: row.get(0)?,
            prompt_tokens: row.get::<_, i64>(1)? as u64,
            completion_tokens: row.get::<_, i64>(2)? as u64,
        })
    })?;
    Ok(counts)
}

impl Ledger {
    /// The results from a position on, in order: as many as fit a page, and none behind the last one.
    ///
    /// # Errors
    /// [`LedgerError::Unknown`] where the batch was removed meanwhile, [`LedgerError::Sqlite`].
    pub fn page(&self, finished: &Finished, from: u32) -> Result<Vec<ItemResult>, LedgerError> {
        let mut page = Vec::new();
        if from >= finished.items {
            return Ok(page);
        }
        let state = self.state();
        let mut rows = state.connection.prepare_cached(
            "SELECT position, success, body, reference, prompt_tokens, completion_tokens FROM batch_result
             WHERE batch = ?1 AND position >= ?2 ORDER BY position",
        )?;
        let mut rows = rows.query(params![finished.batch, from])?;
        let mut bytes = 0;
        while bytes < PAGE_MAX_BYTES
            && let Some(row) = rows.next()?
        {
            let body: String = row.get(2)?;
            let reference: Option<String> = row.get(3)?;
            bytes += body.len() + reference.as_ref().map_or(0, String::len);
            let outcome = if row.get(1)? {
                ItemOutcome::Answered {
                    json: body,
                    prompt_tokens: row.get::<_, i64>(4)? as u64,
                    completion_tokens: row.get::<_, i64>(5)? as u64,
                }
            } else {
                ItemOutcome::Failed(body)
            };
            page.push(ItemResult {
                position: row.get(0)?,
                outcome,
                reference,
            });
        }
        if page.is_empty() {
            return Err(LedgerError::Unknown("a batch that was removed".into()));
        }
        Ok(page)
    }
}
