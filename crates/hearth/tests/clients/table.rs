//! The tables of README: what each client was answered.

use std::fmt::Write;
use std::path::Path;

use serde_json::Value;

use crate::project::Outcomes;

/// With this variable the test writes the tables instead of comparing them.
const WRITE: &str = "HEARTH_WRITE_CLIENTS";
const BEGIN: &str = "<!-- clients: written by crates/hearth/tests/clients -->\n";
const END: &str = "<!-- end of clients -->\n";

/// A check, and its heading.
type Column = (&'static str, &'static str);

/// What a binding is asked.
pub(crate) const BINDING: &[Column] = &[
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

/// What a library is asked, as far as it has a way.
pub(crate) const LIBRARY: &[Column] = &[
    ("json", "JSON"),
    ("stream", "stream"),
    ("binary", "binary out"),
    ("audio", "audio in"),
    ("embeddings", "embeddings"),
    ("error", "error"),
    ("abort", "abort"),
    ("two_at_once", "two at once"),
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

/// What there is no way for.
const NONE: &str = "–";

pub(crate) struct Row {
    /// The client, with versions.
    pub(crate) client: String,
    /// How it comes to hearth.
    pub(crate) way: &'static str,
    pub(crate) outcomes: Outcomes,
}

/// A table of clients; what failed goes into `failed`.
pub(crate) fn table(columns: &[Column], rows: &[Row], failed: &mut Vec<String>) -> String {
    let mut table = String::from("| Client | by |");
    for (_, heading) in columns {
        write!(table, " {heading} |").unwrap();
    }
    table += "\n|---|---|";
    table += &"---|".repeat(columns.len());
    table.push('\n');
    for row in rows {
        write!(table, "| {} | {} |", row.client, row.way).unwrap();
        for check in row.outcomes.keys() {
            assert!(columns.iter().any(|(name, _)| name == check), "{check}");
        }
        for (check, _) in columns {
            write!(table, " {} |", cell(row, check, failed)).unwrap();
        }
        table.push('\n');
    }
    table
}

fn cell(row: &Row, check: &str, failed: &mut Vec<String>) -> &'static str {
    let Some(outcome) = row.outcomes.get(check) else {
        return NONE;
    };
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

/// Compares the tables with README's, or writes them there.
pub(crate) fn compare(tables: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text
        .split_once(BEGIN)
        .expect("README has the tables' beginning");
    let (there, after) = rest.split_once(END).expect("README has the tables' end");
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(path, [before, BEGIN, tables, END, after].concat()).unwrap();
    } else {
        assert_eq!(
            there, tables,
            "README's tables are old: run this test with {WRITE}=1"
        );
    }
}
