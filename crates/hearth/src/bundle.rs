//! `hearth bundle`: weights to a file, and from a file into the store of a machine without a network.

use catalog::Catalog;
use serde_json::{Value, json};

use crate::args::upkeep::{Bundle, BundleAction, Export, Import};
use crate::config::Place;
use crate::failure::Stop;
use crate::{loader, named, output};

pub(crate) fn bundle(args: &Bundle, place: &Place, catalog: &Catalog) -> Result<(), Stop> {
    match &args.action {
        BundleAction::Export(args) => export(args, place, catalog),
        BundleAction::Import(args) => import(args, place, catalog),
    }
}

fn export(args: &Export, place: &Place, catalog: &Catalog) -> Result<(), Stop> {
    let store = loader::open_store(place);
    let sets = named::on_disk(&args.names, catalog, &store)?;
    let bytes = store
        .export(&args.file, &sets, &*weights::for_terminal())
        .map_err(|error| Stop::failed(error.to_string()))?;
    let names: Vec<&str> = sets.iter().map(|set| set.name.as_str()).collect();
    if args.json {
        return output::json(&json!({ "file": args.file, "bytes": bytes, "weights": names }));
    }
    let size = output::megabytes(bytes);
    output::text(format!(
        "{}: {size} ({})\n",
        args.file.display(),
        names.join(", ")
    ))
}

fn import(args: &Import, place: &Place, catalog: &Catalog) -> Result<(), Stop> {
    let store = loader::open_store(place);
    let sets = store
        .import(&args.file, catalog, &*weights::for_terminal())
        .map_err(|error| Stop::failed(error.to_string()))?;
    let state = |is_new: bool| {
        if is_new {
            "imported"
        } else {
            "was here already"
        }
    };
    if args.json {
        let rows = sets
            .iter()
            .map(|set| json!({ "weights": set.set, "folder": set.folder, "state": state(set.is_new) }))
            .collect();
        return output::json(&Value::Array(rows));
    }
    let rows: Vec<_> = sets
        .into_iter()
        .map(|set| [set.set, state(set.is_new).to_owned()])
        .collect();
    output::columns(["WEIGHTS", "STATE"], &rows)
}
