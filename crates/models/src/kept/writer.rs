//! Writes a file of packed weights, matrix by matrix, beside its place; the whole file is put there at the end.

use std::fs::{File, TryLockError};
use std::io::{Error, ErrorKind, Result, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use kernels::{PACKED_ALIGNMENT, PackedLinear};

use super::form::{self, HEADER_BYTES, Header, KEY_MAX_BYTES, Row};
use super::{Identity, Matrix};

/// The name of the lock in the folder.
const LOCK: &str = "lock";
/// How the name of an unfinished file ends.
const UNFINISHED: &str = "part";
/// How that of a whole one does.
pub(super) const KEPT: &str = "packed";

/// A file that is being written. Dropped before its end, it leaves nothing.
pub(crate) struct Writer {
    place: PathBuf,
    unfinished: PathBuf,
    file: File,
    source: Identity,
    table: Vec<u8>,
    /// Bytes so far.
    at: u64,
    /// Held while it is written: one writes in a folder at a time.
    lock: File,
}

impl Writer {
    /// Begins a file that will be at `place`, whose folder is made; `None`: another writes there already.
    pub(super) fn new(place: PathBuf, source: Identity) -> Result<Option<Self>> {
        let folder = place.parent().ok_or(ErrorKind::InvalidInput)?;
        std::fs::create_dir_all(folder)?;
        let mut options = File::options();
        options.create(true).truncate(false).write(true);
        let lock = options.open(folder.join(LOCK))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            // Where the file system knows no locks, two may write: each puts a whole file in its place.
            Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // What ended processes left, and what was made of a file that the set has no more.
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            let end = path.extension();
            if end.is_some_and(|end| end == UNFINISHED || end == KEPT && path != place) {
                std::fs::remove_file(path)?;
            }
        }
        // A name of this process's own: whoever removes the folder meanwhile may have another in the same place.
        let mut unfinished = place.with_added_extension(std::process::id().to_string());
        unfinished.add_extension(UNFINISHED);
        let mut writer = Self {
            file: File::create(&unfinished)?,
            place,
            unfinished,
            source,
            table: Vec::new(),
            at: HEADER_BYTES as u64,
            lock,
        };
        writer.file.write_all(&[0; HEADER_BYTES])?; // the true one comes last
        Ok(Some(writer))
    }

    /// Where the file will be.
    pub(super) fn place(&self) -> &Path {
        &self.place
    }

    /// Adds a matrix.
    pub(super) fn add(&mut self, matrix: &Matrix, packed: &PackedLinear) -> Result<()> {
        let key = matrix.key();
        if key.len() > KEY_MAX_BYTES {
            return Err(Error::other(format!("the name {key:?} is too long")));
        }
        self.pad()?;
        let row = Row {
            packing: matrix.format.packing(),
            outputs: packed.outputs(),
            inputs: packed.inputs(),
            offset: usize::try_from(self.at).map_err(Error::other)?,
        };
        let bytes = packed.as_bytes();
        self.file.write_all(bytes)?;
        self.at += bytes.len() as u64;
        form::add(&mut self.table, &key, &row);
        Ok(())
    }

    /// Brings everything to the disk and puts the file in its place.
    pub(super) fn finish(mut self) -> Result<()> {
        self.pad()?;
        self.file.write_all(&self.table)?;
        let header = Header {
            source: self.source,
            table: self.at,
            file_bytes: self.at + self.table.len() as u64,
        };
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&form::header(&header, &self.table))?;
        self.file.sync_all()?;
        std::fs::rename(&self.unfinished, &self.place)?;
        tracing::info!(
            "packed weights are kept in {} ({} MB on disk): the next load maps them",
            self.place.display(),
            header.file_bytes.div_ceil(1_000_000)
        );
        Ok(())
    }

    fn pad(&mut self) -> Result<()> {
        let next = self.at.next_multiple_of(PACKED_ALIGNMENT as u64);
        let zeros = [0; PACKED_ALIGNMENT];
        self.file.write_all(&zeros[..(next - self.at) as usize])?;
        self.at = next;
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // After the end nothing has this name any more.
        let _ = std::fs::remove_file(&self.unfinished);
        // Closing would free it only with the last copy of the descriptor, which a child may have for a moment.
        let _ = self.lock.unlock();
    }
}
