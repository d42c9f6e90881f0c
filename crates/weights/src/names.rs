//! Names out of a catalogue that become paths: refused before anything touches the disk.

use std::path::{Component, Path};

use catalog::{Origin, Source, WeightSet};

use crate::fetch_error::FetchError;

/// Longest name in bytes that a file system takes for one component.
const COMPONENT_MAX_BYTES: usize = 255;

/// Checks every name and index of the set, so that later steps can trust them.
pub(crate) fn check(set: &WeightSet) -> Result<(), FetchError> {
    let wrong = |what: String| FetchError::Entry {
        set: set.name.clone(),
        what,
    };
    if !is_component(&set.name) || set.name.starts_with('.') {
        return Err(wrong("its name cannot be a folder's name".to_owned()));
    }
    let mut repositories = 0;
    let packages = match &set.source {
        Source::Pypi { packages } => packages.as_slice(),
        Source::Hub {
            repository,
            revision,
            others,
            ..
        } => {
            let named = others.iter().map(|other| (&other.name, &other.revision));
            for (repository, revision) in [(repository, revision)].into_iter().chain(named) {
                let parts: Vec<&str> = repository.split('/').collect();
                if parts.len() > 2
                    || !parts
                        .iter()
                        .all(|part| is_component(part) && !part.starts_with('.'))
                {
                    return Err(wrong(format!("{repository:?} is no repository's name")));
                }
                if !is_inside(revision) {
                    return Err(wrong(format!("{revision:?} is no revision's name")));
                }
            }
            repositories = 1 + others.len();
            &[]
        }
        Source::Local { .. } => &[],
    };
    for package in packages {
        if !is_component(&package.file) {
            return Err(wrong(format!("{:?} is no wheel's name", package.file)));
        }
        // pip would take it for one of its options.
        if package.requirement.starts_with('-') {
            return Err(wrong(format!(
                "{:?} is no requirement",
                package.requirement
            )));
        }
    }
    for (index, file) in set.files.iter().enumerate() {
        if !is_inside(&file.path) {
            return Err(wrong(format!("{:?} leaves the set's folder", file.path)));
        }
        if file.path == crate::marker::NAME {
            return Err(wrong(format!("{:?} is the store's own file", file.path)));
        }
        if set.files[..index]
            .iter()
            .any(|other| other.path == file.path)
        {
            return Err(wrong(format!("{:?} is listed twice", file.path)));
        }
        let members: Vec<&(usize, String)> = match &file.origin {
            Origin::Members(members) => members.iter().collect(),
            Origin::Converted { inputs, .. } => inputs.iter().flatten().collect(),
            Origin::Hub { repository, path } => {
                if *repository >= repositories || !is_inside(path) {
                    return Err(wrong(format!("{path:?} is of no repository of the set")));
                }
                // A snapshot of the hub has the repository's own names.
                if repositories == 1 && *path != file.path {
                    return Err(wrong(format!(
                        "{:?} cannot be another name of {path:?}",
                        file.path
                    )));
                }
                Vec::new()
            }
            Origin::InPlace => Vec::new(),
        };
        if let Some((package, member)) = members.iter().find(|(index, _)| *index >= packages.len())
        {
            return Err(wrong(format!(
                "{member:?} is in package {package} of {} packages",
                packages.len()
            )));
        }
    }
    Ok(())
}

/// One plain component: no separator, no `.` or `..`, no drive, no control character.
fn is_component(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    let plain = matches!(parts.next(), Some(Component::Normal(part)) if part == name);
    plain
        && parts.next().is_none()
        && name.len() <= COMPONENT_MAX_BYTES
        && !name
            .chars()
            .any(|c| c.is_control() || matches!(c, '/' | '\\' | ':'))
}

/// Plain components joined by `/`, as on every system that a catalogue is written for.
fn is_inside(path: &str) -> bool {
    !path.is_empty() && path.split('/').all(is_component)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_relative_paths_pass() {
        for good in [
            "model.safetensors",
            "1_Pooling/config.json",
            "a..b",
            ".hidden",
        ] {
            assert!(is_inside(good), "{good}");
        }
        for bad in [
            "", ".", "..", "/", "/etc/x", "../x", "a/../x", "a/..", "a//b", "a/", "a\\b", "c:x",
            "a\0b", "./a", "a\nb",
        ] {
            assert!(!is_inside(bad), "{bad:?}");
        }
        assert!(!is_inside(&"n".repeat(256)));
    }
}
