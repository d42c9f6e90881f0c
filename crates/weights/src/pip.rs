//! The machine's own pip: found, started, watched, and ended when it hangs.
//!
//! Everything that pip knows of mirrors, proxies and logins stays with pip: its environment is passed through,
//! apart from `TMPDIR`, which is set to a folder whose growth tells how far the download is.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use catalog::Package;

use crate::fetch_error::{FetchError, reading, writing};
use crate::progress::Progress;

/// How often a download is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// The first look; the pause doubles from here, so that a short run is not waited for.
const FIRST_LOOK: Duration = Duration::from_millis(5);
/// A Python that has not told its pip's version by then has no working pip.
const PROBE_PATIENCE: Duration = Duration::from_mins(1);
/// pip holds a wheel up to three times for a moment (its cache's draft, the download, the copy).
const COPIES_MAX: u64 = 4;
/// Beside the wheel pip reads index pages; bytes allowed for them.
const INDEX_PAGES_MAX_BYTES: u64 = 64 * 1024 * 1024;
/// Files looked at in one look; pip makes a handful.
const WATCHED_FILES_MAX: usize = 4096;
/// What is read of the end of pip's output, in bytes.
const TAIL_BYTES: u64 = 4096;
/// Lines of pip's output that an error shows.
const TAIL_LINES: usize = 4;

/// A pip that works.
#[derive(Debug)]
pub(crate) struct Pip {
    program: PathBuf,
    arguments: &'static [&'static str],
}

/// Why one attempt brought no wheel.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// pip ended without it; its last lines.
    Failed(String),
    /// Nothing grew for the time allowed.
    Stalled,
    /// The download outgrew this many bytes.
    Oversized(u64),
    /// The caller wants to stop.
    Cancelled,
    /// A fault of this machine, not of the download.
    Machine(FetchError),
}

impl From<FetchError> for Trouble {
    fn from(error: FetchError) -> Self {
        Self::Machine(error)
    }
}

impl Pip {
    /// The first command that knows its own version: `python` alone where one is given, else the usual names.
    /// `Err` holds the commands tried.
    pub(crate) fn find(python: Option<&Path>, scratch: &Path) -> Result<Self, String> {
        const MODULE: &[&str] = &["-m", "pip"];
        let candidates: Vec<(PathBuf, &'static [&'static str])> = match python {
            Some(python) => vec![(python.to_owned(), MODULE)],
            None => vec![
                ("python3".into(), MODULE),
                ("pip3".into(), &[]),
                ("pip".into(), &[]),
            ],
        };
        let mut tried = Vec::new();
        for (program, arguments) in candidates {
            let pip = Self { program, arguments };
            if pip.works(scratch) {
                return Ok(pip);
            }
            tried.push(pip.words());
        }
        Err(tried.join(", "))
    }

    /// The command as a person would type it.
    pub(crate) fn words(&self) -> String {
        let words = format!("{} {}", self.program.display(), self.arguments.join(" "));
        words.trim_end().to_owned()
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(self.arguments).stdin(Stdio::null());
        command
    }

    fn works(&self, scratch: &Path) -> bool {
        let mut command = self.command();
        command
            .arg("--version")
            .env("TMPDIR", scratch)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let Ok(child) = command.spawn() else {
            return false;
        };
        let mut running = Running(child);
        let began = Instant::now();
        let mut pause = FIRST_LOOK;
        while began.elapsed() < PROBE_PATIENCE {
            match running.0.try_wait() {
                Ok(Some(status)) => return status.success(),
                Ok(None) => std::thread::sleep(next(&mut pause)),
                Err(_) => return false,
            }
        }
        false
    }

    /// Downloads `package` into the empty folder `into`, and returns the wheel's path. Its hash is not checked.
    pub(crate) fn download(
        &self,
        package: &Package,
        into: &Path,
        patience: Duration,
        progress: &dyn Progress,
    ) -> Result<PathBuf, Trouble> {
        let (wheels, scratch, log) = (into.join("wheels"), into.join("tmp"), into.join("pip.log"));
        for folder in [&wheels, &scratch] {
            std::fs::create_dir(folder).map_err(writing(folder))?;
        }
        // A file and not a pipe: a child of pip that outlives it cannot keep us waiting.
        let output = File::create(&log).map_err(writing(&log))?;
        let errors = output.try_clone().map_err(writing(&log))?;
        let mut command = self.command();
        command
            .args([
                "download",
                "--no-deps",
                "--only-binary",
                ":all:",
                "--disable-pip-version-check",
                "-q",
                "-d",
            ])
            .arg(&wheels)
            .arg(&package.requirement)
            .env("TMPDIR", &scratch)
            .stdout(output)
            .stderr(errors);
        let child = command.spawn().map_err(|error| {
            Trouble::Failed(format!(
                "{} could not be started: {error}",
                self.program.display()
            ))
        })?;
        let limit = package
            .bytes
            .saturating_mul(COPIES_MAX)
            .saturating_add(INDEX_PAGES_MAX_BYTES);
        let status = watch(Running(child), into, patience, limit, progress)?;
        let wheel = wheels.join(&package.file);
        if !status.success() {
            return Err(Trouble::Failed(tail(&log, status)));
        }
        if !wheel.is_file() {
            return Err(Trouble::Failed(format!(
                "pip gave no file named {}; it gave: {}",
                package.file,
                names_in(&wheels)
            )));
        }
        Ok(wheel)
    }
}

/// Waits for pip, tells how far it is, and ends it when it stalls, outgrows `limit`, or the caller wants to stop.
fn watch(
    mut running: Running,
    folder: &Path,
    patience: Duration,
    limit: u64,
    progress: &dyn Progress,
) -> Result<ExitStatus, Trouble> {
    let mut seen = Growth::default();
    let mut grew = Instant::now();
    let mut pause = FIRST_LOOK;
    loop {
        if let Some(status) = running.0.try_wait().map_err(reading(folder))? {
            return Ok(status);
        }
        if progress.cancelled() {
            return Err(Trouble::Cancelled);
        }
        let now = Growth::of(folder);
        if now != seen {
            seen = now;
            grew = Instant::now();
            // pip keeps several copies for a while: the largest file is the download.
            progress.advanced(seen.largest);
        }
        if seen.total > limit {
            return Err(Trouble::Oversized(limit));
        }
        if grew.elapsed() >= patience {
            return Err(Trouble::Stalled);
        }
        std::thread::sleep(next(&mut pause));
    }
}

fn next(pause: &mut Duration) -> Duration {
    let now = *pause;
    *pause = (now * 2).min(LOOK_EVERY);
    now
}

/// A child that does not outlive its owner.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only for a child that has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Bytes of the files under a folder.
#[derive(Debug, Default, PartialEq, Eq)]
struct Growth {
    total: u64,
    largest: u64,
}

impl Growth {
    fn of(folder: &Path) -> Self {
        let mut growth = Self::default();
        let mut folders = vec![folder.to_owned()];
        let mut looked = 0;
        while let Some(folder) = folders.pop() {
            // Files come and go under pip's hands; what cannot be read now is read at the next look.
            let Ok(entries) = std::fs::read_dir(&folder) else {
                continue;
            };
            for entry in entries.flatten() {
                looked += 1;
                if looked > WATCHED_FILES_MAX {
                    return growth;
                }
                // Of the entry itself: a link is not followed.
                let Ok(found) = entry.metadata() else {
                    continue;
                };
                if found.is_dir() {
                    folders.push(entry.path());
                } else {
                    growth.total += found.len();
                    growth.largest = growth.largest.max(found.len());
                }
            }
        }
        growth
    }
}

/// The last lines of pip's output, on one line.
fn tail(log: &Path, status: ExitStatus) -> String {
    let read = || -> io::Result<String> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let last = &lines[lines.len().saturating_sub(TAIL_LINES)..];
    if last.is_empty() {
        return format!("pip said nothing and ended with {status}");
    }
    // pip repeats what a server says; control characters must not reach a terminal.
    last.join(" / ")
        .chars()
        .filter(|c| !c.is_control())
        .collect()
}

fn names_in(folder: &Path) -> String {
    let names: Vec<String> = std::fs::read_dir(folder)
        .map(|entries| {
            entries
                .flatten()
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .take(TAIL_LINES)
                .collect()
        })
        .unwrap_or_default();
    if names.is_empty() {
        "nothing".to_owned()
    } else {
        names.join(", ")
    }
}
