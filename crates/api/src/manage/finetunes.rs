//! `finetunes`: LoRA adapters of one's own, and the service's public ones.

use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::{RawQuery, Request, State};
use axum::response::Response;
use ledger::{Finetune, Ledger, LedgerError, NewFinetune};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::envelope::{Declined, NO_LEDGER, success};
use crate::App;
use crate::blocking::blocking;
use crate::layers::body;
use crate::run::parse_json;

/// The most bytes of a request for a new fine-tune.
const BODY_MAX_BYTES: usize = 64 * 1024;

/// The first models with adapters take ranks up to 8.
const FIRST_RANK_MAX: u32 = 8;
const FIRST_MODELS: &[&str] = &[
    "@cf/mistral/mistral-7b-instruct-v0.1",
    "@cf/mistral/mistral-7b-instruct-v0.2-lora",
    "@hf/mistral/mistral-7b-instruct-v0.2",
    "@cf/google/gemma-2b-it-lora",
    "@cf/google/gemma-7b-it-lora",
    "@hf/google/gemma-7b-it",
    "@cf/meta-llama/llama-2-7b-chat-hf-lora",
];
/// Newer ones take ranks up to 32.
const RANK_MAX: u32 = 32;

/// The service's own adapters, each for each of the models.
const PUBLIC: &[&str] = &[
    "cf-public-magicoder",
    "cf-public-jigsaw-classification",
    "cf-public-cnn-summarization",
];
const PUBLIC_MODELS: &[&str] = &[
    "@cf/mistral/mistral-7b-instruct-v0.1",
    "@hf/mistral/mistral-7b-instruct-v0.2",
];

/// A fine-tune as the lists show it.
#[derive(Debug, Serialize)]
struct Row {
    id: String,
    /// `null` for the service's own, where it is not known.
    created_at: Option<String>,
    modified_at: Option<String>,
    model: String,
    name: String,
    description: String,
    public: bool,
}

impl From<Finetune> for Row {
    fn from(finetune: Finetune) -> Self {
        Self {
            id: finetune.id.to_string(),
            created_at: Some(finetune.created_at),
            modified_at: Some(finetune.modified_at),
            model: finetune.model,
            name: finetune.name,
            description: finetune.description,
            public: finetune.public,
        }
    }
}

/// The ledger of a server that has one.
pub(super) fn ledger(app: &App) -> Result<Ledger, Declined> {
    let ledger = app.settings.ledger.clone();
    ledger.ok_or_else(|| Declined::unavailable(NO_LEDGER))
}

/// Runs what waits for the disk on a thread that may.
pub(super) async fn on_disk<R: Send + 'static>(
    work: impl FnOnce() -> Result<R, LedgerError> + Send + 'static,
) -> Result<R, Declined> {
    blocking("the ledger", move || Ok(work()?)).await
}

/// `GET .../ai/finetunes`.
pub(crate) async fn list(State(app): State<Arc<App>>) -> Result<Response, Declined> {
    let ledger = ledger(&app)?;
    let finetunes = on_disk(move || ledger.finetunes()).await?;
    let rows: Vec<Row> = finetunes.into_iter().map(Row::from).collect();
    Ok(success(&rows))
}

/// `POST .../ai/finetunes`.
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, Declined> {
    let ledger = ledger(&app)?;
    let (parts, body) = request.into_parts();
    let body = body::read(&parts.headers, body, BODY_MAX_BYTES).await?;
    let new = read(&app, &parse_json(body).await?)?;
    let made = on_disk(move || ledger.create_finetune(&new, SystemTime::now())).await?;
    Ok(success(&Row::from(made)))
}

fn read(app: &App, body: &Value) -> Result<NewFinetune, Declined> {
    let text = |name: &str| match &body[name] {
        Value::String(text) => Ok(Some(text.clone())),
        Value::Null => Ok(None),
        _ => Err(Declined::invalid(format_args!("{name} is no string"))),
    };
    let needed = |name: &str| {
        text(name)?.ok_or_else(|| Declined::invalid(format_args!("{name} is missing")))
    };
    let name = needed("name")?;
    let model = needed("model")?;
    let card = app
        .catalog
        .card(&model)
        .ok_or_else(|| Declined::invalid(format_args!("No such model {model} or task")))?;
    if !card.flags.lora {
        return Err(Declined::invalid(format_args!(
            "The model `{model}` does not support LoRa inference"
        )));
    }
    let public = match &body["public"] {
        Value::Bool(public) => *public,
        Value::Null => false,
        _ => return Err(Declined::invalid("public is neither true nor false")),
    };
    let rank_max = if FIRST_MODELS.contains(&&*card.name) {
        FIRST_RANK_MAX
    } else {
        RANK_MAX
    };
    Ok(NewFinetune {
        name,
        model: card.name.clone(),
        description: text("description")?.unwrap_or_default(),
        public,
        rank_max,
    })
}

/// `GET .../ai/finetunes/public`: the service's own, and those of this server that are marked so.
pub(crate) async fn public(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Response, Declined> {
    let mut rows: Vec<Row> = PUBLIC_MODELS
        .iter()
        .flat_map(|model| services_own(model))
        .collect();
    if let Some(ledger) = app.settings.ledger.clone() {
        let own = on_disk(move || ledger.finetunes()).await?;
        rows.extend(own.into_iter().filter(|own| own.public).map(Row::from));
    }
    let (mut limit, mut offset) = (usize::MAX, 0);
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        let number = || {
            value.parse().map_err(|_| {
                Declined::invalid(format_args!(
                    "{name} is {value:?}, and has to be a whole number"
                ))
            })
        };
        match &*name {
            "limit" => limit = number()?,
            "offset" => offset = number()?,
            "orderBy" => order(&mut rows, &value)?,
            _ => {}
        }
    }
    let rows: Vec<_> = rows.into_iter().skip(offset).take(limit).collect();
    Ok(success(&rows))
}

fn services_own(model: &'static str) -> impl Iterator<Item = Row> {
    PUBLIC.iter().map(move |name| Row {
        id: Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("{model} {name}").as_bytes()).to_string(),
        created_at: None,
        modified_at: None,
        model: model.into(),
        name: (*name).into(),
        description: String::new(),
        public: true,
    })
}

fn order(rows: &mut [Row], by: &str) -> Result<(), Declined> {
    match by {
        "id" => rows.sort_by(|a, b| a.id.cmp(&b.id)),
        "name" => rows.sort_by(|a, b| a.name.cmp(&b.name)),
        "model" => rows.sort_by(|a, b| a.model.cmp(&b.model)),
        "created_at" => rows.sort_by(|a, b| a.created_at.cmp(&b.created_at)),
        "modified_at" => rows.sort_by(|a, b| a.modified_at.cmp(&b.modified_at)),
        _ => {
            return Err(Declined::invalid(format_args!(
                "orderBy is {by:?}, and has to be id, name, model, created_at or modified_at"
            )));
        }
    }
    Ok(())
}
