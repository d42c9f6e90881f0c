//! Packages of npm, installed once for each lock file.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};

use testkit::weights_home;

/// The oldest Node that all the clients run on.
const NODE_MIN: (u32, u32) = (22, 12);

/// A file or folder beside this one.
pub(crate) fn beside(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/clients")
        .join(path)
}

/// The folder with the `node_modules` of a project, and with the project's own package among them.
pub(crate) fn installed(project: &str) -> PathBuf {
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = INSTALLING.lock().unwrap();
    let source = beside("projects").join(project);
    let lock = std::fs::read_to_string(source.join("package-lock.json")).unwrap();
    let mut hasher = DefaultHasher::new();
    lock.hash(&mut hasher);
    let home = weights_home().join("clients");
    let folder = home.join(format!("{project}-{:016x}", hasher.finish()));
    if folder.is_dir() {
        return folder;
    }
    std::fs::create_dir_all(&home).unwrap();
    let fresh = tempfile::tempdir_in(&home).unwrap();
    for file in ["package.json", "package-lock.json"] {
        std::fs::copy(source.join(file), fresh.path().join(file)).unwrap();
    }
    npm(fresh.path(), &["ci"]);
    std::fs::rename(fresh.keep(), &folder).unwrap();
    folder
}

/// Installs the package `clients/npm` as it would be published: packed, then taken from the tarball.
pub(crate) fn add_own_package(folder: &Path) {
    static ADDED: OnceLock<()> = OnceLock::new();
    ADDED.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../clients/npm");
        let fresh = tempfile::tempdir_in(folder).unwrap();
        let place = fresh.path().to_str().unwrap();
        npm(&source, &["pack", "--pack-destination", place]);
        let tarball = fresh.path().join("hearth-workers-ai-0.1.0.tgz");
        std::fs::write(fresh.path().join("package.json"), "{}").unwrap();
        npm(
            fresh.path(),
            &["install", "--offline", tarball.to_str().unwrap()],
        );
        let own = folder.join("node_modules/hearth-workers-ai");
        let _ = std::fs::remove_dir_all(&own); // that of an earlier run
        std::fs::rename(fresh.path().join("node_modules/hearth-workers-ai"), own).unwrap();
    });
}

fn npm(folder: &Path, arguments: &[&str]) {
    let status = Command::new("npm")
        .args(arguments)
        .args(["--no-audit", "--no-fund", "--loglevel", "error"])
        .current_dir(folder)
        .status()
        .unwrap_or_else(|error| panic!("npm cannot be run ({error}); install Node with npm"));
    assert!(status.success(), "npm {arguments:?}: {status}");
}

/// A Node that runs all the clients: the machine's own, or one from npm where that is older.
pub(crate) fn node() -> PathBuf {
    let own = PathBuf::from("node");
    if version(&own).is_some_and(|version| version >= NODE_MIN) {
        return own;
    }
    let node = installed("node").join("node_modules/.bin/node");
    let found = version(&node);
    assert!(found.is_some(), "{} does not run", node.display());
    node
}

fn version(node: &Path) -> Option<(u32, u32)> {
    let output = Command::new(node).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let mut numbers = text.trim().strip_prefix('v')?.split('.');
    let mut next = || numbers.next()?.parse().ok();
    Some((next()?, next()?))
}
