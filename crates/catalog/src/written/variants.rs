//! The `variants` and `twins` of a model, judged into one list.

use serde::Deserialize;
use tasks::Grade;
use toml::Spanned;

use super::words::WeightGrade;
use crate::card::Variant;
use crate::place::{CatalogError, Place};

/// One of `variants`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenVariant {
    weights: Spanned<String>,
    grade: Spanned<WeightGrade>,
}

/// `variants`, best grade first, and after them the `twins`; `sets` are the names that they may use.
pub(super) fn judge_variants(
    place: Place<'_>,
    written: Option<&Spanned<Vec<Spanned<WrittenVariant>>>>,
    twins: Option<&Spanned<Vec<Spanned<String>>>>,
    sets: &[&str],
) -> Result<Vec<Variant>, CatalogError> {
    let mut variants: Vec<Variant> = Vec::new();
    for entry in written.map_or(&[][..], |list| list.get_ref()) {
        let WrittenVariant { weights, grade } = entry.get_ref();
        let variant = known(place, weights, (*grade.get_ref()).into(), &variants, sets)?;
        if let Some(better) = variants
            .last()
            .filter(|earlier| earlier.grade > variant.grade)
        {
            return Err(place.wrong(
                grade.span(),
                format!(
                    "comes after \"{}\"; the best grade comes first",
                    better.grade
                ),
            ));
        }
        variants.push(variant);
    }
    for weights in twins.map_or(&[][..], |list| list.get_ref()) {
        let variant = known(place, weights, Grade::Twin, &variants, sets)?;
        variants.push(variant);
    }
    Ok(variants)
}

fn known(
    place: Place<'_>,
    weights: &Spanned<String>,
    grade: Grade,
    earlier: &[Variant],
    sets: &[&str],
) -> Result<Variant, CatalogError> {
    let name = weights.get_ref();
    if !sets.contains(&name.as_str()) {
        return Err(place.wrong(weights.span(), format!("there are no weights {name:?}")));
    }
    if earlier.iter().any(|variant| variant.weights == *name) {
        return Err(place.wrong(weights.span(), "is listed twice"));
    }
    Ok(Variant {
        weights: name.clone(),
        grade,
    })
}
