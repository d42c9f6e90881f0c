//! SHA-256 of files, while they are written and afterwards.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::fetch_error::{FetchError, reading, writing};

/// Bytes read or written at once.
pub(crate) const CHUNK_BYTES: usize = 256 * 1024;

/// A file's hash (lower-case hex) and size in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) sha256: String,
    pub(crate) bytes: u64,
}

/// A new file that is hashed as it is written.
pub(crate) struct HashedFile {
    path: PathBuf,
    file: File,
    hash: Sha256,
    bytes: u64,
}

impl HashedFile {
    pub(crate) fn create(path: &Path) -> Result<Self, FetchError> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(writing(parent))?;
        }
        let file = File::create_new(path).map_err(writing(path))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            hash: Sha256::new(),
            bytes: 0,
        })
    }

    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), FetchError> {
        self.file.write_all(bytes).map_err(writing(&self.path))?;
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Brings the bytes to the disk and tells what they are.
    pub(crate) fn finish(self) -> Result<Sum, FetchError> {
        self.file.sync_all().map_err(writing(&self.path))?;
        Ok(Sum {
            sha256: hex(&self.hash.finalize()),
            bytes: self.bytes,
        })
    }
}

/// Hashes a file that is there.
pub(crate) fn sum_of(path: &Path) -> Result<Sum, FetchError> {
    let mut file = File::open(path).map_err(reading(path))?;
    let mut hash = Sha256::new();
    let mut bytes = 0;
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let read = match file.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(reading(path)(error)),
        };
        hash.update(&chunk[..read]);
        bytes += read as u64;
    }
    Ok(Sum {
        sha256: hex(&hash.finalize()),
        bytes,
    })
}

/// Brings a file's or (where the system can) a folder's entries to the disk.
pub(crate) fn sync(path: &Path) -> Result<(), FetchError> {
    // Windows opens no folder as a file; its rename needs no such help.
    if cfg!(windows) && path.is_dir() {
        return Ok(());
    }
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(writing(path))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_abc_is_the_one_of_fips_180() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/abc");
        let mut file = HashedFile::create(&path).unwrap();
        file.append(b"a").unwrap();
        file.append(b"bc").unwrap();
        let sum = file.finish().unwrap();
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!((sum.sha256.as_str(), sum.bytes), (expected, 3));
        assert_eq!(sum_of(&path).unwrap(), sum);
    }
}
