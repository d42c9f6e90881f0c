//! A Worker's project with a client installed, and commands that run in it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde_json::Value;
use tempfile::TempDir;
use testkit::{Guard, Npm, weights_home};

use crate::own_package::beside;

/// Time for a client to start and for all checks, on a busy machine.
const PATIENCE: Duration = Duration::from_mins(3);

/// One test at a time may run development servers: two that start at once choose the same port for
/// their own inner sockets.
static SERVERS: Mutex<()> = Mutex::new(());

/// Waits until no other test runs development servers.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    SERVERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What each check gave: true, or what it saw instead.
pub(crate) type Outcomes = BTreeMap<String, Value>;

/// A copy of the Worker, where the packages of an installation are found.
pub(crate) struct Project {
    folder: TempDir,
    npm: Npm,
}

impl Project {
    /// The Worker that checks its binding.
    pub(crate) fn new(installation: &str) -> Self {
        Self::of(installation, "app")
    }

    /// Another Worker.
    pub(crate) fn of(installation: &str, worker: &str) -> Self {
        let npm = Npm::locked(&beside("projects").join(installation));
        let folder = tempfile::tempdir_in(npm.folder()).unwrap();
        for entry in std::fs::read_dir(beside(worker)).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
        }
        Self { folder, npm }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn installation(&self) -> &Path {
        self.npm.folder()
    }

    /// A file of a package, as an argument for Node.
    pub(crate) fn package(&self, path: &str) -> String {
        let path = self.npm.folder().join("node_modules").join(path);
        assert!(path.exists(), "{}", path.display());
        path.to_str().unwrap().to_owned()
    }

    /// The version of a package.
    pub(crate) fn version(&self, package: &str) -> String {
        let text = std::fs::read_to_string(self.package(&format!("{package}/package.json")));
        let package: Value = serde_json::from_str(&text.unwrap()).unwrap();
        package["version"].as_str().unwrap().to_owned()
    }

    /// `hearth dev` with these options and Node with these arguments.
    pub(crate) fn dev(&self, options: &[&str], arguments: &[&str]) -> Running {
        self.dev_with(options, self.npm.program(), arguments)
    }

    /// `hearth dev` with these options, another program and its arguments.
    pub(crate) fn dev_with(&self, options: &[&str], program: &Path, arguments: &[&str]) -> Running {
        let mut command = self.hearth(&["dev", "--home", weights_home().to_str().unwrap()]);
        command.args(options).arg("--").arg(program).args(arguments);
        Running::start(command)
    }

    /// Node with these arguments, and no `hearth dev` around it.
    pub(crate) fn node(&self, url: &str, arguments: &[&str]) -> Running {
        let mut command = self.clean(Command::new(self.npm.program()));
        command.env("HEARTH_URL", url).args(arguments);
        Running::start(command)
    }

    /// The binary, in the project.
    pub(crate) fn hearth(&self, arguments: &[&str]) -> Command {
        let mut command = self.clean(Command::new(env!("CARGO_BIN_EXE_hearth")));
        command.args(arguments);
        command
    }

    /// A command that knows no account of this machine's user.
    fn clean(&self, mut command: Command) -> Command {
        let names = std::env::vars_os().map(|(name, _)| name);
        for name in names.filter(|name| is_foreign(&name.to_string_lossy())) {
            command.env_remove(name);
        }
        let node = self.npm.program().parent();
        let node = node.filter(|folder| !folder.as_os_str().is_empty());
        if let (Some(folder), Some(path)) = (node, std::env::var_os("PATH")) {
            let folders = [folder.to_owned()]
                .into_iter()
                .chain(std::env::split_paths(&path));
            command.env("PATH", std::env::join_paths(folders).unwrap());
        }
        command
            .current_dir(self.folder.path())
            .env("XDG_CONFIG_HOME", self.folder.path().join(".config"))
            .env("WRANGLER_SEND_METRICS", "false")
            .env("HEARTH_HOME", weights_home())
            .env("HF_HUB_OFFLINE", "1")
            .env("CI", "1");
        command
    }
}

fn is_foreign(name: &str) -> bool {
    let prefixes = ["CLOUDFLARE_", "CF_", "HEARTH_", "OPENAI_", "WRANGLER_"];
    name == "NODE_OPTIONS" || prefixes.iter().any(|prefix| name.starts_with(prefix))
}

/// A command that runs, with all it writes.
pub(crate) struct Running {
    child: Child,
    output: Arc<Mutex<String>>,
    _guard: Guard,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        use std::os::unix::process::CommandExt;

        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0) // it ends with all that it started
            .spawn()
            .unwrap();
        let guard = Guard::of_group(child.id());
        let output = Arc::new(Mutex::new(String::new()));
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        keep(BufReader::new(out), output.clone());
        keep(BufReader::new(err), output.clone());
        Self {
            child,
            output,
            _guard: guard,
        }
    }

    pub(crate) fn output(&self) -> String {
        self.output.lock().unwrap().clone()
    }

    /// Waits for `found` to find something in the output.
    pub(crate) fn until<T>(&mut self, what: &str, found: impl Fn(&str) -> Option<T>) -> T {
        let started = Instant::now();
        loop {
            if let Some(value) = found(&self.output()) {
                return value;
            }
            let ended = self.child.try_wait().unwrap();
            assert!(
                ended.is_none() && started.elapsed() < PATIENCE,
                "no {what} ({ended:?}) in: {}",
                self.output()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The outcomes that a script prints: those of one client, or of each by its name.
    pub(crate) fn outcomes<T: DeserializeOwned>(mut self) -> T {
        self.until("outcomes", |output| {
            let (_, json) = output.split_once("OUTCOMES ")?;
            let (line, _) = json.split_once('\n')?;
            Some(serde_json::from_str(line).unwrap())
        })
    }

    /// What a page of the client's own server says, once it answers.
    pub(crate) fn page(&mut self, address: SocketAddr, path: &str) -> (u16, String) {
        let started = Instant::now();
        loop {
            match get(address, path) {
                Ok(page) => return page,
                Err(error) => {
                    let ended = self.child.try_wait().unwrap();
                    assert!(
                        ended.is_none() && started.elapsed() < PATIENCE,
                        "{error} ({ended:?}): {}",
                        self.output()
                    );
                    std::thread::sleep(Duration::from_millis(200));
                }
            }
        }
    }

    /// The process id of what was started.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        let status = Command::new("kill").args([signal, &id]).status().unwrap();
        assert!(status.success());
    }

    /// Waits for the end.
    pub(crate) fn end(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(
                started.elapsed() < PATIENCE,
                "it runs on: {}",
                self.output()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill")
            .args(["-KILL", "--", &group])
            .stderr(Stdio::null())
            .status();
        let _ = self.child.wait();
    }
}

fn keep(reader: impl BufRead + Send + 'static, output: Arc<Mutex<String>>) {
    std::thread::spawn(move || {
        for line in reader.lines().map_while(Result::ok) {
            let mut output = output.lock().unwrap();
            output.push_str(&line);
            output.push('\n');
        }
    });
}

/// A page's status and text, whatever the status.
pub(crate) fn get(address: SocketAddr, path: &str) -> Result<(u16, String), ureq::Error> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(PATIENCE))
        .build()
        .into();
    let mut page = agent.get(format!("http://{address}{path}")).call()?;
    Ok((page.status().as_u16(), page.body_mut().read_to_string()?))
}

/// An address that nothing listens on. Below the range from which the system gives ports to others
/// (32768 and up by default), and each once: between this and its use nobody else takes it.
pub(crate) fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 20_000 + (std::process::id() % 10_000) as u16;
    loop {
        let port = first + NEXT.fetch_add(1, Ordering::Relaxed) % 2_000;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}
