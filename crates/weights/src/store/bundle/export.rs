//! Writing a bundle: every set is hashed first, and the file appears under its name whole or not at all.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use catalog::{Source, WeightFile, WeightSet};
use tar::{Builder, Header};

use super::contents::member_name;
use super::{BundleError, bundling};
use crate::fetch_error::{FetchError, reading};
use crate::progress::Progress;
use crate::store::Store;

/// Read and write for the owner, read for all others.
const FILE_MODE: u32 = 0o644;

impl Store {
    /// Writes `sets` into a new bundle at `path`, and returns its size in bytes. The same sets give the same bytes.
    ///
    /// # Errors
    /// [`FetchError::Damaged`] for a set that is not here whole; nothing is at `path` then.
    pub fn export(
        &self,
        path: &Path,
        sets: &[&WeightSet],
        progress: &dyn Progress,
    ) -> Result<u64, BundleError> {
        if path.exists() {
            return Err(BundleError::Exists {
                path: path.to_owned(),
            });
        }
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        for set in sets {
            if matches!(set.source, Source::Local { .. }) {
                return Err(BundleError::OwnFiles {
                    set: set.name.clone(),
                });
            }
            if matches!(&set.source, Source::Hub { others, .. } if !others.is_empty()) {
                return Err(BundleError::Joined {
                    set: set.name.clone(),
                });
            }
            self.verify(set)?;
        }
        let draft = draft(folder).map_err(bundling(path))?;
        let mut bundle = Builder::new(draft);
        let mut packed: Vec<&str> = Vec::new();
        for set in sets {
            // Two names may mean one set.
            if packed.contains(&set.name.as_str()) {
                continue;
            }
            packed.push(&set.name);
            progress.started(&format!("{}: pack", set.name), self.bytes_on_disk(set));
            let appended = self.append(&mut bundle, set, path, progress);
            progress.finished();
            appended?;
        }
        let draft = bundle.into_inner().map_err(bundling(path))?;
        draft.as_file().sync_all().map_err(bundling(path))?;
        let bytes = draft.as_file().metadata().map_err(bundling(path))?.len();
        draft
            .persist_noclobber(path)
            .map_err(|error| bundling(path)(error.error))?;
        Ok(bytes)
    }

    fn append(
        &self,
        bundle: &mut Builder<impl Write>,
        set: &WeightSet,
        path: &Path,
        progress: &dyn Progress,
    ) -> Result<(), BundleError> {
        let mut done = 0;
        for file in &set.files {
            let source = self.folder(set).join(&file.path);
            let opened = File::open(&source).map_err(reading(&source))?;
            let bytes = opened.metadata().map_err(reading(&source))?.len();
            let header = header(set, file, bytes).map_err(bundling(path))?;
            let counted = Counted {
                file: opened.take(bytes),
                done,
                progress,
            };
            bundle.append(&header, counted).map_err(bundling(path))?;
            done += bytes;
            if progress.cancelled() {
                return Err(FetchError::Cancelled {
                    set: set.name.clone(),
                }
                .into());
            }
        }
        Ok(())
    }
}

/// Nothing of the machine that writes it: no owner, no time.
fn header(set: &WeightSet, file: &WeightFile, bytes: u64) -> std::io::Result<Header> {
    let mut header = Header::new_ustar();
    header.set_path(member_name(set, file))?;
    header.set_size(bytes);
    header.set_mode(FILE_MODE);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    Ok(header)
}

/// A file beside the bundle's place, removed unless it gets the bundle's name.
fn draft(folder: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".hearth-bundle-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        builder.permissions(std::fs::Permissions::from_mode(FILE_MODE));
    }
    builder.tempfile_in(folder)
}

/// A file that tells how far it was read.
struct Counted<'a> {
    file: std::io::Take<File>,
    done: u64,
    progress: &'a dyn Progress,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.done += read as u64;
        self.progress.advanced(self.done);
        Ok(read)
    }
}
