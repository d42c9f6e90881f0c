//! How the file is opened: the lock first, then the database; what is damaged is moved aside, never removed.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, ErrorCode};

use crate::FILE_NAME;
use crate::ledger_error::{LedgerError, at};
use crate::schema;

/// The lock's file. It stays for ever: whoever removed it could give two processes two different locks.
const LOCK_NAME: &str = "ledger.lock";

/// The files that SQLite keeps beside a database.
const COMPANIONS: &[&str] = &["-wal", "-shm", "-journal"];

/// Pages that the write-ahead log may grow to before its content goes into the file.
const WAL_MAX_PAGES: i64 = 1000;

/// A database that is ready for use.
pub(crate) struct Ready {
    pub(crate) connection: Connection,
    pub(crate) lock: File,
    pub(crate) moved_aside: Option<PathBuf>,
}

pub(crate) fn open(folder: &Path) -> Result<Ready, LedgerError> {
    fs::create_dir_all(folder).map_err(at(folder))?;
    let lock = lock(folder)?;
    let path = folder.join(FILE_NAME);
    let mut moved_aside = None;
    let connection = match connect(&path) {
        Err(LedgerError::Sqlite(error)) if is_damage(&error) => {
            moved_aside = Some(move_aside(&path)?);
            connect(&path)?
        }
        other => other?,
    };
    Ok(Ready {
        connection,
        lock,
        moved_aside,
    })
}

fn lock(folder: &Path) -> Result<File, LedgerError> {
    let path = folder.join(LOCK_NAME);
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(at(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LedgerError::InUse(folder.join(FILE_NAME))),
        // Some network file systems cannot lock; SQLite's own lock on the file is what is left there.
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => Ok(file),
        Err(TryLockError::Error(error)) => Err(at(path)(error)),
    }
}

fn connect(path: &Path) -> Result<Connection, LedgerError> {
    let mut connection = Connection::open(path)?;
    // One process, one connection: the file stays locked, and the log needs no shared memory.
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // An acknowledged batch or result is on disk, whatever happens to the machine.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "wal_autocheckpoint", WAL_MAX_PAGES)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    let id: i64 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables > 0 && id != schema::APPLICATION_ID {
        return Err(damage("another program's database"));
    }
    let health: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if health != "ok" {
        return Err(damage(&health));
    }
    schema::migrate(&mut connection, path)?;
    Ok(connection)
}

fn damage(text: &str) -> LedgerError {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
    rusqlite::Error::SqliteFailure(code, Some(text.to_owned())).into()
}

fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
    )
}

/// Renames the file and its companions to a name that is free.
fn move_aside(path: &Path) -> Result<PathBuf, LedgerError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let seconds = now.unwrap_or_default().as_secs();
    let named = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let free = (0..u32::MAX)
        .map(|turn| named(&format!(".damaged-{seconds}-{turn}")))
        .find(|path| !path.exists());
    let aside = free.unwrap_or_else(|| named(".damaged"));
    fs::rename(path, &aside).map_err(at(path))?;
    for companion in COMPANIONS {
        let from = named(companion);
        if from.exists() {
            let mut to = aside.as_os_str().to_owned();
            to.push(companion);
            fs::rename(&from, PathBuf::from(to)).map_err(at(&from))?;
        }
    }
    Ok(aside)
}
