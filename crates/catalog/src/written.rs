//! The catalogue file as it is written: TOML into types, before any value is judged.
//!
//! Unknown keys and values of a wrong type end here. Every value that is judged later carries its span, so that a
//! refusal can name its line, whether it was written at the model or at its group.

mod card;
mod files;
mod weights;
mod words;

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, Deserializer};

use crate::card::ModelCard;
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
}

/// Reads and judges a whole file; cards and sets are in the order of the file.
pub(crate) fn read(place: Place<'_>) -> Result<(Vec<ModelCard>, Vec<WeightSet>), CatalogError> {
    let table = DeTable::parse(place.text).map_err(|error| place.not_toml(&error))?;
    let file =
        File::deserialize(Deserializer::from(table)).map_err(|error| place.not_ours(&error))?;
    let mut sets = Vec::new();
    for (name, set) in in_file_order(&file.weights) {
        sets.push(set.judge(place, name)?);
    }
    for group in file.group.values() {
        if let Some(outer) = &group.group {
            return Err(place.wrong(outer.span(), "a group belongs to no group"));
        }
    }
    let mut cards = Vec::new();
    for (name, own) in in_file_order(&file.model) {
        let group = own
            .group
            .as_ref()
            .map(|group| find(place, &file.group, group))
            .transpose()?;
        cards.push(
            Written {
                place,
                name,
                own,
                group,
            }
            .judge(&sets)?,
        );
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
    Ok((cards, sets))
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
