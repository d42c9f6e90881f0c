//! A user's own files: looked at, never fetched, changed or removed.

use std::path::{Path, PathBuf};

use catalog::{WeightFile, WeightSet};

use crate::digest::sum_of;
use crate::fetch_error::FetchError;
use crate::files::Files;

/// The set's files under `source`, each checked; hashed where the catalogue gives a hash.
pub(crate) fn files(set: &WeightSet, source: &Path) -> Result<Files, FetchError> {
    for (file, path) in paths(set, source)? {
        check(set, &path)?;
        let Some(want) = &file.sha256 else { continue };
        let have = sum_of(&path)?.sha256;
        if have != *want {
            return Err(FetchError::FileHash {
                set: set.name.clone(),
                file: path.display().to_string(),
                want: want.clone(),
                have,
            });
        }
    }
    let names = set.files.iter().map(|file| file.path.clone());
    Ok(match set.files.as_slice() {
        [only] if source.is_file() => Files::single(only.path.clone(), source.to_owned()),
        _ => Files::new(source.to_owned(), names),
    })
}

/// Whether every file is there; nothing is hashed.
pub(crate) fn is_complete(set: &WeightSet, source: &Path) -> bool {
    paths(set, source).is_ok_and(|pairs| pairs.iter().all(|(_, path)| check(set, path).is_ok()))
}

fn paths<'a>(
    set: &'a WeightSet,
    source: &Path,
) -> Result<Vec<(&'a WeightFile, PathBuf)>, FetchError> {
    let refuse = |what| FetchError::Local {
        set: set.name.clone(),
        path: source.to_owned(),
        what,
    };
    if source.is_dir() {
        return Ok(set
            .files
            .iter()
            .map(|file| (file, source.join(&file.path)))
            .collect());
    }
    if !source.is_file() {
        return Err(refuse("is not there"));
    }
    match set.files.as_slice() {
        [only] => Ok(vec![(only, source.to_owned())]),
        [] => Err(refuse(
            "is a file whose name does not end in .gguf; give the folder of the checkpoint",
        )),
        _ => Err(refuse(
            "is a file, but the set has several; give their folder",
        )),
    }
}

fn check(set: &WeightSet, path: &Path) -> Result<(), FetchError> {
    let what = match std::fs::metadata(path) {
        Ok(found) if found.is_file() => return Ok(()),
        Ok(_) => "is not a file",
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => "may not be read",
        Err(_) => "is not there",
    };
    Err(FetchError::Local {
        set: set.name.clone(),
        path: path.to_owned(),
        what,
    })
}
