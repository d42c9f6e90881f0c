//! Packages of npm and a Node that runs them, fetched once into the build folder.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::weights_home;

/// The oldest Node whose sets have `difference` and `union`, which packages of today use.
const NODE_MIN_MAJOR: u32 = 22;

/// A folder with packages, and the Node to run them with.
pub struct Npm {
    folder: PathBuf,
    node: PathBuf,
}

impl Npm {
    /// Packages as `name@version`, exact versions; and Node from npm where the machine's own is older
    /// than 22.
    pub fn with(packages: &[&str]) -> Self {
        let own = PathBuf::from("node");
        let needs_node = major(&own).is_none_or(|major| major < NODE_MIN_MAJOR);
        let mut wanted = packages.to_vec();
        if needs_node {
            wanted.push("node@22");
        }
        let folder = installed(&wanted);
        let node = if needs_node {
            folder.join("node_modules/.bin/node")
        } else {
            own
        };
        let found = major(&node);
        assert!(
            found.is_some_and(|major| major >= NODE_MIN_MAJOR),
            "{} is Node {found:?}; {NODE_MIN_MAJOR} or newer is needed",
            node.display()
        );
        Self { folder, node }
    }

    /// Node, about to run `script`: a file that finds the packages in the folder it is run in.
    pub fn node(&self, script: &Path) -> Command {
        let mut command = Command::new(&self.node);
        command.arg(script).current_dir(&self.folder);
        command
    }

    /// The folder that holds `node_modules`.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// The major version of a Node; `None` where there is none.
fn major(node: &Path) -> Option<u32> {
    let output = Command::new(node).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.trim()
        .strip_prefix('v')?
        .split('.')
        .next()?
        .parse()
        .ok()
}

/// The folder of exactly these packages. It appears under its name once all of it is there, so that
/// tests that run at the same time see all or nothing.
fn installed(packages: &[&str]) -> PathBuf {
    let name: String = packages
        .join("+")
        .chars()
        .map(|c| if c == '/' { '-' } else { c })
        .collect();
    let home = weights_home().join("npm");
    let folder = home.join(name);
    if folder.is_dir() {
        return folder;
    }
    std::fs::create_dir_all(&home).unwrap();
    let fresh = tempfile::tempdir_in(&home).unwrap();
    let status = Command::new("npm")
        .args(["install", "--no-audit", "--no-fund", "--loglevel", "error"])
        .args(packages)
        .arg("--prefix")
        .arg(fresh.path())
        .current_dir(fresh.path())
        .status()
        .unwrap_or_else(|error| panic!("npm cannot be run ({error}); install Node with npm"));
    assert!(status.success(), "npm install {packages:?}: {status}");
    let fresh = fresh.keep();
    if std::fs::rename(&fresh, &folder).is_err() {
        assert!(folder.is_dir(), "{} cannot be made", folder.display());
        std::fs::remove_dir_all(fresh).unwrap(); // another test was quicker
    }
    folder
}
