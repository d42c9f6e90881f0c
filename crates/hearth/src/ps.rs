//! `hearth ps`: what a running server has in memory.

use serde_json::Value;

use crate::args::Ps;
use crate::failure::Stop;
use crate::{output, remote};

const HEADS: [&str; 7] = [
    "WEIGHTS", "TASK", "GRADE", "WINDOW", "NEED", "MEASURED", "STATE",
];

pub(crate) fn ps(args: &Ps) -> Result<(), Stop> {
    let answer = remote::get(&args.at, "/hearth/ps")?;
    let Some(models) = answer["models"].as_array() else {
        return Err(remote::stranger(&args.at));
    };
    if args.json {
        return output::json(&answer);
    }
    let rows: Vec<[String; 7]> = models.iter().map(row).collect();
    output::columns(HEADS, &rows)?;
    let memory = &answer["memory"];
    if let Some(budget) = memory["budget_bytes"].as_u64() {
        let needed = megabytes(&memory["needed_bytes"]);
        let budget = budget / 1_000_000;
        let threads = match answer["threads"].as_u64() {
            Some(1) => "; 1 thread computes".to_owned(),
            Some(threads) => format!("; {threads} threads compute"),
            None => String::new(),
        };
        return output::text(format!("{needed} of {budget} MB are set aside{threads}\n"));
    }
    Ok(())
}

fn row(model: &Value) -> [String; 7] {
    let serves = model["serves"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    // Names can have different grades and windows with the same weights; most often they do not.
    let mut grades: Vec<&str> = serves
        .iter()
        .filter_map(|name| name["grade"].as_str())
        .collect();
    grades.dedup();
    let windows = serves.iter().filter_map(|name| name["window"].as_u64());
    let window = windows
        .max()
        .map_or_else(|| "-".to_owned(), |window| window.to_string());
    let word = |key: &str| model[key].as_str().unwrap_or("-").to_owned();
    [
        word("weights"),
        word("task"),
        if grades.is_empty() {
            "-".to_owned()
        } else {
            grades.join(", ")
        },
        window,
        megabytes(&model["need"]["total_bytes"]),
        megabytes(&model["measured_bytes"]),
        state(model),
    ]
}

fn state(model: &Value) -> String {
    let busy = model["busy"].as_u64().unwrap_or(0);
    let idle = model["idle_seconds"].as_u64().unwrap_or(0);
    if busy > 0 {
        let jobs = if busy == 1 {
            "1 job".to_owned()
        } else {
            format!("{busy} jobs")
        };
        return if model["stopping"] == true {
            format!("{jobs}, then unloaded")
        } else {
            jobs
        };
    }
    match model["expires_in_seconds"].as_u64() {
        _ if model["pinned"] == true => format!("idle for {idle} s, pinned"),
        Some(left) => format!("idle for {idle} s, unloaded in {left} s"),
        None => format!("idle for {idle} s"),
    }
}

/// Bytes as megabytes, rounded up; `-` where there are none.
fn megabytes(bytes: &Value) -> String {
    bytes
        .as_u64()
        .map_or_else(|| "-".to_owned(), output::megabytes)
}
