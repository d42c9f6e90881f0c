//! A `[weights."..."]`, judged into a [`WeightSet`].

use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

use super::files::{Conversion, WrittenFile, is_inside, judge_files, sha256};
use super::words::class;
use crate::place::{CatalogError, Place};
use crate::weights::{Package, Source, WeightSet};

/// The longest name of a set in bytes: it becomes a folder's name, with a suffix while it is fetched.
const SET_NAME_MAX_BYTES: usize = 100;

/// What SPDX writes where no licence is stated.
const LICENCE_NOT_STATED: &str = "NOASSERTION";

/// The keys of a `[weights."..."]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Set {
    architecture: Spanned<String>,
    licence: Option<Spanned<String>>,
    window: Option<Spanned<u32>>,
    disk_bytes: Option<Spanned<u64>>,
    memory_bytes: Option<Spanned<u64>>,
    packages: Option<Spanned<Vec<Spanned<WrittenPackage>>>>,
    path: Option<Spanned<String>>,
    files: Spanned<Vec<Spanned<WrittenFile>>>,
    conversion: Option<Conversion>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenPackage {
    requirement: Spanned<String>,
    file: Spanned<String>,
    sha256: Spanned<String>,
    bytes: Spanned<u64>,
}

impl Set {
    /// The set that these keys describe.
    pub(super) fn judge(
        &self,
        place: Place<'_>,
        name: &Spanned<String>,
    ) -> Result<WeightSet, CatalogError> {
        if !is_set_name(name.get_ref()) {
            return Err(place.wrong(
                name.span(),
                format!("a set's name must be lower-case letters, digits, \".\", \"-\" and \"_\", at most {SET_NAME_MAX_BYTES}"),
            ));
        }
        let missing = |key| place.missing(name.span(), key);
        let source = self.source(place, name)?;
        let local = matches!(source, Source::Local { .. });
        let size = |size: Option<&Spanned<u64>>, key, fallback| match size {
            None if local => Ok(fallback),
            None => Err(missing(key)),
            Some(bytes) => positive(place, bytes),
        };
        let disk_bytes = size(self.disk_bytes.as_ref(), "disk_bytes", 0)?;
        let window = match &self.window {
            Some(window) if *window.get_ref() == 0 => {
                return Err(place.wrong(window.span(), "must be at least 1"));
            }
            window => window.as_ref().map(|window| *window.get_ref()),
        };
        Ok(WeightSet {
            name: name.get_ref().clone(),
            architecture: class(place, &self.architecture)?,
            licence: match &self.licence {
                Some(licence) if licence.get_ref().trim().is_empty() => {
                    return Err(place.wrong(licence.span(), "must not be empty"));
                }
                Some(licence) => licence.get_ref().clone(),
                None if local => LICENCE_NOT_STATED.to_owned(),
                None => return Err(missing("licence")),
            },
            window,
            download_bytes: match &source {
                Source::Pypi { packages } => packages
                    .iter()
                    .fold(0, |sum: u64, package| sum.saturating_add(package.bytes)),
                Source::Local { .. } => 0,
            },
            disk_bytes,
            memory_bytes: size(self.memory_bytes.as_ref(), "memory_bytes", disk_bytes)?,
            files: judge_files(place, &self.files, &source, self.conversion.as_ref())?,
            source,
        })
    }

    fn source(&self, place: Place<'_>, name: &Spanned<String>) -> Result<Source, CatalogError> {
        match (&self.packages, &self.path) {
            (Some(packages), None) => {
                if packages.get_ref().is_empty() {
                    return Err(place.wrong(packages.span(), "must not be empty"));
                }
                let packages = packages
                    .get_ref()
                    .iter()
                    .map(|package| package.get_ref().judge(place));
                Ok(Source::Pypi {
                    packages: packages.collect::<Result<_, _>>()?,
                })
            }
            (None, Some(path)) => {
                if path.get_ref().is_empty() {
                    return Err(place.wrong(path.span(), "must not be empty"));
                }
                Ok(Source::Local {
                    path: PathBuf::from(path.get_ref()),
                })
            }
            (Some(_), Some(path)) => {
                Err(place.wrong(path.span(), "weights have packages or a path, not both"))
            }
            (None, None) => Err(place.wrong(
                name.span(),
                "packages, or the path of a folder, must be given",
            )),
        }
    }
}

impl WrittenPackage {
    fn judge(&self, place: Place<'_>) -> Result<Package, CatalogError> {
        if !is_requirement(self.requirement.get_ref()) {
            return Err(place.wrong(
                self.requirement.span(),
                "must be one release, such as \"name==1.0.0\"",
            ));
        }
        let file = self.file.get_ref();
        let wheel = std::path::Path::new(file)
            .extension()
            .is_some_and(|extension| extension == "whl");
        if !(wheel && is_inside(file) && !file.contains('/')) {
            return Err(place.wrong(
                self.file.span(),
                "must be the file name of a wheel, such as \"name-1.0.0-py3-none-any.whl\"",
            ));
        }
        Ok(Package {
            requirement: self.requirement.get_ref().clone(),
            file: file.clone(),
            sha256: sha256(place, &self.sha256)?,
            bytes: positive(place, &self.bytes)?,
        })
    }
}

fn positive(place: Place<'_>, bytes: &Spanned<u64>) -> Result<u64, CatalogError> {
    match *bytes.get_ref() {
        0 => Err(place.wrong(bytes.span(), "must be at least 1")),
        bytes => Ok(bytes),
    }
}

/// One case only, because some file systems take `A` and `a` for one folder.
fn is_set_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.starts_with(plain)
        && name.len() <= SET_NAME_MAX_BYTES
        && name
            .chars()
            .all(|c| plain(c) || matches!(c, '.' | '-' | '_'))
}

/// `name==version`: nothing that pip could take for an option, an address or a choice of versions.
fn is_requirement(text: &str) -> bool {
    let word = |text: &str, marks: &str| {
        text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || marks.contains(c))
    };
    text.split_once("==")
        .is_some_and(|(name, version)| word(name, "-_.") && word(version, ".+!-_"))
}
