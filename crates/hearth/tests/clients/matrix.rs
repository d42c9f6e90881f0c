//! Every client, every check: the tables of README.

use std::collections::BTreeMap;
use std::path::Path;

use testkit::{Server, weights_home};

use crate::ENGINE;
use crate::own_package::add_own_package;
use crate::project::{Outcomes, Project, alone, free_address};
use crate::python::python;
use crate::table::{BINDING, LIBRARY, Row, compare, table};

/// Libraries of Node over REST: the name of the outcomes, the packages, the way.
const NODE: &[(&str, &[&str], &str)] = &[
    ("cloudflare", &["cloudflare"], "hearth dev"),
    ("openai", &["openai"], "hearth dev --openai"),
    (
        "workers-ai-provider",
        &["workers-ai-provider", "ai"],
        "hearthFetch",
    ),
    ("@langchain/cloudflare", &["@langchain/cloudflare"], "URL"),
];

/// Libraries in a Worker.
const WORKER: &[(&str, &[&str], &str)] = &[
    (
        "workers-ai-provider",
        &["workers-ai-provider", "ai"],
        "env.AI",
    ),
    (
        "@langchain/cloudflare",
        &["@langchain/cloudflare"],
        "env.AI",
    ),
    ("hono", &["hono"], "env.AI"),
];

/// Libraries of Python: the name of the outcomes, the list of requirements, packages, the way.
const PYTHON: &[(&str, &str, &[&str], &str)] = &[
    ("cloudflare", "python.txt", &["cloudflare"], "hearth dev"),
    ("openai", "python.txt", &["openai"], "hearth dev --openai"),
    (
        "langchain-cloudflare",
        "python.txt",
        &["langchain-cloudflare"],
        "URL",
    ),
    (
        "llama-index",
        "llama-index.txt",
        &[
            "llama-index-embeddings-cloudflare-workersai",
            "llama-index-llms-openai-like",
        ],
        "URL",
    ),
];

/// Starts each client in turn.
struct Clients {
    server: Server,
    rows: Vec<Row>,
}

impl Clients {
    fn address(&self) -> &str {
        self.server.base.trim_start_matches("http://")
    }

    /// What a development server says that is asked over HTTP.
    fn page(&self, project: &Project, arguments: &[&str]) -> String {
        let own = free_address();
        let port = own.port().to_string();
        let arguments = [arguments, &["--port", &port]].concat();
        let before = contents(project.folder());
        let mut running = project.dev(&["--listen", self.address()], &arguments);
        let (status, text) = running.page(own, "/outcomes");
        assert_eq!(status, 200, "{text} {}", running.output());
        drop(running);
        let after = contents(project.folder());
        assert_eq!(before, after, "{arguments:?} changed the project");
        text
    }

    /// A development server.
    fn serves(&mut self, client: String, project: &Project, arguments: &[&str]) {
        let text = self.page(project, arguments);
        self.add(client, "hearth dev", serde_json::from_str(&text).unwrap());
    }

    /// A script under `hearth dev`.
    fn runs(&mut self, client: String, project: &Project, arguments: &[&str]) {
        let running = project.dev(&["--listen", self.address()], arguments);
        self.add(client, "hearth dev", running.outcomes());
    }

    /// A script that uses the package by code.
    fn by_code(&mut self, client: String, project: &Project, arguments: &[&str]) {
        let running = project.node(&self.server.base, arguments);
        self.add(client, "package", running.outcomes());
    }

    fn add(&mut self, client: String, way: &'static str, outcomes: Outcomes) {
        eprintln!("{client} ({way}): {outcomes:?}");
        self.rows.push(Row {
            client,
            way,
            outcomes,
        });
    }
}

#[test]
fn every_client_is_answered() {
    let _alone = alone();
    let mut clients = Clients {
        server: Server::start(env!("CARGO_BIN_EXE_hearth"), &weights_home(), ENGINE),
        rows: Vec::new(),
    };
    let current = Project::new("current");
    add_own_package(current.installation());
    older(&mut clients);
    bindings(&mut clients, &current);
    plugin(&mut clients, &current);
    let bindings = std::mem::take(&mut clients.rows);
    node(&mut clients, &current);
    worker(&mut clients, &current);
    for requirements in ["python.txt", "llama-index.txt"] {
        of_python(&mut clients, &current, requirements);
    }
    let mut failed = Vec::new();
    let bindings = table(BINDING, &bindings, &mut failed);
    let libraries = table(LIBRARY, &clients.rows, &mut failed);
    let tables = format!("{bindings}\n{libraries}");
    assert!(failed.is_empty(), "{failed:#?}\n{tables}");
    compare(&tables);
}

fn older(clients: &mut Clients) {
    let older = Project::new("older");
    for package in ["wrangler-3", "wrangler-4-30", "wrangler-4-37-0"] {
        let wrangler = older.package(&format!("{package}/bin/wrangler.js"));
        let client = format!("wrangler {}", older.version(package));
        clients.serves(client, &older, &[&wrangler, "dev", "--ip", "127.0.0.1"]);
    }
}

fn bindings(clients: &mut Clients, current: &Project) {
    let wrangler = current.package("wrangler/bin/wrangler.js");
    let named = |package: &str| format!("{package} {}", current.version(package));
    clients.serves(
        named("wrangler"),
        current,
        &[&wrangler, "dev", "--ip", "127.0.0.1"],
    );
    let vite = current.package("vite/bin/vite.js");
    clients.serves(
        named("@cloudflare/vite-plugin"),
        current,
        &[&vite, "--host", "127.0.0.1"],
    );
    let vitest = current.package("vitest/vitest.mjs");
    clients.runs(
        named("@cloudflare/vitest-plugin"),
        current,
        &[&vitest, "run"],
    );
    clients.runs("getPlatformProxy".into(), current, &["platform.mjs"]);
    clients.by_code(
        named("@cloudflare/vitest-plugin"),
        current,
        &[&vitest, "run", "--config", "vitest.helper.config.mjs"],
    );
    clients.by_code(named("miniflare"), current, &["miniflare-4.mjs"]);
    let five = format!("miniflare {}", current.version("miniflare-5"));
    let converted = format!("{five}, converted options");
    clients.by_code(converted, current, &["miniflare-5.mjs"]);
    clients.by_code(five, current, &["miniflare-5-own.mjs"]);
    clients.by_code(named("workerd"), current, &["workerd.mjs"]);
}

/// The plugin of `unsafe.bindings`: wrangler without `hearth dev`.
fn plugin(clients: &mut Clients, current: &Project) {
    let wrangler = current.package("wrangler/bin/wrangler.js");
    let own = free_address();
    let port = own.port().to_string();
    let configuration = ["-c", "wrangler.plugin.json"];
    let place = ["--ip", "127.0.0.1", "--port", &port];
    let arguments = [&[wrangler.as_str(), "dev"][..], &configuration, &place].concat();
    let mut running = current.node(&clients.server.base, &arguments);
    let (status, text) = running.page(own, "/outcomes");
    assert_eq!(status, 200, "{text} {}", running.output());
    clients.add(
        format!("wrangler {}", current.version("wrangler")),
        "unsafe.bindings",
        serde_json::from_str(&text).unwrap(),
    );
}

/// A library's packages with their versions.
fn versions(packages: &[&str], version: impl Fn(&str) -> String) -> String {
    let named = packages
        .iter()
        .map(|package| format!("{package} {}", version(package)));
    named.collect::<Vec<_>>().join(", ")
}

fn node(clients: &mut Clients, current: &Project) {
    let options = ["--listen", clients.address(), "--openai"];
    let running = current.dev(&options, &["rest.mjs"]);
    let mut outcomes: BTreeMap<String, Outcomes> = running.outcomes();
    for (name, packages, way) in NODE {
        let client = versions(packages, |package| current.version(package));
        clients.add(client, way, outcomes.remove(*name).unwrap());
    }
}

fn worker(clients: &mut Clients, current: &Project) {
    let wrangler = current.package("wrangler/bin/wrangler.js");
    let configuration = ["-c", "wrangler.frameworks.json", "--ip", "127.0.0.1"];
    let arguments = [&[wrangler.as_str(), "dev"][..], &configuration].concat();
    let text = clients.page(current, &arguments);
    let mut outcomes: BTreeMap<String, Outcomes> = serde_json::from_str(&text).unwrap();
    for (name, packages, way) in WORKER {
        let client = versions(packages, |package| current.version(package));
        clients.add(client, way, outcomes.remove(*name).unwrap());
    }
}

fn of_python(clients: &mut Clients, project: &Project, requirements: &str) {
    let rows = || PYTHON.iter().filter(|row| row.1 == requirements);
    let names: Vec<&str> = rows().map(|row| row.0).collect();
    let python = python(requirements);
    let options = ["--listen", clients.address(), "--openai"];
    let arguments = [&["sdks.py"], &names[..]].concat();
    let running = project.dev_with(&options, &python, &arguments);
    let mut outcomes: BTreeMap<String, Outcomes> = running.outcomes();
    let site = python.parent().unwrap().with_file_name("lib");
    for (name, _, packages, way) in rows() {
        let client = versions(packages, |package| version(&site, package));
        let client = format!("{client} (Python)");
        clients.add(client, way, outcomes.remove(*name).unwrap());
    }
}

/// The version of a package of Python, from the name of the folder that describes it.
fn version(lib: &Path, package: &str) -> String {
    let begin = format!("{}-", package.replace('-', "_"));
    let folders = std::fs::read_dir(lib).unwrap().map(Result::unwrap);
    let packages =
        folders.flat_map(|folder| std::fs::read_dir(folder.path().join("site-packages")).unwrap());
    let mut names = packages.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let found = names.find_map(|name| {
        let version = name.strip_prefix(&begin)?.strip_suffix(".dist-info")?;
        Some(version.to_owned())
    });
    found.unwrap_or_else(|| panic!("{package} is not in {}", lib.display()))
}

/// The files of a project, without what tools keep for themselves.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_file() && !name.starts_with('.') {
            found.insert(name, std::fs::read(entry.path()).unwrap());
        }
    }
    found
}
