//! The records of a zip archive that lie in it as they are, with the 64-bit sizes of large ones (PKWARE's
//! APPNOTE, 4.3).

use std::collections::HashMap;
use std::ops::Range;

/// The most records.
const RECORDS_MAX: u64 = 65_536;
/// The largest description of tensors, in bytes.
const DESCRIPTION_MAX_BYTES: usize = 16 << 20;
/// The end of an archive without its comment.
const END_BYTES: usize = 22;
/// The end, its longest comment, and what points to 64-bit sizes before it.
const TAIL_BYTES: usize = END_BYTES + 65_535;

const END: &[u8] = b"PK\x05\x06";
const END64: &[u8] = b"PK\x06\x06";
const END64_PLACE: &[u8] = b"PK\x06\x07";
const ENTRY: &[u8] = b"PK\x01\x02";
const LOCAL: &[u8] = b"PK\x03\x04";

/// What a number of 32 bits says where the real one has 64.
const WIDE: u64 = 0xFFFF_FFFF;

/// An archive's records, by name.
pub(super) struct Archive<'a> {
    bytes: &'a [u8],
    records: HashMap<String, Range<usize>>,
}

impl<'a> Archive<'a> {
    /// Reads the list of records.
    pub(super) fn open(bytes: &'a [u8]) -> Result<Self, String> {
        let (count, mut at) = directory(bytes).ok_or("its end is not that of a zip archive")?;
        if count > RECORDS_MAX {
            return Err(format!("it has {count} records; {RECORDS_MAX} at most"));
        }
        let mut records = HashMap::new();
        for number in 0..count {
            let broken = || format!("its record {number} is broken");
            let (name, place, next) = entry(bytes, at).ok_or_else(broken)?;
            at = next;
            if let Some(place) = place {
                records.insert(name, place);
            }
        }
        Ok(Self { bytes, records })
    }

    /// Where a record's bytes lie. One that is compressed is none.
    pub(super) fn record(&self, name: &str) -> Option<Range<usize>> {
        self.records.get(name).cloned()
    }

    /// The folder of everything, with its slash, and the pickle that describes the tensors.
    pub(super) fn description(&self) -> Result<(String, &'a [u8]), String> {
        let mut found = self.records.iter().filter_map(|(name, place)| {
            let folder = name.strip_suffix("data.pkl")?;
            Some((folder.to_owned(), place.clone()))
        });
        let (folder, place) = found.next().ok_or("it has no data.pkl")?;
        if place.len() > DESCRIPTION_MAX_BYTES {
            let bytes = place.len();
            return Err(format!(
                "its data.pkl has {bytes} bytes; {DESCRIPTION_MAX_BYTES} at most"
            ));
        }
        Ok((folder, &self.bytes[place]))
    }
}

/// The number of records, and where their list begins.
fn directory(bytes: &[u8]) -> Option<(u64, usize)> {
    let tail = bytes.len().saturating_sub(TAIL_BYTES);
    let last = bytes.len().checked_sub(END_BYTES)?;
    let end = (tail..=last)
        .rev()
        .find(|&at| bytes[at..].starts_with(END))?;
    let (count, start) = (number(bytes, end + 10, 2)?, number(bytes, end + 16, 4)?);
    if count != 0xFFFF && start != WIDE {
        return Some((count, usize::try_from(start).ok()?));
    }
    let place = end.checked_sub(20)?;
    if !bytes[place..].starts_with(END64_PLACE) {
        return None;
    }
    let end = usize::try_from(number(bytes, place + 8, 8)?).ok()?;
    if !bytes.get(end..)?.starts_with(END64) {
        return None;
    }
    let at = |offset: usize| end.checked_add(offset);
    let start = number(bytes, at(48)?, 8)?;
    Some((number(bytes, at(32)?, 8)?, usize::try_from(start).ok()?))
}

/// The record that the list names at `at`: its name, its bytes where they are stored as they are, and
/// where the next one is named.
#[allow(clippy::type_complexity)] // three parts of one thing, used once
fn entry(bytes: &[u8], at: usize) -> Option<(String, Option<Range<usize>>, usize)> {
    if !bytes.get(at..)?.starts_with(ENTRY) {
        return None;
    }
    let field = |offset: usize, width: usize| number(bytes, at + offset, width);
    let name_end = at + 46 + usize::try_from(field(28, 2)?).ok()?;
    let extra_end = name_end + usize::try_from(field(30, 2)?).ok()?;
    let next = extra_end + usize::try_from(field(32, 2)?).ok()?;
    let name = String::from_utf8(bytes.get(at + 46..name_end)?.to_vec()).ok()?;
    let mut wide = wide(bytes.get(name_end..extra_end)?);
    let mut size = |narrow: u64| {
        if narrow == WIDE {
            wide.next()
        } else {
            Some(narrow)
        }
    };
    let (whole, packed) = (size(field(24, 4)?)?, size(field(20, 4)?)?);
    let local = usize::try_from(size(field(42, 4)?)?).ok()?;
    if field(10, 2)? != 0 || whole != packed {
        return Some((name, None, next));
    }
    if !bytes.get(local..)?.starts_with(LOCAL) {
        return None;
    }
    let name_bytes = number(bytes, local + 26, 2)?;
    let extra_bytes = number(bytes, local + 28, 2)?;
    let begin = local.checked_add(30 + usize::try_from(name_bytes + extra_bytes).ok()?)?;
    let end = begin.checked_add(usize::try_from(whole).ok()?)?;
    (end <= bytes.len()).then_some((name, Some(begin..end), next))
}

/// The 64-bit numbers among a record's extra fields.
fn wide(mut extra: &[u8]) -> impl Iterator<Item = u64> {
    let mut numbers = Vec::new();
    while let (Some(kind), Some(length)) = (number(extra, 0, 2), number(extra, 2, 2)) {
        let Some(field) = extra.get(4..4 + length as usize) else {
            break;
        };
        if kind == 1 {
            let (eights, _) = field.as_chunks::<8>();
            numbers.extend(eights.iter().map(|eight| u64::from_le_bytes(*eight)));
        }
        extra = &extra[4 + length as usize..];
    }
    numbers.into_iter()
}

/// A little-endian number of at most eight bytes.
fn number(bytes: &[u8], at: usize, width: usize) -> Option<u64> {
    let field = bytes.get(at..at.checked_add(width)?)?;
    let mut whole = [0; 8];
    whole[..width].copy_from_slice(field);
    Some(u64::from_le_bytes(whole))
}
