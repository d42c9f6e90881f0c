//! `hearth config`: every setting, its value here, and where it comes from.

use serde_json::{Value, json};

use crate::failure::Stop;
use crate::origin::{Origin, Setting};
use crate::output;

pub(crate) fn show(settings: &[Setting], as_json: bool) -> Result<(), Stop> {
    if as_json {
        let rows = settings
            .iter()
            .map(|setting| {
                json!({
                    "key": setting.key,
                    "value": setting.value,
                    "origin": setting.origin.kind(),
                    "named": setting.origin.name(),
                })
            })
            .collect();
        return output::json(&Value::Array(rows));
    }
    let rows: Vec<[String; 3]> = settings
        .iter()
        .map(|setting| {
            [
                setting.key.to_owned(),
                value(&setting.value),
                origin(&setting.origin),
            ]
        })
        .collect();
    output::columns(["SETTING", "VALUE", "FROM"], &rows)
}

fn value(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(list) if list.is_empty() => "none".to_owned(),
        Value::Array(list) => list.iter().map(self::value).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

fn origin(origin: &Origin) -> String {
    match origin {
        Origin::Flag(name) => format!("flag {name}"),
        Origin::Environment(name) => format!("environment variable {name}"),
        Origin::File(path) => format!("file {}", path.display()),
        Origin::Default => "default".to_owned(),
    }
}
