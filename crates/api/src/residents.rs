//! What is in memory: the page that lists it, and the one that unloads.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use catalog::STUB;
use engine::{Loaded, Stopped};
use serde::{Deserialize, Serialize};

use crate::App;
use crate::errors::json;
use crate::layers::body;
use crate::run::is_json;

/// The most bytes that a request to stop may have.
const STOP_MAX_BYTES: usize = 4096;

/// A loaded set of weights.
#[derive(Serialize)]
struct Resident<'a> {
    weights: String,
    task: &'static str,
    /// The names that it serves now.
    serves: Vec<Serves<'a>>,
    loaded_seconds: u64,
    need: Need,
    measured_bytes: Option<u64>,
    work: Option<Work>,
    /// Jobs that are prepared, queued or running.
    busy: usize,
    idle_seconds: Option<u64>,
    expires_in_seconds: Option<u64>,
    pinned: bool,
    stopping: bool,
}

/// A name, how near the weights are to it, and the window in tokens (or seconds of audio) that it
/// has with them.
#[derive(Serialize)]
struct Serves<'a> {
    model: &'a str,
    grade: &'static str,
    window: Option<u32>,
}

/// What was set aside.
#[derive(Serialize)]
#[allow(clippy::struct_field_names)] // the unit belongs into the keys of the page
struct Need {
    weights_bytes: u64,
    cache_bytes: u64,
    activation_bytes: u64,
    total_bytes: u64,
}

/// What a model that generates token by token has done since it was loaded.
#[derive(Serialize)]
struct Work {
    /// Forward passes.
    steps: u64,
    /// Rows of them: tokens of prompts, generated tokens, and guesses.
    rows: u64,
    /// Tokens that were sampled.
    tokens: u64,
    forward: Spent,
    sampling: Spent,
}

/// Seconds by the clock, and of a processor by the device's thread alone.
#[derive(Serialize)]
#[allow(clippy::struct_field_names)] // the unit belongs into the keys of the page
struct Spent {
    wall_seconds: f64,
    cpu_seconds: f64,
}

impl From<engine::Work> for Work {
    fn from(work: engine::Work) -> Self {
        Self {
            steps: work.steps,
            rows: work.rows,
            tokens: work.tokens,
            forward: work.forward.into(),
            sampling: work.sampling.into(),
        }
    }
}

impl From<engine::Spent> for Spent {
    fn from(spent: engine::Spent) -> Self {
        Self {
            wall_seconds: spent.wall.as_secs_f64(),
            cpu_seconds: spent.cpu.as_secs_f64(),
        }
    }
}

/// `GET /hearth/ps`: the loaded models, and the memory and threads that they share.
pub(crate) async fn list(State(app): State<Arc<App>>) -> Response {
    #[derive(Serialize)]
    struct Memory {
        /// `null`: no limit.
        budget_bytes: Option<u64>,
        needed_bytes: u64,
        /// `null`: for ever.
        keep_alive_seconds: Option<u64>,
    }
    #[derive(Serialize)]
    struct Page<'a> {
        models: Vec<Resident<'a>>,
        memory: Memory,
        /// That compute on the CPU; `null`: not known.
        threads: Option<usize>,
    }
    let memory = app.engine.memory();
    let loaded = app.engine.loaded();
    let mut names = if loaded.is_empty() {
        BTreeMap::new() // nothing has to be looked up
    } else {
        names_by_weights(&app)
    };
    let models = loaded.into_iter().map(|loaded| {
        let serves = names.remove(&loaded.weights).unwrap_or_default();
        resident(loaded, serves)
    });
    let page = Page {
        models: models.collect(),
        memory: Memory {
            budget_bytes: memory.budget_bytes,
            needed_bytes: memory.needed_bytes,
            keep_alive_seconds: memory.keep_alive.map(|time| time.as_secs()),
        },
        threads: app.settings.threads,
    };
    json(StatusCode::OK, &page)
}

fn names_by_weights(app: &App) -> BTreeMap<String, Vec<Serves<'_>>> {
    let mut names: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for card in app.catalog.cards() {
        if let Ok(served) = app.engine.served(&card.name) {
            let set = app.catalog.weights(&served.weights);
            names.entry(served.weights).or_default().push(Serves {
                model: &card.name,
                grade: served.grade.word(),
                window: match set {
                    Some(set) => card.effective_window(set),
                    None => card.context_window, // a stub has no window of its own
                },
            });
        }
    }
    names
}

fn resident(loaded: Loaded, serves: Vec<Serves<'_>>) -> Resident<'_> {
    Resident {
        weights: loaded.weights,
        task: loaded.task,
        serves,
        loaded_seconds: loaded.since.elapsed().unwrap_or_default().as_secs(),
        need: Need {
            weights_bytes: loaded.need.weights_bytes,
            cache_bytes: loaded.need.cache_bytes,
            activation_bytes: loaded.need.activation_bytes,
            total_bytes: loaded.need.total_bytes(),
        },
        measured_bytes: loaded.measured_bytes,
        work: loaded.work.map(Work::from),
        busy: loaded.busy,
        idle_seconds: loaded.idle.map(|time| time.as_secs()),
        expires_in_seconds: loaded.expires_in.map(|time| time.as_secs()),
        pinned: loaded.pinned,
        stopping: loaded.stopping,
    }
}

/// `POST /hearth/stop` with `{"weights": name}` or `{"model": name}`: unloads a model, at once if it
/// is idle, else as soon as it is. The body has to be called JSON: that, a page of another site
/// cannot send without asking first.
pub(crate) async fn stop(State(app): State<Arc<App>>, headers: HeaderMap, body: Body) -> Response {
    #[derive(Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Asked {
        Weights(String),
        Model(String),
    }
    #[derive(Serialize)]
    struct Answer {
        weights: String,
        /// `unloaded`, `when idle` or `not loaded`.
        stopped: &'static str,
        /// Jobs that come to their end first.
        busy: usize,
    }
    if !is_json(&headers) {
        let text = "the content type has to be application/json";
        return refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, text);
    }
    let bytes = match body::read(&headers, body, STOP_MAX_BYTES).await {
        Ok(bytes) => bytes,
        Err(failure) => return refused(StatusCode::BAD_REQUEST, &failure.to_string()),
    };
    let weights = match serde_json::from_slice(&bytes) {
        Ok(Asked::Weights(name)) if name == STUB || app.catalog.weights(&name).is_some() => name,
        Ok(Asked::Weights(name)) => {
            return refused(
                StatusCode::NOT_FOUND,
                &format!("no weights are named {name}"),
            );
        }
        Ok(Asked::Model(name)) => match app.engine.served(&name) {
            Ok(served) => served.weights,
            Err(failure) => return refused(StatusCode::NOT_FOUND, &failure.to_string()),
        },
        Err(error) => {
            let text =
                format!(r#"the body is not {{"weights": name}} or {{"model": name}}: {error}"#);
            return refused(StatusCode::BAD_REQUEST, &text);
        }
    };
    let (stopped, busy) = match app.engine.stop(&weights).await {
        Stopped::Unloaded => ("unloaded", 0),
        Stopped::WhenIdle { busy } => ("when idle", busy),
        Stopped::NotLoaded => ("not loaded", 0),
    };
    let answer = Answer {
        weights,
        stopped,
        busy,
    };
    json(StatusCode::OK, &answer)
}

fn refused(status: StatusCode, error: &str) -> Response {
    #[derive(Serialize)]
    struct Refused<'a> {
        error: &'a str,
    }
    json(status, &Refused { error })
}
