//! `hearth list`: every name, and what serves it on this machine.

use catalog::{Catalog, Choice, ModelCard, Readiness, Refusal};
use serde_json::{Value, json};

use crate::args::List;
use crate::chooser::Chooser;
use crate::config::Place;
use crate::failure::Stop;
use crate::output;

pub(crate) fn list(args: &List, place: &Place, catalog: &Catalog) -> Result<(), Stop> {
    let chooser = Chooser::new(place);
    let rows: Vec<Value> = catalog
        .cards()
        .map(|card| row(card, chooser.choose(card, catalog)))
        .collect();
    if args.json {
        return output::json(&Value::Array(rows));
    }
    let heads = [
        "NAME", "TASK", "GRADE", "WEIGHTS", "WINDOW", "SIZE", "STATE",
    ];
    let lines: Vec<[String; 7]> = rows.iter().map(shown).collect();
    output::columns(heads, &lines)
}

fn row(card: &ModelCard, choice: Result<Choice<'_>, Refusal>) -> Value {
    let mut row = json!({ "name": card.name, "task": card.task.name() });
    match choice {
        Ok(Choice::Weights {
            set,
            grade,
            readiness,
        }) => {
            let state = match readiness {
                Readiness::OnDisk => "on disk",
                Readiness::Fetch => "fetched on first use",
            };
            row["grade"] = json!(grade.word());
            row["weights"] = json!(set.name);
            row["context_window"] = json!(card.effective_window(set));
            row["disk_bytes"] = json!(set.disk_bytes);
            row["download_bytes"] = json!(set.download_bytes);
            row["state"] = json!(state);
        }
        Ok(choice @ Choice::Stub) => {
            let served = choice.served();
            row["grade"] = json!(served.grade.word());
            row["weights"] = json!(served.weights);
            row["context_window"] = json!(card.context_window);
            row["state"] = json!("answers without a model");
        }
        Err(Refusal::NoWeights { .. }) => row["state"] = json!("no weights yet"),
        Err(Refusal::NotFetched { ways, .. }) if !ways.is_empty() => {
            let way = &ways[ways.len() - 1];
            row["state"] = json!(format!("hearth pull {}", way.weights));
            row["download_bytes"] = json!(way.download_bytes);
        }
        Err(refusal) => row["state"] = json!(refusal.to_string()),
    }
    row["deprecated_on"] = json!(card.deprecated_on);
    row
}

fn shown(row: &Value) -> [String; 7] {
    let word = |key: &str| row[key].as_str().unwrap_or("-").to_owned();
    let number = |key: &str| row[key].as_u64().map_or("-".to_owned(), |n| n.to_string());
    let size = row["disk_bytes"].as_u64().map_or("-".to_owned(), |bytes| {
        format!("{} MB", bytes.div_ceil(1_000_000))
    });
    let window = number("context_window");
    [
        word("name"),
        word("task"),
        word("grade"),
        word("weights"),
        window,
        size,
        word("state"),
    ]
}
