//! Python's clients and the package `clients/python`, in virtual environments in the build folder.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use testkit::weights_home;

use crate::ENGINE;
use crate::own_package::beside;

fn run(program: &Path, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status();
    let status = status.unwrap_or_else(|error| panic!("{} ({error})", program.display()));
    assert!(
        status.success(),
        "{} {arguments:?}: {status}",
        program.display()
    );
}

/// A Python that has the clients of a list of requirements, and the package of this repository.
pub(crate) fn python(requirements: &str) -> PathBuf {
    static READY: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    let mut ready = READY.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(python) = ready.get(requirements) {
        return python.clone();
    }
    let list = beside("projects").join(requirements);
    let mut hasher = DefaultHasher::new();
    std::fs::read(&list).unwrap().hash(&mut hasher);
    let home = weights_home().join("python");
    let folder = home.join(format!("{:016x}", hasher.finish()));
    let python = folder.join("bin/python");
    let pip = |arguments: &[&str]| {
        let pip = ["-m", "pip", "install", "--quiet"];
        run(&python, &[&pip, arguments].concat());
    };
    let whole = folder.join("whole");
    if !whole.is_file() {
        std::fs::create_dir_all(&home).unwrap();
        let folder = folder.to_str().unwrap();
        run(Path::new("python3"), &["-m", "venv", "--clear", folder]);
        pip(&["-r", list.to_str().unwrap()]);
        std::fs::write(whole, "").unwrap();
    }
    let source = own_source();
    let source = source.path().to_str().unwrap();
    pip(&["--no-deps", "--force-reinstall", source]);
    ready.insert(requirements.to_owned(), python.clone());
    python
}

/// A copy of `clients/python`: building a package writes beside its sources.
fn own_source() -> tempfile::TempDir {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../clients/python");
    let source = tempfile::tempdir().unwrap();
    for file in [
        "pyproject.toml",
        "README.md",
        "src/hearth_workers_ai/__init__.py",
        "src/hearth_workers_ai/pytest_plugin.py",
    ] {
        let target = source.path().join(file);
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(own.join(file), target).unwrap();
    }
    source
}

#[test]
fn the_fixture_for_pytest_starts_a_server() {
    let python = python("python.txt");
    let home = weights_home();
    let command = [
        env!("CARGO_BIN_EXE_hearth"),
        "--home",
        home.to_str().unwrap(),
    ];
    let options = [&command[1..], ENGINE].concat().join(" ");
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(&python)
        .args(["-m", "pytest", "-q", "-p", "no:cacheprovider"])
        .arg(beside("app/test_clients.py"))
        .env_remove("HEARTH_URL")
        .env("HEARTH_COMMAND", format!("{} {options}", command[0]))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("HF_HUB_OFFLINE", "1")
        .current_dir(folder.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(text.contains("3 passed"), "{text}");
}
