//! Making an instance: for each value what its schemas want together, tried out branch by branch
//! until one is found that satisfies them.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::wanted::{Choices, TYPES, Wanted};
use super::{Document, Unmet};

/// Values within values.
const DEPTH_MAX: u32 = 40;
/// From this depth on nothing is made that need not be there, and plain branches come first.
const DEEP: u32 = 4;
/// Combinations of branches that are tried for one value.
const TRIED_CHOICES: usize = 64;
/// More variants than items that are tried for an array whose items all differ.
const SPARE_VARIANTS: u32 = 16;

/// An instance of the document.
pub(super) fn instance(document: &Document<'_>) -> Result<Value, Unmet> {
    let place = Place {
        depth: 0,
        hint: "",
        variant: 0,
    };
    value(document, &[document.root], place)
}

/// Where a value will be.
#[derive(Clone, Copy)]
struct Place<'a> {
    depth: u32,
    /// What it is called.
    hint: &'a str,
    /// Tells items of an array apart.
    variant: u32,
}

impl<'a> Place<'a> {
    /// Whether only what has to be is made here.
    fn is_bare(self, document: &Document<'_>) -> bool {
        document.is_lean || self.depth >= DEEP
    }

    fn within(self, hint: &'a str, variant: u32) -> Self {
        let depth = self.depth + 1;
        Self {
            depth,
            hint,
            variant,
        }
    }
}

/// A value that satisfies all schemas.
fn value<'a>(
    document: &Document<'a>,
    schemas: &[&'a Value],
    place: Place<'_>,
) -> Result<Value, Unmet> {
    if place.depth > DEPTH_MAX {
        return Err(Unmet::Nothing);
    }
    let mut choices = Choices::default();
    let mut why = Unmet::Nothing;
    for _ in 0..TRIED_CHOICES {
        let wanted = Wanted::of(schemas, document, &mut choices, place.is_bare(document));
        let found = wanted.and_then(|wanted| from(document, schemas, &wanted, place));
        match found {
            Ok(Some(value)) => return Ok(value),
            Ok(None) | Err(Unmet::Nothing) => {}
            Err(Unmet::TooMuch) => return Err(Unmet::TooMuch),
            Err(unknown) => why = unknown, // another branch may do without
        }
        if !choices.advance() {
            break;
        }
    }
    Err(why)
}

/// A value of what is wanted that satisfies all schemas, if one is found.
fn from<'a>(
    document: &Document<'a>,
    schemas: &[&'a Value],
    wanted: &Wanted<'a>,
    place: Place<'_>,
) -> Result<Option<Value>, Unmet> {
    let satisfies = |value: &Value| {
        for schema in schemas {
            if !document.satisfies(schema, value)? {
                return Ok(false);
            }
        }
        Ok(true)
    };
    let variant = place.variant as usize;
    if let Some(listed) = &wanted.listed {
        // Each variant begins with another one.
        let turned = listed.iter().cycle().skip(variant).take(listed.len());
        for value in turned {
            document.spend_value(value, 1)?;
            if satisfies(value)? {
                return Ok(Some((*value).clone()));
            }
        }
        return Ok(None);
    }
    if variant == 0 {
        for value in &wanted.suggested {
            document.spend_value(value, 1)?;
            if satisfies(value)? {
                return Ok(Some((*value).clone()));
            }
        }
    }
    let mut types: Vec<&str> = TYPES
        .into_iter()
        .filter(|name| wanted.allows(name))
        .collect();
    if !wanted.names_type() {
        types.sort_by_key(|name| (!speaks_of(wanted, name), *name != "string"));
    } else if place.is_bare(document) {
        types.reverse();
    }
    let mut why = None;
    for name in types {
        let candidates = match name {
            "object" => object(document, wanted, place).map(|value| vec![value]),
            "array" => array(document, wanted, place).map(|value| vec![value]),
            "string" => wanted
                .shape
                .candidates(document, place.hint, place.variant)
                .map(|texts| texts.into_iter().map(Value::String).collect()),
            "integer" => Ok(wanted.limits.candidates(true, place.variant)),
            "number" => Ok(wanted.limits.candidates(false, place.variant)),
            "boolean" => Ok([true, false]
                .map(|yes| Value::Bool(yes ^ (variant % 2 == 1)))
                .into()),
            _ => Ok(vec![Value::Null]),
        };
        let candidates = match candidates {
            Ok(candidates) => candidates,
            Err(Unmet::TooMuch) => return Err(Unmet::TooMuch),
            Err(unmet) => {
                why = Some(unmet);
                continue;
            }
        };
        for value in candidates {
            if satisfies(&value)? {
                return Ok(Some(value));
            }
        }
    }
    why.map_or(Ok(None), Err)
}

/// Whether keywords for a type are there, though no type is named.
fn speaks_of(wanted: &Wanted<'_>, name: &str) -> bool {
    match name {
        "object" => {
            !wanted.properties.is_empty() || !wanted.required.is_empty() || wanted.min_members > 0
        }
        "array" => {
            wanted.min_items > 0
                || !wanted.first.is_empty()
                || !wanted.rest.is_empty()
                || !wanted.contains.is_empty()
        }
        "string" => wanted.shape.is_any(),
        "integer" => wanted.limits.is_any(),
        _ => false,
    }
}

fn array<'a>(
    document: &Document<'a>,
    wanted: &Wanted<'a>,
    place: Place<'_>,
) -> Result<Value, Unmet> {
    let most = wanted.max_items.unwrap_or(usize::MAX);
    let contained: usize = wanted
        .contains
        .iter()
        .fold(0, |sum, (_, least)| sum.saturating_add(*least));
    let least = wanted.min_items.max(contained);
    let shown = if place.is_bare(document) {
        0
    } else {
        wanted.first.len().max(1)
    };
    let length = least.max(shown).min(most.max(least));
    document.spend(length)?;
    let mut items: Vec<Value> = Vec::new();
    let mut contains = wanted
        .contains
        .iter()
        .flat_map(|(schema, least)| std::iter::repeat_n(*schema, *least));
    let mut variant = place.variant;
    let last_variant = variant
        .saturating_add(u32::try_from(length).unwrap_or(u32::MAX))
        .saturating_add(SPARE_VARIANTS);
    while items.len() < length {
        let index = items.len();
        let mut schemas = wanted.first.get(index).unwrap_or(&wanted.rest).clone();
        if index >= wanted.first.len() || length - index <= contained {
            schemas.extend(contains.next());
        }
        let item = loop {
            let at = place.within(
                place.hint,
                if wanted.is_unique {
                    variant
                } else {
                    place.variant
                },
            );
            let item = match value(document, &schemas, at) {
                Ok(item) => item,
                Err(Unmet::Nothing) if index >= least => return Ok(Value::Array(items)),
                Err(unmet) => return Err(unmet),
            };
            document.spend(items.len())?;
            variant = variant.saturating_add(1);
            if !wanted.is_unique || !items.contains(&item) {
                break item;
            }
            if variant > last_variant {
                if index >= least {
                    return Ok(Value::Array(items));
                }
                return Err(Unmet::Nothing);
            }
        };
        items.push(item);
    }
    Ok(Value::Array(items))
}

fn object<'a>(
    document: &Document<'a>,
    wanted: &Wanted<'a>,
    place: Place<'_>,
) -> Result<Value, Unmet> {
    let mut members = Map::new();
    let needed: HashSet<&str> = wanted.required.iter().copied().collect();
    for (name, schemas) in &wanted.properties {
        let is_needed = needed.contains(name);
        if !is_needed && place.is_bare(document) {
            continue;
        }
        let mut schemas = schemas.clone();
        schemas.extend(patterned(document, wanted, name)?);
        match value(document, &schemas, place.within(name, place.variant)) {
            Ok(value) => {
                members.insert((*name).to_owned(), value);
            }
            Err(Unmet::TooMuch) => return Err(Unmet::TooMuch),
            Err(unmet) if is_needed => return Err(unmet),
            Err(_) => {} // it need not be there
        }
    }
    let listed: HashSet<&str> = wanted.properties.iter().map(|(name, _)| *name).collect();
    document.spend(wanted.required.len())?;
    let unlisted = wanted
        .required
        .iter()
        .filter(|name| !listed.contains(*name));
    for name in unlisted.copied() {
        if members.contains_key(name) {
            continue;
        }
        let value = extra(document, wanted, name, place)?;
        members.insert(name.to_owned(), value);
    }
    let mut variant = place.variant;
    while members.len() < wanted.min_members {
        document.spend(1 + members.len() / 16)?;
        let name = match wanted.patterned.first() {
            Some((pattern, _)) if wanted.names.is_empty() => {
                super::pattern::example(document, pattern, 0, variant)?
            }
            _ if wanted.names.is_empty() => format!("stub{variant}"),
            _ => match value(document, &wanted.names, place.within("", variant))? {
                Value::String(name) => name,
                _ => return Err(Unmet::Nothing),
            },
        };
        variant = variant.saturating_add(1);
        if !members.contains_key(&name) {
            let value = extra(document, wanted, &name, place)?;
            members.insert(name, value);
        } else if variant as usize > wanted.min_members.saturating_add(SPARE_VARIANTS as usize) {
            return Err(Unmet::Nothing);
        }
    }
    Ok(Value::Object(members))
}

/// The schemas of the patterns that a name matches.
fn patterned<'a>(
    document: &Document<'a>,
    wanted: &Wanted<'a>,
    name: &str,
) -> Result<Vec<&'a Value>, Unmet> {
    let mut schemas = Vec::new();
    for (pattern, schema) in &wanted.patterned {
        if document.matches(pattern, name)? {
            schemas.push(*schema);
        }
    }
    Ok(schemas)
}

/// The value of a member that no schema lists by name.
fn extra<'a>(
    document: &Document<'a>,
    wanted: &Wanted<'a>,
    name: &str,
    place: Place<'_>,
) -> Result<Value, Unmet> {
    let mut schemas = patterned(document, wanted, name)?;
    if schemas.is_empty() {
        schemas.clone_from(&wanted.additional);
    }
    if schemas.is_empty() {
        return Ok(Value::String(format!("stub {name}")));
    }
    value(document, &schemas, place.within(name, place.variant))
}
