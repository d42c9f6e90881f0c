//! `hearth list`: every name, and what serves it on this machine.

use catalog::{Catalog, ModelCard, Readiness, TaskKind};
use serde_json::{Value, json};

use crate::args::List;
use crate::config::Place;
use crate::failure::Stop;
use crate::{loader, output};

pub(crate) fn list(args: &List, place: &Place, catalog: &Catalog) -> Result<(), Stop> {
    let store = loader::open_store(place);
    let memory = loader::memory_bytes();
    let rows: Vec<Value> = catalog
        .cards()
        .map(|card| {
            let choice = loader::choose(card, catalog, &store, place.offline, memory);
            row(card, choice)
        })
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

fn task(kind: TaskKind) -> &'static str {
    match kind {
        TaskKind::TextGeneration => "Text Generation",
        TaskKind::TextEmbeddings => "Text Embeddings",
        TaskKind::SpeechRecognition => "Automatic Speech Recognition",
    }
}

fn row(card: &ModelCard, choice: Result<catalog::Choice<'_>, catalog::Refusal>) -> Value {
    let mut row = json!({ "name": card.name, "task": task(card.task) });
    match choice {
        Ok(choice) => {
            let state = match choice.readiness {
                Readiness::OnDisk => "on disk",
                Readiness::Fetch => "fetched on first use",
            };
            row["grade"] = json!(choice.grade.word());
            row["weights"] = json!(choice.weights.name);
            row["context_window"] = json!(card.effective_window(choice.weights));
            row["disk_bytes"] = json!(choice.weights.disk_bytes);
            row["download_bytes"] = json!(choice.weights.download_bytes);
            row["state"] = json!(state);
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
