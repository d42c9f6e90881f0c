//! hearth's own pages: what it is, what it has loaded, what it can serve.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;

use crate::App;
use crate::errors::json;

/// `GET /`.
pub(crate) async fn version() -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!("hearth {version}: Workers AI on your own machine\n")
}

/// `GET /hearth/ps`: the loaded models.
pub(crate) async fn loaded(State(app): State<Arc<App>>) -> Response {
    #[derive(Serialize)]
    struct Entry {
        weights: String,
        task: &'static str,
        loaded_seconds: u64,
    }
    #[derive(Serialize)]
    struct Page {
        models: Vec<Entry>,
    }
    let models = app.engine.loaded().into_iter().map(|loaded| Entry {
        weights: loaded.weights,
        task: loaded.task,
        loaded_seconds: loaded.since.elapsed().unwrap_or_default().as_secs(),
    });
    let models = models.collect();
    json(StatusCode::OK, &Page { models })
}

/// `GET /hearth/models`: every name, and what serves it here.
pub(crate) async fn models(State(app): State<Arc<App>>) -> Response {
    #[derive(Serialize)]
    struct Model<'a> {
        name: &'a str,
        weights: Option<String>,
        grade: Option<&'static str>,
        /// Why nothing serves the name.
        reason: Option<String>,
        deprecated_on: Option<&'a str>,
    }
    #[derive(Serialize)]
    struct Page<'a> {
        models: Vec<Model<'a>>,
    }
    let models = app.catalog.cards().map(|card| {
        let (served, reason) = match app.engine.served(&card.name) {
            Ok(served) => (Some(served), None),
            Err(failure) => (None, Some(failure.to_string())),
        };
        Model {
            name: &card.name,
            grade: served.as_ref().map(|served| served.grade.word()),
            weights: served.map(|served| served.weights),
            reason,
            deprecated_on: card.deprecated_on.as_deref(),
        }
    });
    let models = models.collect();
    json(StatusCode::OK, &Page { models })
}
