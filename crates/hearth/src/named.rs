//! What a name on the command line means: a set of weights, or the sets that can serve a model.

use catalog::{Catalog, Choice, WeightSet};
use weights::Store;

use crate::chooser::Chooser;
use crate::failure::Stop;

/// The set of that name, or the one that would serve the model of that name if every download were
/// allowed.
pub(crate) fn best<'a>(
    name: &str,
    catalog: &'a Catalog,
    chooser: &Chooser,
) -> Result<&'a WeightSet, Stop> {
    if let Some(set) = catalog.weights(name) {
        return Ok(set);
    }
    let card = catalog.card(name).ok_or_else(|| unknown(name))?;
    match chooser.best(card, catalog) {
        Ok(Choice::Weights { set, .. }) => Ok(set),
        Ok(Choice::Stub) => Err(Stop::usage(format!(
            "{name} is served by a stub here, which needs no weights; `hearth config` shows why"
        ))),
        Err(refusal) => Err(Stop::failed(refusal.to_string())),
    }
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
        there.retain(|set| store.has_some(set));
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

/// Every set that the name means.
pub(crate) fn all<'a>(name: &str, catalog: &'a Catalog) -> Result<Vec<&'a WeightSet>, Stop> {
    if let Some(set) = catalog.weights(name) {
        return Ok(vec![set]);
    }
    let card = catalog.card(name).ok_or_else(|| unknown(name))?;
    Ok(card
        .variants
        .iter()
        .filter_map(|variant| catalog.weights(&variant.weights))
        .collect())
}

fn unknown(name: &str) -> Stop {
    Stop::usage(format!(
        "{name} is neither a model nor a set of weights; `hearth list` shows all models"
    ))
}
