//! Python's clients and the package `clients/python`, in a virtual environment in the build folder.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use testkit::weights_home;

use crate::ENGINE;
use crate::install::beside;

fn run(program: &Path, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status();
    let status = status.unwrap_or_else(|error| panic!("{} ({error})", program.display()));
    assert!(
        status.success(),
        "{} {arguments:?}: {status}",
        program.display()
    );
}

/// A Python that has the pinned clients.
fn python() -> PathBuf {
    let requirements = beside("projects/requirements.txt");
    let mut hasher = DefaultHasher::new();
    std::fs::read(&requirements).unwrap().hash(&mut hasher);
    let home = weights_home().join("clients");
    let folder = home.join(format!("python-{:016x}", hasher.finish()));
    let python = folder.join("bin/python");
    let whole = folder.join("whole");
    if !whole.is_file() {
        std::fs::create_dir_all(&home).unwrap();
        run(
            Path::new("python3"),
            &["-m", "venv", "--clear", folder.to_str().unwrap()],
        );
        let requirements = requirements.to_str().unwrap();
        run(
            &python,
            &["-m", "pip", "install", "--quiet", "-r", requirements],
        );
        std::fs::write(whole, "").unwrap();
    }
    python
}

#[test]
fn python_s_clients_are_answered() {
    let python = python();
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../clients/python");
    // A copy: building a package writes beside its sources.
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
    let package = source.path().to_str().unwrap();
    run(
        &python,
        &[
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--force-reinstall",
            package,
        ],
    );
    let command = [
        env!("CARGO_BIN_EXE_hearth"),
        "--home",
        weights_home().to_str().unwrap(),
    ];
    let options = [&command[1..], ENGINE].concat().join(" ");
    let output = Command::new(&python)
        .args(["-m", "pytest", "-q", "-p", "no:cacheprovider"])
        .arg(beside("app/test_clients.py"))
        .env_remove("HEARTH_URL")
        .env("HEARTH_COMMAND", format!("{} {options}", command[0]))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("HF_HUB_OFFLINE", "1")
        .current_dir(source.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(text.contains("6 passed"), "{text}");
}
