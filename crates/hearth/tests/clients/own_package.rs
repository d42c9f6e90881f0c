//! The package `clients/npm`, installed as it would be published: packed, then taken from the tarball.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use testkit::npm;

/// A file or folder beside this one.
pub(crate) fn beside(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/clients")
        .join(path)
}

/// Adds the package to the others of an installation.
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
