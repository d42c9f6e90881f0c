//! The hashes of a blob, while it comes and afterwards, and whether they are the promised ones.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::digest::{CHUNK_BYTES, Sum, hex};
use crate::fetch_error::{FetchError, reading};

/// What a file must be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Promise<'a> {
    /// What the hub calls it by.
    pub(crate) etag: &'a str,
    /// The hash in the catalogue, where it has one.
    pub(crate) sha256: Option<&'a str>,
}

/// Hashes bytes both ways: SHA-256, and as git names a blob.
pub(crate) struct Hasher {
    sha256: Sha256,
    git: Sha1,
    /// Large files are not named by git's hash, so theirs is not taken.
    wants_git: bool,
    bytes: u64,
}

impl Hasher {
    /// For a file of `bytes` bytes that the hub calls `etag`: git's hash begins with the size.
    pub(crate) fn new(etag: &str, bytes: u64) -> Self {
        let mut git = Sha1::new();
        git.update(format!("blob {bytes}\0"));
        Self {
            sha256: Sha256::new(),
            git,
            wants_git: is_hash(etag, 40),
            bytes: 0,
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        if self.wants_git {
            self.git.update(bytes);
        }
        self.bytes += bytes.len() as u64;
    }

    /// Takes in a file from its start.
    pub(crate) fn read(&mut self, path: &Path) -> Result<(), FetchError> {
        let mut file = File::open(path).map_err(reading(path))?;
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            match file.read(&mut chunk) {
                Ok(0) => return Ok(()),
                Ok(read) => self.update(&chunk[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(reading(path)(error)),
            }
        }
    }

    /// What the bytes are, or the promise that they break: what was wanted, and what there is.
    pub(crate) fn finish(self, promise: Promise<'_>) -> Result<Sum, (String, String)> {
        let git = hex(&self.git.finalize());
        let sum = Sum {
            sha256: hex(&self.sha256.finalize()),
            bytes: self.bytes,
        };
        for (want, have) in [
            (
                Some(promise.etag).filter(|etag| is_hash(etag, 64)),
                &sum.sha256,
            ),
            (Some(promise.etag).filter(|etag| is_hash(etag, 40)), &git),
            (promise.sha256, &sum.sha256),
        ] {
            if let Some(want) = want
                && !want.eq_ignore_ascii_case(have)
            {
                return Err((want.to_owned(), have.clone()));
            }
        }
        Ok(sum)
    }
}

/// Hashes a file that is there; `None` where it is not the promised one or cannot be read.
pub(crate) fn check(path: &Path, promise: Promise<'_>) -> Option<Sum> {
    let found = std::fs::metadata(path)
        .ok()
        .filter(std::fs::Metadata::is_file)?;
    let mut hasher = Hasher::new(promise.etag, found.len());
    hasher.read(path).ok()?;
    hasher.finish(promise).ok()
}

impl Promise<'_> {
    /// Whether there is a hash to hold the bytes to.
    pub(crate) fn is_kept_by_hash(self) -> bool {
        self.sha256.is_some() || is_hash(self.etag, 64) || is_hash(self.etag, 40)
    }
}

fn is_hash(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf hello | git hash-object --stdin` and `printf hello | sha256sum`.
    const GIT: &str = "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0";
    const SHA256: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

    #[test]
    fn a_blob_is_named_as_git_and_sha256sum_name_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hello");
        std::fs::write(&path, "hello").unwrap();
        let promise = |etag, sha256| Promise { etag, sha256 };
        for good in [
            promise(GIT, None),
            promise(SHA256, None),
            promise("mirror", Some(SHA256)),
        ] {
            assert_eq!(check(&path, good).unwrap().sha256, SHA256);
        }
        let wrong_git = GIT.replace('b', "c");
        for bad in [promise(&wrong_git, None), promise(GIT, Some(GIT))] {
            assert_eq!(check(&path, bad), None);
        }
        assert!(!promise("mirror", None).is_kept_by_hash());
    }
}
