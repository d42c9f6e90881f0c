//! `hearth verify`: hash weights on disk again.

use catalog::{Catalog, WeightSet};
use serde_json::{Value, json};

use crate::args::upkeep::Verify;
use crate::config::Place;
use crate::failure::Stop;
use crate::{loader, named, output};

pub(crate) fn verify(args: &Verify, place: &Place, catalog: &Catalog) -> Result<(), Stop> {
    let store = loader::open_store(place);
    let sets: Vec<&WeightSet> = if args.names.is_empty() {
        catalog
            .weight_sets()
            .filter(|set| store.has_some(set))
            .collect()
    } else {
        named::on_disk(&args.names, catalog, &store)?
    };
    let (mut checked, mut damaged) = (Vec::new(), Vec::new());
    for set in sets {
        let problem = store.verify(set).err().map(|error| error.to_string());
        if !args.json {
            output::text(match &problem {
                None => format!("{}: every hash is right\n", set.name),
                Some(problem) => format!("{problem}\n"),
            })?;
        }
        if problem.is_some() {
            damaged.push(set.name.clone());
        }
        checked.push(json!({ "weights": set.name, "ok": problem.is_none(), "problem": problem }));
    }
    if args.json {
        output::json(&Value::Array(checked))?;
    } else if checked.is_empty() {
        output::text("no weights are on disk\n")?;
    }
    if damaged.is_empty() {
        return Ok(());
    }
    Err(Stop::failed(format!("not whole: {}", damaged.join(", "))))
}
