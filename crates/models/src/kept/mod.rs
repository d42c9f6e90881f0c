//! Packed weights of a GGUF file kept on disk: to pack them takes seconds a gigabyte, to read what was packed a fraction.
//!
//! One file stands for one GGUF file ([`form`]). It is written by the load that packs ([`writer`]) and read by later ones
//! ([`file`]) into large pages, which a mapped file has none of. What does not fit, be it of another version, of
//! another source, or damaged, is packed again and replaced.

mod file;
mod form;
mod writer;

use std::cell::RefCell;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use flate2::Crc;
use kernels::{Format, PackedLinear};

use crate::gguf::{Gguf, Part};
use crate::load::Files;
use file::KeptFile;
use writer::{KEPT, Writer};

/// Where packed weights are kept, and which.
#[derive(Debug, Clone)]
pub struct Keep {
    /// The folder; it is made when something is kept.
    pub folder: PathBuf,
    /// Weights that take fewer bytes are packed anew each time.
    pub least_bytes: u64,
    /// What may be written, in bytes.
    pub room_bytes: u64,
}

/// Which file packed weights were made of, as far as that is known without reading all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    bytes: u64,
    /// When it was last changed, since 1970.
    seconds: u64,
    nanoseconds: u32,
    /// CRC-32 of everything before its tensors.
    head: u32,
}

impl Identity {
    fn of(gguf: &Gguf) -> Self {
        let modified = gguf.modified().duration_since(UNIX_EPOCH);
        let modified = modified.unwrap_or_default();
        let mut head = Crc::new();
        head.update(gguf.head());
        Self {
            bytes: gguf.file_bytes(),
            seconds: modified.as_secs(),
            nanoseconds: modified.subsec_nanos(),
            head: head.sum(),
        }
    }
}

/// A matrix of a GGUF file, and in which order its rows are packed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Matrix<'a> {
    /// Of the tensor.
    pub(crate) name: &'a str,
    /// Where the tensor holds several matrices.
    pub(crate) part: Option<Part>,
    /// The size of heads whose rows are put half a head apart; `None`: rows stay in order.
    pub(crate) apart: Option<usize>,
    pub(crate) format: Format,
    pub(crate) outputs: usize,
    pub(crate) inputs: usize,
}

impl Matrix<'_> {
    fn key(&self) -> String {
        let Part { index, count } = self.part.unwrap_or(Part { index: 0, count: 1 });
        let apart = self.apart.unwrap_or(0);
        format!("{} {index}/{count} {apart}", self.name)
    }
}

/// What of a file's weights is packed already, or is kept as it gets packed.
pub(crate) enum Packs {
    /// Nothing is kept.
    Off,
    Kept(KeptFile),
    /// Nothing is written any more once it is empty.
    Writing(RefCell<Option<Writer>>),
}

impl Packs {
    /// For the weights of a GGUF file that a CPU packs.
    pub(crate) fn of(files: &Files, gguf: &Gguf) -> Self {
        let bytes = gguf.packed_bytes();
        let keep = files.keep().filter(|keep| bytes >= keep.least_bytes);
        let Some((keep, name)) = keep.zip(gguf.file().file_name()) else {
            return Self::Off;
        };
        let path = keep.folder.join(name).with_added_extension(KEPT);
        let source = Identity::of(gguf);
        let mut room = keep.room_bytes;
        match KeptFile::open(&path, source) {
            Ok(kept) => {
                tracing::info!("packed weights are read from {}", path.display());
                return Self::Kept(kept);
            }
            Err(Some(why)) => {
                tracing::info!("{} is made anew: {why}", path.display());
                // It is of no use to anybody, and its room is. Who reads it keeps it meanwhile.
                let useless = std::fs::metadata(&path).map_or(0, |found| found.len());
                let freed = std::fs::remove_file(&path).map_or(0, |()| useless);
                room = room.saturating_add(freed);
            }
            Err(None) => {}
        }
        if bytes > room {
            let (bytes, room) = (bytes / 1_000_000, room / 1_000_000);
            let why = format!("they take {bytes} MB, and {room} may be written");
            warn(&path, &why);
            return Self::Off;
        }
        match Writer::new(path.clone(), source) {
            Ok(writer) => Self::Writing(RefCell::new(writer)),
            Err(error) => {
                warn(&path, &error);
                Self::Off
            }
        }
    }

    /// A packed matrix: read where it is kept, or packed, and kept as far as that can be done.
    pub(crate) fn matrix<E>(
        &self,
        matrix: &Matrix,
        pack: impl FnOnce() -> Result<PackedLinear, E>,
    ) -> Result<PackedLinear, E> {
        match self {
            Self::Off => pack(),
            Self::Kept(kept) => kept.find(matrix).map_or_else(pack, Ok),
            Self::Writing(writer) => {
                let packed = pack()?;
                let mut writer = writer.borrow_mut();
                if let Some(open) = writer.as_mut()
                    && let Err(error) = open.add(matrix, &packed)
                {
                    warn(open.place(), &error);
                    *writer = None;
                }
                Ok(packed)
            }
        }
    }

    /// Puts the file in its place, when all that is to be packed was packed.
    pub(crate) fn finish(self) {
        if let Self::Writing(writer) = self
            && let Some(writer) = writer.into_inner()
        {
            let place = writer.place().to_owned();
            if let Err(error) = writer.finish() {
                warn(&place, &error);
            }
        }
    }
}

/// Says why packed weights are not kept: nothing is wrong with the model.
fn warn(place: &Path, why: &dyn Display) {
    tracing::warn!("packed weights are not kept in {}: {why}", place.display());
}
