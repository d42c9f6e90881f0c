//! `hearth doctor models`: the catalogue's sets of the Hugging Face Hub, held against the hub.

use std::fmt::Write as _;

use catalog::{Catalog, Source, WeightSet};
use serde_json::{Value, json};
use weights::{Comparison, FetchError, HubError, SIZE_TOLERANCE_PERCENT, Silent};

use crate::args::upkeep::DoctorModels;
use crate::config::Place;
use crate::failure::Stop;
use crate::{loader, named, output};

/// A set, and what came of asking for it.
struct Row<'a> {
    set: &'a WeightSet,
    repository: &'a str,
    revision: &'a str,
    unchecked: bool,
    found: Result<Comparison, FetchError>,
}

/// # Errors
/// Where the hub cannot be asked, and when a set differs from it.
pub(crate) fn models(
    args: &DoctorModels,
    as_json: bool,
    place: &Place,
    catalog: &Catalog,
) -> Result<(), Stop> {
    let store = loader::open_store(place);
    let mut rows = Vec::new();
    for set in chosen(&args.names, catalog)? {
        let Source::Hub {
            repository,
            revision,
            unchecked,
            ..
        } = &set.source
        else {
            continue;
        };
        let found = store.compare_with_hub(set, &Silent);
        match &found {
            Err(FetchError::Offline { .. }) => {
                return Err(Stop::failed(
                    "the hub may not be asked: --offline, HEARTH_OFFLINE or HF_HUB_OFFLINE is set. \
                     Nothing was compared",
                ));
            }
            // The next one would not be reached either.
            Err(error @ FetchError::Unreachable { .. }) => {
                return Err(Stop::failed(error.to_string()));
            }
            _ => {}
        }
        rows.push(Row {
            set,
            repository,
            revision,
            unchecked: *unchecked,
            found,
        });
    }
    if as_json {
        output::json(&rows.iter().map(Row::json).collect())?;
    } else {
        print(&rows)?;
    }
    let wrong: Vec<&str> = rows
        .iter()
        .filter(|row| !row.is_right())
        .map(|row| row.set.name.as_str())
        .collect();
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Stop::failed(format!(
        "not as the hub has it: {}",
        wrong.join(", ")
    )))
}

/// Every set of the hub, or those that the names mean.
fn chosen<'a>(names: &[String], catalog: &'a Catalog) -> Result<Vec<&'a WeightSet>, Stop> {
    let of_the_hub = |set: &&WeightSet| matches!(set.source, Source::Hub { .. });
    if names.is_empty() {
        return Ok(catalog.weight_sets().filter(of_the_hub).collect());
    }
    let mut sets: Vec<&WeightSet> = Vec::new();
    for name in names {
        let mut meant = named::all(name, catalog)?;
        meant.retain(of_the_hub);
        if meant.is_empty() {
            return Err(Stop::usage(format!(
                "{name} has no weights of the hub, so there is nothing to compare"
            )));
        }
        for set in meant {
            if !sets.iter().any(|known| known.name == set.name) {
                sets.push(set);
            }
        }
    }
    Ok(sets)
}

impl Row<'_> {
    fn is_right(&self) -> bool {
        matches!(&self.found, Ok(found) if found.differences.is_empty())
    }

    fn state(&self) -> &'static str {
        match &self.found {
            Ok(found) if found.differences.is_empty() => "ok",
            Ok(_) => "differs",
            Err(_) => "failed",
        }
    }

    /// What is wrong, each with what to write instead.
    fn problems(&self) -> Vec<(String, String)> {
        match &self.found {
            Ok(found) => found
                .differences
                .iter()
                .map(|difference| (difference.to_string(), difference.line()))
                .collect(),
            Err(error) => {
                let line = match error {
                    FetchError::Hub {
                        source: HubError::NotFound { what, .. },
                        ..
                    } if *what == "revision" => "correct `revision`",
                    FetchError::Hub {
                        source: HubError::NotFound { .. } | HubError::Refused { .. },
                        ..
                    } => "correct `repository`",
                    _ => "try again later",
                };
                vec![(error.to_string(), line.to_owned())]
            }
        }
    }

    /// What may be written now that the entry was found right.
    fn advice(&self) -> Option<String> {
        let found = self.found.as_ref().ok().filter(|_| self.is_right())?;
        let pin = (self.revision != found.commit)
            .then(|| format!("write `revision = \"{}\"`", found.commit));
        let checked = self
            .unchecked
            .then(|| "remove `unchecked = true`".to_owned());
        let advice: Vec<String> = pin.into_iter().chain(checked).collect();
        (!advice.is_empty()).then(|| advice.join(", "))
    }

    fn json(&self) -> Value {
        let found = self.found.as_ref().ok();
        let problems: Vec<Value> = self
            .problems()
            .into_iter()
            .map(|(what, write)| json!({ "what": what, "write": write }))
            .collect();
        json!({
            "weights": self.set.name,
            "repository": self.repository,
            "revision": self.revision,
            "unchecked": self.unchecked,
            "state": self.state(),
            "commit": found.map(|found| &found.commit),
            "bytes": found.and_then(|found| found.bytes),
            "gated": found.map(|found| found.gated),
            "problems": problems,
            "advice": self.advice(),
        })
    }

    fn shown(&self) -> [String; 5] {
        let found = self.found.as_ref().ok();
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        [
            self.set.name.clone(),
            self.repository.to_owned(),
            self.state().to_owned(),
            or_dash(found.and_then(|found| found.bytes).map(output::megabytes)),
            or_dash(found.map(|found| found.commit.clone())),
        ]
    }
}

fn print(rows: &[Row<'_>]) -> Result<(), Stop> {
    let shown: Vec<_> = rows.iter().map(Row::shown).collect();
    output::columns(
        ["WEIGHTS", "REPOSITORY", "STATE", "SIZE", "REVISION"],
        &shown,
    )?;
    let mut text = String::new();
    // Writing to a String cannot fail.
    for row in rows {
        for (what, line) in row.problems() {
            let _ = writeln!(text, "\n{}: {what}\n  -> {line}", row.set.name);
        }
    }
    let right: Vec<&Row<'_>> = rows.iter().filter(|row| row.is_right()).collect();
    let _ = writeln!(
        text,
        "\n{} of {} are as the hub has them (files, licence, and sizes within {SIZE_TOLERANCE_PERCENT} %).",
        right.len(),
        rows.len()
    );
    if right.iter().any(|row| row.advice().is_some()) {
        text.push_str(
            "In the entry of each: write the REVISION above as `revision`, which then cannot move, \
             and remove `unchecked`.\n",
        );
    }
    output::text(text)
}
