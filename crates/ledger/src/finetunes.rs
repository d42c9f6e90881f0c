//! Fine-tunes: their rows. The files are uploaded by `upload`.

use std::path::PathBuf;
use std::time::SystemTime;

use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, params};
use uuid::Uuid;

use crate::batches::milliseconds;
use crate::ledger_error::LedgerError;
use crate::{Asset, Ledger};

/// Fine-tunes that an account may have.
pub const FINETUNES_MAX: usize = 100;

/// Characters that a name may have.
pub const NAME_MAX_CHARACTERS: usize = 255;

/// Characters that a description may have.
pub const DESCRIPTION_MAX_CHARACTERS: usize = 4096;

/// Names of the service's own adapters begin so.
pub const RESERVED_PREFIX: &str = "cf-public-";

/// The folder of all adapters' files.
pub(crate) const FOLDER: &str = "finetunes";

/// A fine-tune.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finetune {
    /// Its id.
    pub id: Uuid,
    /// Its name, of which there is one.
    pub name: String,
    /// The model that it fits.
    pub model: String,
    /// What its owner says of it.
    pub description: String,
    /// Listed for everyone.
    pub public: bool,
    /// When it was created, `YYYY-MM-DDTHH:MM:SS.mmmZ`.
    pub created_at: String,
    /// When a file of it came last, in the same form.
    pub modified_at: String,
    /// The highest rank that its adapter may have.
    pub rank_max: u32,
    /// Whether both files are here.
    pub is_complete: bool,
}

/// A fine-tune as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NewFinetune {
    /// Its name.
    pub name: String,
    /// The model that it fits, one that takes adapters.
    pub model: String,
    /// What its owner says of it.
    pub description: String,
    /// Listed for everyone.
    pub public: bool,
    /// The highest rank that the model takes.
    pub rank_max: u32,
}

const COLUMNS: &str = "id, name, model, description, public, \
                       strftime('%Y-%m-%dT%H:%M:%fZ', created_at / 1000.0, 'unixepoch'), \
                       strftime('%Y-%m-%dT%H:%M:%fZ', modified_at / 1000.0, 'unixepoch'), rank_max, \
                       config_bytes IS NOT NULL AND weight_bytes IS NOT NULL";

impl Ledger {
    /// Creates a fine-tune; its files come later.
    ///
    /// # Errors
    /// [`LedgerError::Refused`] for a name that is empty, too long, reserved or taken, a description that is too
    /// long, and where there are [`FINETUNES_MAX`] already.
    pub fn create_finetune(
        &self,
        new: &NewFinetune,
        now: SystemTime,
    ) -> Result<Finetune, LedgerError> {
        check(new).map_err(LedgerError::Refused)?;
        let id = Uuid::new_v4();
        let now = milliseconds(now);
        let state = self.state();
        let count: i64 =
            state
                .connection
                .query_row("SELECT count(*) FROM finetune", [], |row| row.get(0))?;
        if count as usize >= FINETUNES_MAX {
            return Err(LedgerError::Refused(format!(
                "there are {FINETUNES_MAX} fine-tunes already, the most that may be"
            )));
        }
        let written = state.connection.execute(
            "INSERT INTO finetune (id, name, model, description, public, created_at, modified_at, rank_max)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, ?7)",
            params![
                id.to_string(),
                new.name,
                new.model,
                new.description,
                new.public,
                now,
                new.rank_max
            ],
        );
        match written {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => Err(
                LedgerError::Refused(format!("a fine-tune named {:?} is there already", new.name)),
            ),
            Err(error) => Err(error.into()),
            Ok(_) => {
                let id = id.to_string();
                find(&state.connection, &id)?.ok_or(LedgerError::Unknown(id))
            }
        }
    }

    /// All fine-tunes, in the order of their creation.
    ///
    /// # Errors
    /// [`LedgerError::Sqlite`].
    pub fn finetunes(&self) -> Result<Vec<Finetune>, LedgerError> {
        let state = self.state();
        let mut rows = state.connection.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM finetune ORDER BY created_at, rowid"
        ))?;
        let rows = rows.query_map([], read)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The fine-tune of an id or a name.
    ///
    /// # Errors
    /// [`LedgerError::Sqlite`].
    pub fn finetune(&self, id_or_name: &str) -> Result<Option<Finetune>, LedgerError> {
        find(&self.state().connection, id_or_name)
    }

    /// Where a file of a fine-tune lies once it was uploaded.
    pub fn asset_path(&self, id: Uuid, asset: Asset) -> PathBuf {
        let folder = self.folder().join(FOLDER).join(id.to_string());
        folder.join(asset.file_name())
    }

    /// Whether a file was uploaded.
    pub(crate) fn has_asset(&self, id: Uuid, asset: Asset) -> Result<bool, LedgerError> {
        let sql = match asset {
            Asset::Config => "SELECT config_bytes IS NOT NULL FROM finetune WHERE id = ?1",
            Asset::Weights => "SELECT weight_bytes IS NOT NULL FROM finetune WHERE id = ?1",
        };
        let state = self.state();
        let has = state
            .connection
            .query_row(sql, [id.to_string()], |row| row.get(0))
            .optional()?;
        Ok(has.unwrap_or(false))
    }

    /// Notes that a file is in its place.
    pub(crate) fn keep_asset(
        &self,
        id: Uuid,
        asset: Asset,
        bytes: u64,
        now: SystemTime,
    ) -> Result<(), LedgerError> {
        let sql = match asset {
            Asset::Config => {
                "UPDATE finetune SET config_bytes = ?2, modified_at = ?3 WHERE id = ?1"
            }
            Asset::Weights => {
                "UPDATE finetune SET weight_bytes = ?2, modified_at = ?3 WHERE id = ?1"
            }
        };
        let state = self.state();
        state.connection.execute(
            sql,
            params![id.to_string(), bytes as i64, milliseconds(now)],
        )?;
        Ok(())
    }
}

fn find(connection: &Connection, id_or_name: &str) -> Result<Option<Finetune>, LedgerError> {
    // An id is found in any case of its letters; a name is not.
    let id = id_or_name.parse::<Uuid>().map(|id| id.to_string());
    let found = connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM finetune WHERE id = ?1 OR name = ?2 ORDER BY id = ?1 DESC LIMIT 1"
        ))?
        .query_row(params![id.unwrap_or_default(), id_or_name], read)
        .optional()?;
    Ok(found)
}

fn read(row: &Row<'_>) -> rusqlite::Result<Finetune> {
    let id: String = row.get(0)?;
    Ok(Finetune {
        id: id.parse().unwrap_or_default(),
        name: row.get(1)?,
        model: row.get(2)?,
        description: row.get(3)?,
        public: row.get(4)?,
        created_at: row.get(5)?,
        modified_at: row.get(6)?,
        rank_max: row.get(7)?,
        is_complete: row.get(8)?,
    })
}

fn check(new: &NewFinetune) -> Result<(), String> {
    let characters = new.name.chars().count();
    if new.name.trim().is_empty() {
        return Err("name is empty".into());
    }
    if characters > NAME_MAX_CHARACTERS {
        return Err(format!(
            "name has {characters} characters: at most {NAME_MAX_CHARACTERS} are taken"
        ));
    }
    if new.name.chars().any(char::is_control) {
        return Err("name has control characters".into());
    }
    if new.name.starts_with(RESERVED_PREFIX) {
        return Err(format!(
            "names with the prefix {RESERVED_PREFIX} are reserved"
        ));
    }
    let characters = new.description.chars().count();
    if characters > DESCRIPTION_MAX_CHARACTERS {
        return Err(format!(
            "description has {characters} characters: at most {DESCRIPTION_MAX_CHARACTERS} are taken"
        ));
    }
    Ok(())
}
