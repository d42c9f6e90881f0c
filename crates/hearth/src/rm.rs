//! `hearth rm`: weights off the disk.

use catalog::Catalog;
use serde_json::json;

use crate::args::upkeep::Rm;
use crate::config::Place;
use crate::failure::Stop;
use crate::{loader, named, output};

pub(crate) fn rm(args: &Rm, place: &Place, catalog: &Catalog) -> Result<(), Stop> {
    let store = loader::open_store(place);
    // All names are looked up before the first set goes.
    let sets = named::on_disk(&args.names, catalog, &store)?;
    let (mut removed, mut freed) = (Vec::new(), 0);
    for set in sets {
        let bytes = store.bytes_on_disk(set);
        store
            .remove(set)
            .map_err(|error| Stop::failed(error.to_string()))?;
        let names = named::served_names(set, catalog);
        if !args.json {
            let plural = if names == 1 { "model" } else { "models" };
            let size = output::megabytes(bytes);
            output::text(format!(
                "{}: {size} freed; it could serve {names} {plural}\n",
                set.name
            ))?;
        }
        removed.push(json!({ "weights": set.name, "bytes": bytes, "models": names }));
        freed += bytes;
    }
    if args.json {
        output::json(&json!({ "removed": removed, "freed_bytes": freed }))
    } else {
        Ok(())
    }
}
