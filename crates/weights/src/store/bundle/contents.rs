//! What a bundle holds, read from its headers alone and judged before anything is written.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use catalog::{Catalog, Source, WeightFile, WeightSet};
use tar::{Archive, EntryType};

use super::BundleError;
use crate::assemble::Meter;
use crate::fetch_error::reading;
use crate::names;
use crate::progress::Silent;

/// Where a file's bytes are in the bundle.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent {
    /// From the start of the bundle.
    pub(super) offset: u64,
    pub(super) bytes: u64,
}

/// A set that the bundle holds whole.
pub(super) struct BundledSet<'c> {
    pub(super) set: &'c WeightSet,
    /// In the order of the catalogue.
    pub(super) files: Vec<(&'c WeightFile, Extent)>,
}

/// Reads the headers of the open bundle at `path`. The sets are in the order of the catalogue.
pub(super) fn read<'c>(
    path: &Path,
    file: &File,
    catalog: &'c Catalog,
) -> Result<Vec<BundledSet<'c>>, BundleError> {
    let found = extents(path, file, catalog)?;
    let mut sets = Vec::new();
    for set in catalog.weight_sets() {
        let files: Vec<_> = set
            .files
            .iter()
            .map(|file| (file, found.get(&member_name(set, file)).copied()))
            .collect();
        if files.iter().all(|(_, extent)| extent.is_none()) {
            continue;
        }
        names::check(set)?;
        // The whole size is bounded by what the catalogue says of the set.
        let mut meter = Meter::new(set, &Silent);
        let mut held = Vec::with_capacity(files.len());
        let mut missing = Vec::new();
        for (file, extent) in files {
            let Some(extent) = extent else {
                missing.push(file.path.clone());
                continue;
            };
            meter.add(
                &file.path,
                usize::try_from(extent.bytes).unwrap_or(usize::MAX),
            )?;
            held.push((file, extent));
        }
        if !missing.is_empty() {
            return Err(BundleError::Incomplete {
                path: path.to_owned(),
                set: set.name.clone(),
                files: missing,
            });
        }
        sets.push(BundledSet { set, files: held });
    }
    if sets.is_empty() {
        return Err(BundleError::NotABundle {
            path: path.to_owned(),
            detail: "it is empty".to_owned(),
        });
    }
    Ok(sets)
}

/// The name of a file of a set inside a bundle.
pub(super) fn member_name(set: &WeightSet, file: &WeightFile) -> String {
    format!("{}/{}", set.name, file.path)
}

/// Every member's extent, each a plain file whose name the catalogue lists. As each name may occur once, there are
/// at most as many as the catalogue has files.
fn extents(
    path: &Path,
    file: &File,
    catalog: &Catalog,
) -> Result<BTreeMap<String, Extent>, BundleError> {
    let listed: Vec<String> = catalog
        .weight_sets()
        .filter(|set| !matches!(set.source, Source::Local { .. }))
        .flat_map(|set| set.files.iter().map(|file| member_name(set, file)))
        .collect();
    let not_a_bundle = |detail: String| BundleError::NotABundle {
        path: path.to_owned(),
        detail,
    };
    let length = file.metadata().map_err(reading(path))?.len();
    let mut archive = Archive::new(file);
    let entries = archive
        .entries_with_seek()
        .map_err(|error| not_a_bundle(error.to_string()))?
        // Raw: extensions (long names, links, sparse files) stay visible as members, and are refused as such.
        .raw(true);
    let mut found = BTreeMap::new();
    for entry in entries {
        let entry = entry.map_err(|error| not_a_bundle(error.to_string()))?;
        let shown = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let refuse = |what| BundleError::Member {
            path: path.to_owned(),
            member: shown.clone(),
            what,
        };
        match entry.header().entry_type() {
            EntryType::Regular => {}
            EntryType::Link | EntryType::Symlink => return Err(refuse("is a link")),
            _ => return Err(refuse("is not a plain file")),
        }
        let extent = Extent {
            offset: entry.raw_file_position(),
            bytes: entry.size(),
        };
        if extent
            .offset
            .checked_add(extent.bytes)
            .is_none_or(|end| end > length)
        {
            return Err(refuse("is cut off; the bundle was not copied whole"));
        }
        if !listed.contains(&shown) {
            return Err(refuse(
                "is no file of a set that this hearth knows; use the version of hearth that wrote the bundle",
            ));
        }
        if found.insert(shown.clone(), extent).is_some() {
            return Err(refuse("occurs twice"));
        }
    }
    Ok(found)
}
