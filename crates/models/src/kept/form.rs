//! The form of a file of packed weights, in the machine's own byte order.
//!
//! A header of 64 bytes; the matrices, each from a multiple of 64 bytes on; a table of them. The header ends with a
//! CRC-32 of itself and of the table, so that no table is believed that was not written so.

use std::ops::Range;

use flate2::Crc;
use kernels::{PACKED_ALIGNMENT, PACKING_VERSION, Packing};

use super::Identity;

pub(super) const HEADER_BYTES: usize = 64;
const MAGIC: [u8; 8] = *b"hearth\xfep";
/// Of the header and the table; changes with either.
const FORM_VERSION: u32 = 1;
/// The longest key of a matrix, in bytes.
pub(super) const KEY_MAX_BYTES: usize = 2048;

/// What the header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) source: Identity,
    /// Where the table begins; it ends with the file.
    pub(super) table: u64,
    pub(super) file_bytes: u64,
}

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) packing: Packing,
    pub(super) outputs: usize,
    pub(super) inputs: usize,
    /// Where its bytes begin.
    pub(super) offset: usize,
}

impl Row {
    /// Its bytes within the file; `None`: there are no such numbers.
    pub(super) fn range(&self) -> Option<Range<usize>> {
        let bytes = self.packing.bytes(self.outputs, self.inputs)?;
        Some(self.offset..self.offset.checked_add(bytes)?)
    }
}

/// The header of a file with this table.
pub(super) fn header(header: &Header, table: &[u8]) -> [u8; HEADER_BYTES] {
    let mut bytes = Vec::with_capacity(HEADER_BYTES);
    bytes.extend(MAGIC);
    bytes.extend((FORM_VERSION << 16 | PACKING_VERSION).to_ne_bytes());
    let Identity {
        bytes: source,
        seconds,
        nanoseconds,
        head,
    } = header.source;
    bytes.extend(source.to_ne_bytes());
    bytes.extend(seconds.to_ne_bytes());
    bytes.extend(nanoseconds.to_ne_bytes());
    bytes.extend(head.to_ne_bytes());
    bytes.extend(header.table.to_ne_bytes());
    bytes.extend(header.file_bytes.to_ne_bytes());
    bytes.resize(HEADER_BYTES - size_of::<u32>(), 0);
    let sum = sum(&bytes, table);
    bytes.extend(sum.to_ne_bytes());
    let mut whole = [0; HEADER_BYTES];
    whole.copy_from_slice(&bytes);
    whole
}

/// Adds a row to a table.
pub(super) fn add(table: &mut Vec<u8>, key: &str, row: &Row) {
    table.extend((key.len() as u32).to_ne_bytes());
    table.extend(key.as_bytes());
    table.push(row.packing as u8);
    for number in [row.outputs, row.inputs, row.offset] {
        table.extend((number as u64).to_ne_bytes());
    }
}

/// The rows of a file that was made of this source; else what does not fit.
pub(super) fn rows(file: &[u8], source: Identity) -> Result<Vec<(String, Row)>, &'static str> {
    let (bytes, _) = file
        .split_first_chunk::<HEADER_BYTES>()
        .ok_or("it is too short")?;
    let mut fields = Fields(bytes);
    let damaged = "its header or its table is damaged";
    if fields.take() != Some(MAGIC) {
        return Err("it is no file of packed weights");
    }
    if fields.take().map(u32::from_ne_bytes) != Some(FORM_VERSION << 16 | PACKING_VERSION) {
        return Err("it is of another version");
    }
    let found = fields.header().ok_or(damaged)?;
    if found.file_bytes != file.len() as u64 {
        return Err("its length is another");
    }
    let table = usize::try_from(found.table).ok();
    let table = table
        .filter(|&table| table >= HEADER_BYTES)
        .ok_or(damaged)?;
    let rows = file.get(table..).ok_or(damaged)?;
    if header(&found, rows) != *bytes {
        return Err(damaged);
    }
    if found.source != source {
        return Err("it was made of another file");
    }
    let mut fields = Fields(rows);
    let mut read = Vec::new();
    while !fields.0.is_empty() {
        let (key, row) = fields.row().ok_or(damaged)?;
        let within = row.range().is_some_and(|range| range.end <= table);
        if !within || row.offset < HEADER_BYTES || !row.offset.is_multiple_of(PACKED_ALIGNMENT) {
            return Err(damaged);
        }
        read.push((key, row));
    }
    Ok(read)
}

fn sum(header: &[u8], table: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(header);
    crc.update(table);
    crc.sum()
}

/// What is left to be read.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn size(&mut self) -> Option<usize> {
        usize::try_from(u64::from_ne_bytes(self.take()?)).ok()
    }

    /// What stands behind the version.
    fn header(&mut self) -> Option<Header> {
        Some(Header {
            source: Identity {
                bytes: u64::from_ne_bytes(self.take()?),
                seconds: u64::from_ne_bytes(self.take()?),
                nanoseconds: u32::from_ne_bytes(self.take()?),
                head: u32::from_ne_bytes(self.take()?),
            },
            table: u64::from_ne_bytes(self.take()?),
            file_bytes: u64::from_ne_bytes(self.take()?),
        })
    }

    fn row(&mut self) -> Option<(String, Row)> {
        let length = u32::from_ne_bytes(self.take()?) as usize;
        let key = self.0.get(..length).filter(|_| length <= KEY_MAX_BYTES)?;
        let key = str::from_utf8(key).ok()?.to_owned();
        self.0 = &self.0[length..];
        let packing = match self.take::<1>()? {
            [1] => Packing::FourMin,
            [2] => Packing::Four,
            [3] => Packing::FiveMin,
            [4] => Packing::Eight,
            [5] => Packing::FourK,
            [6] => Packing::FiveK,
            [7] => Packing::SixK,
            _ => return None,
        };
        let row = Row {
            packing,
            outputs: self.size()?,
            inputs: self.size()?,
            offset: self.size()?,
        };
        Some((key, row))
    }
}
