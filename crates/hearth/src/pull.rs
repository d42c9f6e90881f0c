//! `hearth pull`: fetch weights before they are needed.

use catalog::Catalog;
use serde_json::{Value, json};

use crate::args::Pull;
use crate::chooser::Chooser;
use crate::config::Place;
use crate::failure::Stop;
use crate::{named, output};

pub(crate) fn pull(args: &Pull, place: &Place, catalog: &Catalog) -> Result<(), Stop> {
    let chooser = Chooser::new(place);
    let store = &chooser.store;
    let mut pulled = Vec::new();
    for name in &args.models {
        let set = named::best(name, catalog, &chooser)?;
        let others = models::others(&set.architecture).iter();
        let others = others.filter_map(|other| catalog.weights(other));
        for set in std::iter::once(set).chain(others) {
            let files = store
                .fetch(set, &*weights::for_terminal())
                .map_err(|error| Stop::failed(format!("{name}: {error}")))?;
            if args.json {
                let bytes = store.bytes_on_disk(set);
                let folder = files.folder();
                pulled.push(json!({ "weights": set.name, "folder": folder, "bytes": bytes }));
            } else {
                output::text(format!("{}: {}\n", set.name, files.folder().display()))?;
            }
        }
    }
    if args.json {
        output::json(&Value::Array(pulled))
    } else {
        Ok(())
    }
}
