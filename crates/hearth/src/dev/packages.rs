//! Which of Cloudflare's packages the project has.

use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// Packages to look for, in the order in which they are told.
const NAMES: [&str; 5] = [
    "wrangler",
    "@cloudflare/vitest-plugin",
    "@cloudflare/vitest-pool-workers",
    "@cloudflare/vite-plugin",
    "vite",
];

/// The oldest wrangler that the project's tests run.
const OLDEST_TRIED: Version = Version(3, 114, 0);

/// A version, without what may follow a dash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(pub(super) u64, pub(super) u64, pub(super) u64);

impl Version {
    /// `None` for ranges and tags.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let plain = text.split(['-', '+']).next()?;
        let mut numbers = plain.split('.').map(str::parse);
        let version = Self(
            numbers.next()?.ok()?,
            numbers.next()?.ok()?,
            numbers.next()?.ok()?,
        );
        numbers.next().is_none().then_some(version)
    }
}

/// A package on disk.
#[derive(Debug)]
struct Package {
    name: &'static str,
    version: String,
    /// The Miniflare that it loads.
    miniflare: Option<String>,
}

/// The packages of a project.
#[derive(Debug)]
pub(super) struct Found(Vec<Package>);

impl Found {
    /// Those that a program finds from the working directory.
    pub(super) fn here() -> Self {
        let here = std::env::current_dir().unwrap_or_default();
        let found = NAMES.into_iter().filter_map(|name| {
            let folder = resolve(&here, name)?;
            let miniflare = resolve(&folder, "miniflare");
            Some(Package {
                name,
                version: version(&folder)?,
                miniflare: miniflare.and_then(|folder| version(&folder)),
            })
        });
        Self(found.collect())
    }

    /// The version of the project's wrangler.
    pub(super) fn wrangler(&self) -> Option<Version> {
        let package = self.0.iter().find(|package| package.name == "wrangler")?;
        Version::parse(&package.version)
    }

    /// What is to be said of the versions.
    pub(super) fn warning(&self) -> Option<String> {
        let version = self.wrangler()?;
        let Version(major, minor, patch) = version;
        (version < OLDEST_TRIED).then(|| {
            format!(
                "wrangler {major}.{minor}.{patch} has not been tried; 3.114 and later are known to work"
            )
        })
    }

    #[cfg(test)]
    pub(super) fn with_wrangler(version: &str) -> Self {
        Self(vec![Package {
            name: "wrangler",
            version: version.into(),
            miniflare: None,
        }])
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("no wrangler or Vite in node_modules here");
        }
        for (place, package) in self.0.iter().enumerate() {
            let comma = if place == 0 { "" } else { ", " };
            write!(f, "{comma}{} {}", package.name, package.version)?;
            if let Some(miniflare) = &package.miniflare {
                write!(f, " (miniflare {miniflare})")?;
            }
        }
        Ok(())
    }
}

/// A folder and those that it is in.
pub(super) fn ancestors(folder: &Path) -> impl Iterator<Item = PathBuf> {
    // Package managers link packages into place; what those need lies beside the real ones.
    let real = std::fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    let folders: Vec<PathBuf> = real.ancestors().map(Path::to_owned).collect();
    folders.into_iter()
}

/// The folder of a package, as Node finds it from another.
fn resolve(from: &Path, name: &str) -> Option<PathBuf> {
    ancestors(from)
        .map(|folder| folder.join("node_modules").join(name))
        .find(|folder| folder.join("package.json").is_file())
}

fn version(package: &Path) -> Option<String> {
    let text = std::fs::read_to_string(package.join("package.json")).ok()?;
    let package: Value = serde_json::from_str(&text).ok()?;
    Some(package["version"].as_str()?.replace(char::is_control, " "))
}
