//! Every client, every check: the table of README.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use serde_json::Value;
use testkit::{Server, weights_home};

use crate::ENGINE;
use crate::install::add_own_package;
use crate::project::{Outcomes, Project, alone, free_address};

/// With this variable the test writes the table instead of comparing it.
const WRITE: &str = "HEARTH_WRITE_CLIENTS";
const BEGIN: &str = "<!-- clients: written by crates/hearth/tests/clients -->\n";
const END: &str = "<!-- end of clients -->\n";

/// Columns of the table of bindings: a check, and its heading.
const BINDING: &[(&str, &str)] = &[
    ("json", "JSON"),
    ("stream", "stream"),
    ("binary", "binary out"),
    ("audio_stream", "audio in"),
    ("audio_numbers", "numbers in"),
    ("error", "error"),
    ("raw_error", "raw error"),
    ("abort", "abort"),
    ("two_at_once", "two at once"),
    ("models", "models()"),
];

/// Checks that a client cannot pass for a reason of its own, and the word for it in the table.
const LIMITS: &[(&str, &str, &str)] = &[
    // The workerd that these bring ignores `signal`.
    ("wrangler 3.114.17", "abort", "ignored"),
    ("wrangler 4.30.0", "abort", "ignored"),
    ("wrangler 4.37.0", "abort", "ignored"),
    // Its proxy between Node and workerd carries no signals.
    ("getPlatformProxy", "abort", "not carried"),
];

struct Row {
    /// The client, with versions.
    client: String,
    /// How it comes to hearth.
    way: &'static str,
    outcomes: Outcomes,
}

/// Starts each client in turn.
struct Clients {
    server: Server,
    rows: Vec<Row>,
}

impl Clients {
    fn address(&self) -> &str {
        self.server.base.trim_start_matches("http://")
    }

    /// A development server that is asked over HTTP.
    fn serves(&mut self, client: String, project: &Project, arguments: &[&str]) {
        let own = free_address();
        let port = own.port().to_string();
        let arguments = [arguments, &["--port", &port]].concat();
        let before = contents(project.folder());
        let mut running = project.dev(&["--listen", self.address()], &arguments);
        let (status, text) = running.page(own, "/outcomes");
        assert_eq!(status, 200, "{client}: {text} {}", running.output());
        drop(running);
        assert_eq!(
            before,
            contents(project.folder()),
            "{client} changed the project"
        );
        self.add(client, "hearth dev", serde_json::from_str(&text).unwrap());
    }

    /// A script under `hearth dev`.
    fn runs(&mut self, client: String, project: &Project, options: &[&str], arguments: &[&str]) {
        let options = [&["--listen", self.address()], options].concat();
        let running = project.dev(&options, arguments);
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
    bindings(&mut clients);
    let bindings = std::mem::take(&mut clients.rows);
    rest(&mut clients);
    let mut failed = Vec::new();
    let table = table(&bindings, &mut failed) + &list(&clients.rows, &mut failed);
    assert!(failed.is_empty(), "{failed:#?}\n{table}");
    compare(&table);
}

fn bindings(clients: &mut Clients) {
    let older = Project::new("older");
    for package in ["wrangler-3", "wrangler-4-30", "wrangler-4-37-0"] {
        let wrangler = older.package(&format!("{package}/bin/wrangler.js"));
        let client = format!("wrangler {}", older.version(package));
        clients.serves(client, &older, &[&wrangler, "dev", "--ip", "127.0.0.1"]);
    }
    let current = Project::new("current");
    add_own_package(current.installation());
    let wrangler = current.package("wrangler/bin/wrangler.js");
    let named = |package: &str| format!("{package} {}", current.version(package));
    clients.serves(
        named("wrangler"),
        &current,
        &[&wrangler, "dev", "--ip", "127.0.0.1"],
    );
    let vite = current.package("vite/bin/vite.js");
    clients.serves(
        named("@cloudflare/vite-plugin"),
        &current,
        &[&vite, "--host", "127.0.0.1"],
    );
    let vitest = current.package("vitest/vitest.mjs");
    clients.runs(
        named("@cloudflare/vitest-plugin"),
        &current,
        &[],
        &[&vitest, "run"],
    );
    clients.runs("getPlatformProxy".into(), &current, &[], &["platform.mjs"]);
    clients.by_code(
        named("@cloudflare/vitest-plugin"),
        &current,
        &[&vitest, "run", "--config", "vitest.helper.config.mjs"],
    );
    clients.by_code(named("miniflare"), &current, &["miniflare-4.mjs"]);
    let client = format!("miniflare {}", current.version("miniflare-5"));
    clients.by_code(client, &current, &["miniflare-5.mjs"]);
    clients.by_code(named("workerd"), &current, &["workerd.mjs"]);

    // The plugin of `unsafe.bindings`: wrangler without `hearth dev`.
    let own = free_address();
    let port = own.port().to_string();
    let arguments = [
        &wrangler,
        "dev",
        "-c",
        "wrangler.plugin.json",
        "--ip",
        "127.0.0.1",
        "--port",
        &port,
    ];
    let mut running = current.node(&clients.server.base, &arguments);
    let (status, text) = running.page(own, "/outcomes");
    assert_eq!(status, 200, "{text} {}", running.output());
    clients.add(
        named("wrangler"),
        "unsafe.bindings",
        serde_json::from_str(&text).unwrap(),
    );
}

fn rest(clients: &mut Clients) {
    let project = Project::new("current");
    let versions = ["cloudflare", "openai", "workers-ai-provider"]
        .map(|package| format!("{package} {}", project.version(package)));
    clients.runs(versions.join(", "), &project, &["--openai"], &["rest.mjs"]);
}

/// The table of bindings; what failed goes into `failed`.
fn table(rows: &[Row], failed: &mut Vec<String>) -> String {
    let mut table = String::from("| Client | by |");
    for (_, heading) in BINDING {
        write!(table, " {heading} |").unwrap();
    }
    table += "\n|---|---|";
    table += &"---|".repeat(BINDING.len());
    table.push('\n');
    for row in rows {
        write!(table, "| {} | {} |", row.client, row.way).unwrap();
        assert_eq!(row.outcomes.len(), BINDING.len(), "{:?}", row.outcomes);
        for (check, _) in BINDING {
            write!(table, " {} |", cell(row, check, failed)).unwrap();
        }
        table.push('\n');
    }
    table
}

fn cell(row: &Row, check: &str, failed: &mut Vec<String>) -> &'static str {
    let outcome = &row.outcomes[check];
    let limit = LIMITS
        .iter()
        .find(|(client, limited, _)| row.client.starts_with(client) && *limited == check);
    match (outcome, limit) {
        (Value::Bool(true), None) => "yes",
        // A limit that is gone is a table that is wrong.
        (Value::Bool(true), Some(_)) | (_, None) => {
            failed.push(format!("{} ({}): {check}: {outcome}", row.client, row.way));
            "no"
        }
        (_, Some((_, _, word))) => word,
    }
}

/// The clients of the REST surface, which have checks of their own.
fn list(rows: &[Row], failed: &mut Vec<String>) -> String {
    let mut list = String::new();
    for row in rows {
        for (check, outcome) in &row.outcomes {
            if *outcome != true {
                failed.push(format!("{}: {check}: {outcome}", row.client));
            }
        }
        let checks: Vec<&str> = row.outcomes.keys().map(String::as_str).collect();
        let checks = checks.join(", ").replace('_', " ");
        writeln!(list, "\nOver REST: {} ({checks}).", row.client).unwrap();
    }
    list
}

/// Compares the table with README's, or writes it there.
fn compare(table: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text
        .split_once(BEGIN)
        .expect("README has the table's beginning");
    let (there, after) = rest.split_once(END).expect("README has the table's end");
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(path, [before, BEGIN, table, END, after].concat()).unwrap();
    } else {
        assert_eq!(
            there, table,
            "README's table is old: run this test with {WRITE}=1"
        );
    }
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
