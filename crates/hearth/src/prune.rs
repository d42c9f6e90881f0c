//! `hearth prune`: off the disk with what nothing needs.

use catalog::Catalog;
use serde_json::json;
use weights::FetchError;

use crate::args::upkeep::Prune;
use crate::config::Place;
use crate::failure::Stop;
use crate::{loader, output};

pub(crate) fn prune(args: &Prune, place: &Place, catalog: &Catalog) -> Result<(), Stop> {
    let store = loader::open_store(place);
    let failed = |error: FetchError| Stop::failed(error.to_string());
    let (mut rows, mut found, mut freed) = (Vec::new(), Vec::new(), 0);
    for leftover in store.leftovers(catalog).map_err(failed)? {
        let state = if args.dry_run {
            "would be removed"
        } else {
            match store.clear(&leftover) {
                Ok(()) => "removed",
                Err(FetchError::Busy { .. }) => "in use, left",
                Err(error) => return Err(failed(error)),
            }
        };
        if state != "in use, left" {
            freed += leftover.bytes;
        }
        found.push(json!({
            "weights": leftover.set,
            "kind": leftover.kind.word(),
            "path": leftover.path,
            "bytes": leftover.bytes,
            "state": state,
        }));
        let path = leftover
            .path
            .strip_prefix(store.root())
            .unwrap_or(&leftover.path);
        rows.push([
            path.display().to_string(),
            leftover.kind.word().to_owned(),
            output::megabytes(leftover.bytes),
            state.to_owned(),
        ]);
    }
    if args.json {
        let key = if args.dry_run {
            "would_free_bytes"
        } else {
            "freed_bytes"
        };
        return output::json(&json!({ "leftovers": found, key: freed }));
    }
    if rows.is_empty() {
        return output::text("nothing to remove\n");
    }
    output::columns(["PATH", "WHAT", "SIZE", "STATE"], &rows)?;
    let verb = if args.dry_run {
        "would be freed"
    } else {
        "freed"
    };
    output::text(format!("{} {verb}\n", output::megabytes(freed)))
}
