//! `tasks/search` and `authors/search`. The service publishes no sample of either; the fields are those that its rows
//! of models have.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use catalog::TaskKind;
use serde::Serialize;
use uuid::Uuid;

use super::envelope::success;
use super::model_rows::TaskRow;
use crate::App;

/// `GET .../ai/tasks/search`.
pub(crate) async fn tasks() -> Response {
    let rows = TaskKind::ALL.map(TaskRow::from);
    success(&rows)
}

/// `GET .../ai/authors/search`: everyone who made a model of the catalogue, in its order.
pub(crate) async fn authors(State(app): State<Arc<App>>) -> Response {
    #[derive(Serialize)]
    struct Author<'a> {
        id: String,
        name: &'a str,
    }
    let mut names: Vec<&str> = Vec::new();
    for card in app.catalog.cards() {
        if !names.contains(&card.author()) {
            names.push(card.author());
        }
    }
    let rows = names.into_iter().map(|name| Author {
        id: Uuid::new_v5(&Uuid::NAMESPACE_DNS, name.as_bytes()).to_string(),
        name,
    });
    success(&rows.collect::<Vec<_>>())
}
