//! The file that Node loads before the command's own code.

use std::path::{Path, PathBuf};

use crate::config::Place;
use crate::failure::Stop;

const TEXT: &str = include_str!("../../../../clients/npm/preload.cjs");

/// Writes the file into hearth's own folder, where it is not there already.
pub(super) fn write(place: &Place) -> Result<PathBuf, Stop> {
    let folder = place.store.with_file_name("clients");
    let name = format!("preload-{}.cjs", env!("CARGO_PKG_VERSION"));
    let path = std::path::absolute(folder.join(&name)).map_err(|error| refused(&folder, &error))?;
    if std::fs::read_to_string(&path).is_ok_and(|text| text == TEXT) {
        return Ok(path);
    }
    // A command that runs now may be about to read it: it sees the old one or the new one.
    let fresh = folder.join(format!("{name}.{}", std::process::id()));
    std::fs::create_dir_all(&folder)
        .and_then(|()| std::fs::write(&fresh, TEXT))
        .and_then(|()| std::fs::rename(&fresh, &path))
        .map_err(|error| refused(&path, &error))?;
    Ok(path)
}

fn refused(path: &Path, error: &std::io::Error) -> Stop {
    Stop::failed(format!(
        "{} cannot be written: {error}; name another folder with --home",
        path.display()
    ))
}
