//! What a name on the command line means: a set of weights, or the sets that can serve a model.

use catalog::{Catalog, WeightSet};
use weights::Store;

use crate::failure::Stop;

/// The set of that name, or the best one that serves the model of that name.
pub(crate) fn best<'a>(name: &str, catalog: &'a Catalog) -> Result<&'a WeightSet, Stop> {
    all(name, catalog)?
        .into_iter()
        .next()
        .ok_or_else(|| Stop::usage(format!("{name} is known, but no weights can serve it")))
}

/// The sets on disk that the names mean, each once, in the order of the names.
///
/// # Errors
/// A name that means nothing, or of which nothing is on disk.
pub(crate) fn on_disk<'a>(
    names: &[String],
    catalog: &'a Catalog,
    store: &Store,
) -> Result<Vec<&'a WeightSet>, Stop> {
    let mut found: Vec<&WeightSet> = Vec::new();
    for name in names {
        let mut there: Vec<_> = all(name, catalog)?;
        there.retain(|set| store.folder(set).exists());
        if there.is_empty() {
            return Err(Stop::failed(format!(
                "nothing of {name} is on disk; `hearth list` shows what is"
            )));
        }
        for set in there {
            if !found.iter().any(|known| known.name == set.name) {
                found.push(set);
            }
        }
    }
    Ok(found)
}

/// How many model names the set can serve.
pub(crate) fn served_names(set: &WeightSet, catalog: &Catalog) -> usize {
    let serves = |card: &&catalog::ModelCard| {
        card.variants
            .iter()
            .any(|variant| variant.weights == set.name)
    };
    catalog.cards().filter(serves).count()
}

fn all<'a>(name: &str, catalog: &'a Catalog) -> Result<Vec<&'a WeightSet>, Stop> {
    if let Some(set) = catalog.weights(name) {
        return Ok(vec![set]);
    }
    let card = catalog.card(name).ok_or_else(|| {
        Stop::usage(format!(
            "{name} is neither a model nor a set of weights; `hearth list` shows all models"
        ))
    })?;
    Ok(card
        .variants
        .iter()
        .filter_map(|variant| catalog.weights(&variant.weights))
        .collect())
}
