//! The store: whether it can be written, its room, and what is in it.

use catalog::{Catalog, WeightSet};
use weights::Store;

use super::Finding;
use crate::output::megabytes;

pub(super) fn folder(store: &Store) -> Finding {
    let root = store.root().display();
    match store.check_writable() {
        Ok(()) => Finding::ok("store", format!("{root} can be written")),
        Err(error) => Finding::fail(
            "store",
            error.to_string(),
            "choose another folder with --home",
        ),
    }
}

/// Enough is twice what is fetched without being asked: package and files.
pub(super) fn room(store: &Store) -> Finding {
    const ENOUGH_BYTES: u64 = 400_000_000;
    match store.free_bytes() {
        Ok(free) if free < ENOUGH_BYTES => Finding::warn(
            "disk",
            format!("{} free at the store", megabytes(free)),
            "free some (`hearth prune`, `hearth rm`), or choose another folder with --home",
        ),
        Ok(free) => Finding::ok("disk", format!("{} free at the store", megabytes(free))),
        Err(error) => Finding::fail(
            "disk",
            error.to_string(),
            "choose another folder with --home",
        ),
    }
}

/// By marks and sizes; nothing is hashed.
pub(super) fn sets(store: &Store, catalog: &Catalog, offline: bool) -> Finding {
    let (mut whole, mut broken) = (Vec::new(), Vec::new());
    for set in catalog.weight_sets() {
        if store.is_complete(set) {
            whole.push(set);
        } else if store.has_some(set) {
            broken.push(set);
        }
    }
    let names = |sets: &[&WeightSet]| {
        sets.iter()
            .map(|set| set.name.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    };
    if !broken.is_empty() {
        let found = format!("not whole: {}; whole: {}", names(&broken), whole.len());
        return Finding::warn(
            "weights",
            found,
            "`hearth verify` tells more; `hearth rm` and `hearth pull` mend it",
        );
    }
    if whole.is_empty() {
        let advice = if offline {
            "run once without --offline, or bring them with `hearth bundle import`"
        } else {
            "the first request to a model fetches them, or `hearth pull` does"
        };
        return Finding::warn("weights", "none on disk", advice);
    }
    let bytes = whole.iter().map(|set| store.bytes_on_disk(set)).sum();
    let found = format!(
        "{} ({}); `hearth verify` hashes them",
        names(&whole),
        megabytes(bytes)
    );
    Finding::ok("weights", found)
}
