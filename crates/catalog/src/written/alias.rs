//! An `[alias]`: another name of a model.

use toml::Spanned;

use crate::catalogue::Catalog;
use crate::place::{CatalogError, Place};

/// The longest alias in bytes: it is a part of an address.
const ALIAS_MAX_BYTES: usize = 200;

/// The alias and the model that it names.
pub(super) fn judge(
    place: Place<'_>,
    name: &Spanned<String>,
    target: &Spanned<String>,
    base: &Catalog,
    is_model: &dyn Fn(&str) -> bool,
) -> Result<(String, String), CatalogError> {
    let alias = name.get_ref();
    let plain = |c: char| c.is_ascii_alphanumeric() || "@/-_.:".contains(c);
    if alias.is_empty() || alias.len() > ALIAS_MAX_BYTES || !alias.chars().all(plain) {
        return Err(place.wrong(
            name.span(),
            format!("an alias must be letters, digits and \"@/-_.:\", at most {ALIAS_MAX_BYTES}"),
        ));
    }
    if is_model(alias) {
        return Err(place.wrong(
            name.span(),
            "is the name of a model; an alias must be a new name",
        ));
    }
    if base.card(alias).is_some() {
        return Err(place.wrong(name.span(), "is an alias already"));
    }
    if !is_model(target.get_ref()) {
        let problem = format!(
            "there is no model {:?}; an alias names a model, not another alias",
            target.get_ref()
        );
        return Err(place.wrong(target.span(), problem));
    }
    Ok((alias.clone(), target.get_ref().clone()))
}
