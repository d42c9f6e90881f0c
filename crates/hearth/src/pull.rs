//! `hearth pull`: fetch weights before they are needed.

use catalog::{Catalog, WeightSet};

use crate::args::Pull;
use crate::config::Place;
use crate::failure::Stop;
use crate::loader;

pub(crate) fn pull(args: &Pull, place: &Place, catalog: &Catalog) -> Result<(), Stop> {
    let store = loader::open_store(place);
    for name in &args.models {
        let set = find(name, catalog)?;
        let files = store
            .fetch(set, &*weights::for_terminal())
            .map_err(|error| Stop::failed(format!("{name}: {error}")))?;
        println!("{}: {}", set.name, files.folder().display());
    }
    Ok(())
}

/// The set of that name, or the best one that serves the model of that name.
fn find<'a>(name: &str, catalog: &'a Catalog) -> Result<&'a WeightSet, Stop> {
    let card_set = || {
        let best = catalog.card(name)?.variants.first()?;
        catalog.weights(&best.weights)
    };
    catalog.weights(name).or_else(card_set).ok_or_else(|| {
        Stop::usage(format!(
            "{name} is neither a model nor a set of weights; `hearth list` shows all models"
        ))
    })
}
