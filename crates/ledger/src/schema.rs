//! The layout of the file: numbered steps, each applied once and in order, and recorded in the file itself.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use crate::ledger_error::LedgerError;

/// Marks the file as a ledger of hearth's (`hrth`), so that another program's database is never taken for one.
pub(crate) const APPLICATION_ID: i64 = 0x6872_7468;

/// The steps. One that was released is never changed; what comes later is a new one.
const STEPS: &[&str] = &[include_str!("schema/1.sql")];

/// Brings a file to the latest layout.
///
/// # Errors
/// [`LedgerError::Newer`] for a file of a later version.
pub(crate) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), LedgerError> {
    let change = connection.transaction_with_behavior(TransactionBehavior::Exclusive)?;
    change.execute_batch(
        "CREATE TABLE IF NOT EXISTS migration (step INTEGER PRIMARY KEY, applied_at TEXT NOT NULL) STRICT",
    )?;
    let found: i64 =
        change.query_row("SELECT coalesce(max(step), 0) FROM migration", [], |row| {
            row.get(0)
        })?;
    let known = STEPS.len() as i64;
    if found > known {
        return Err(LedgerError::Newer {
            path: path.to_owned(),
            found,
            known,
        });
    }
    for (step, sql) in (1..).zip(STEPS).skip(found as usize) {
        change.execute_batch(sql)?;
        change.execute(
            "INSERT INTO migration VALUES (?1, strftime('%Y-%m-%dT%H:%M:%fZ'))",
            [step],
        )?;
    }
    change.pragma_update(None, "application_id", APPLICATION_ID)?;
    change.commit()?;
    Ok(())
}
