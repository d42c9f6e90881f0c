//! The catalogue file as it is written: TOML into types, before any value is judged.
//!
//! Unknown keys and values of a wrong type end here. Every value that is judged later carries its span, so that a
//! refusal can name its line, whether it was written at the model or at its group.

mod alias;
mod card;
mod files;
mod rate;
mod variants;
mod weights;
mod words;

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use crate::card::{ModelCard, Variant};
use crate::catalogue::Catalog;
use crate::place::{CatalogError, Place};
use crate::weights::WeightSet;
use card::{Entry, Written};

type Named<T> = BTreeMap<Spanned<String>, T>;

/// The whole file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    group: Named<Entry>,
    #[serde(default)]
    model: Named<Entry>,
    #[serde(default)]
    weights: Named<weights::Set>,
    #[serde(default)]
    alias: Named<Spanned<String>>,
}

/// What a file adds to a catalogue; all in the order of the file.
#[derive(Default)]
pub(crate) struct Addition {
    /// New names.
    pub(crate) cards: Vec<ModelCard>,
    /// New sets.
    pub(crate) sets: Vec<WeightSet>,
    /// Other names of models, with the model's own.
    pub(crate) aliases: Vec<(String, String)>,
    /// Known names, and the variants that take the place of theirs.
    pub(crate) replaced: Vec<(String, Vec<Variant>)>,
}

/// Reads and judges a whole catalogue file.
pub(crate) fn read(place: Place<'_>) -> Result<Addition, CatalogError> {
    let table = DeTable::parse(place.text).map_err(|error| place.not_toml(&error))?;
    judge(place, table, &Catalog::default())
}

/// Reads and judges a file that adds to `base`. Keys outside its tables belong to whoever reads the rest of the file.
pub(crate) fn read_addition(place: Place<'_>, base: &Catalog) -> Result<Addition, CatalogError> {
    let mut table = DeTable::parse(place.text).map_err(|error| place.not_toml(&error))?;
    let all = std::mem::take(table.get_mut());
    let tables = all.into_iter();
    *table.get_mut() = tables
        .filter(|(_, value)| matches!(value.get_ref(), DeValue::Table(_)))
        .collect();
    judge(place, table, base)
}

fn judge(
    place: Place<'_>,
    table: Spanned<DeTable<'_>>,
    base: &Catalog,
) -> Result<Addition, CatalogError> {
    let file =
        File::deserialize(Deserializer::from(table)).map_err(|error| place.not_ours(&error))?;
    let mut added = Addition::default();
    for (name, set) in in_file_order(&file.weights) {
        if base.weights(name.get_ref()).is_some() {
            return Err(place.wrong(name.span(), "is known already; give yours another name"));
        }
        added.sets.push(set.judge(place, name)?);
    }
    let new = added.sets.iter();
    let sets: Vec<&str> = base
        .weight_sets()
        .chain(new)
        .map(|set| set.name.as_str())
        .collect();
    for group in file.group.values() {
        if let Some(outer) = &group.group {
            return Err(place.wrong(outer.span(), "a group belongs to no group"));
        }
    }
    for (name, own) in in_file_order(&file.model) {
        if base.card(name.get_ref()).is_some() {
            let variants = replacement(place, name, own, &sets)?;
            added.replaced.push((name.get_ref().clone(), variants));
            continue;
        }
        let group = own
            .group
            .as_ref()
            .map(|group| find(place, &file.group, group))
            .transpose()?;
        let written = Written {
            place,
            name,
            own,
            group,
        };
        added.cards.push(written.judge(&sets)?);
    }
    // Only values that a model takes are judged, so a group without one could hide anything.
    let is_used = |group: &str| {
        file.model
            .values()
            .flat_map(|model| &model.group)
            .any(|used| used.get_ref() == group)
    };
    if let Some((name, _)) = in_file_order(&file.group)
        .into_iter()
        .find(|(name, _)| !is_used(name.get_ref()))
    {
        return Err(place.wrong(name.span(), "no model belongs to this group"));
    }
    let is_model =
        |name: &str| base.is_model(name) || added.cards.iter().any(|card| card.name == name);
    for entry in file.model.values().chain(file.group.values()) {
        if let Some(other) = entry
            .answered_by
            .as_ref()
            .filter(|name| !is_model(name.get_ref()))
        {
            let problem = format!("there is no model {:?}", other.get_ref());
            return Err(place.wrong(other.span(), problem));
        }
    }
    for (name, target) in in_file_order(&file.alias) {
        added
            .aliases
            .push(alias::judge(place, name, target, base, &is_model)?);
    }
    Ok(added)
}

/// The variants that a file gives to a model that is known already, the only key that it may give.
fn replacement(
    place: Place<'_>,
    name: &Spanned<String>,
    own: &Entry,
    sets: &[&str],
) -> Result<Vec<Variant>, CatalogError> {
    let known =
        "this model is known already: its `variants` can be replaced, and nothing else of it";
    if let Some(span) = own.beside_variants() {
        return Err(place.wrong(span, known));
    }
    match &own.variants {
        Some(variants) => variants::judge_variants(place, Some(variants), None, sets),
        None => Err(place.wrong(name.span(), known)),
    }
}

fn find<'a>(
    place: Place<'_>,
    groups: &'a Named<Entry>,
    name: &Spanned<String>,
) -> Result<&'a Entry, CatalogError> {
    let unknown = || {
        place.wrong(
            name.span(),
            format!("there is no group {:?}", name.get_ref()),
        )
    };
    groups.get(name.get_ref().as_str()).ok_or_else(unknown)
}

fn in_file_order<T>(table: &Named<T>) -> Vec<(&Spanned<String>, &T)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(name, _)| name.span().start);
    entries
}
