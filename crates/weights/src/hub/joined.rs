//! A set of several repositories: its files in a snapshot of each, and a folder of links to them under the set's own
//! names.

use std::path::{Path, PathBuf};

use catalog::{Origin, Repository, Source, WeightSet};

use crate::digest::sync;
use crate::fetch_error::{FetchError, writing};
use crate::hub::cache::make_link;

/// The set as one of each of its repositories, its own first, whose files have the names that they have there; nothing
/// for a set of another source.
pub(crate) fn parts(set: &WeightSet) -> Vec<WeightSet> {
    let Source::Hub {
        repository,
        revision,
        gated,
        unchecked,
        others,
    } = &set.source
    else {
        return Vec::new();
    };
    let own = Repository {
        name: repository.clone(),
        revision: revision.clone(),
    };
    let part = |(index, repository): (usize, &Repository)| {
        let mut part = set.clone();
        part.source = Source::Hub {
            repository: repository.name.clone(),
            revision: repository.revision.clone(),
            gated: *gated && index == 0,
            unchecked: *unchecked,
            others: Vec::new(),
        };
        part.files.retain_mut(|file| match &mut file.origin {
            Origin::Hub { repository, path } if *repository == index => {
                *repository = 0;
                file.path.clone_from(path);
                true
            }
            _ => false,
        });
        part
    };
    [&own]
        .into_iter()
        .chain(others)
        .enumerate()
        .map(part)
        .collect()
}

/// Where each file of the set is, by the snapshots of its parts: its link in `folder`, and what that leads to.
pub(crate) fn links(
    set: &WeightSet,
    folder: &Path,
    snapshots: &[PathBuf],
) -> Vec<(PathBuf, PathBuf)> {
    let link = |file: &catalog::WeightFile| match &file.origin {
        Origin::Hub { repository, path } => {
            let snapshot = snapshots.get(*repository)?;
            Some((folder.join(&file.path), snapshot.join(path)))
        }
        _ => None,
    };
    set.files.iter().filter_map(link).collect()
}

/// Whether a link leads to its file.
pub(crate) fn leads((link, file): &(PathBuf, PathBuf)) -> bool {
    let (Ok(there), Ok(wanted)) = (std::fs::metadata(link), std::fs::metadata(file)) else {
        return false;
    };
    match std::fs::read_link(link) {
        Ok(target) => target == *file,
        // Where the system has no links it is the file's second name, or a copy of it.
        Err(_) => !cfg!(unix) && there.len() == wanted.len(),
    }
}

/// Makes the links that do not lead to their files. A reader sees a link whole or not at all.
pub(crate) fn join(links: &[(PathBuf, PathBuf)]) -> Result<(), FetchError> {
    for pair in links {
        if leads(pair) {
            continue;
        }
        let (link, file) = pair;
        let folder = link.parent().unwrap_or(link);
        std::fs::create_dir_all(folder).map_err(writing(folder))?;
        let draft = tempfile::Builder::new()
            .prefix(".link-")
            .make_in(folder, |draft| make_link(file, file, draft))
            .map_err(writing(link))?;
        draft
            .persist(link)
            .map_err(|error| writing(link)(error.error))?;
        sync(folder)?;
    }
    Ok(())
}
