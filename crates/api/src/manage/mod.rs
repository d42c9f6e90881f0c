//! Beside inference: the catalogue, fine-tunes, batches, what was used, and the services around Workers AI that a
//! Worker's binding can ask for.

pub(crate) mod batch;
mod envelope;
mod finetunes;
mod gateway;
mod interactive;
mod markdown;
mod messages;
mod model_rows;
mod models;
mod openrouter;
mod prices;
mod rags;
mod runner;
mod task_rows;
mod upload;
mod usage;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};
pub(crate) use envelope::success;
pub(crate) use interactive::{Interactive, count};
pub use runner::BatchRunner;
pub(crate) use usage::Meter;

use crate::App;

/// The routes of this folder.
pub(crate) fn routes() -> Router<Arc<App>> {
    let account = Router::new()
        .route("/models/search", get(models::search))
        .route("/models/schema", get(models::schema))
        .route("/tasks/search", get(task_rows::tasks))
        .route("/authors/search", get(task_rows::authors))
        .route("/finetunes", get(finetunes::list).post(finetunes::create))
        .route("/finetunes/public", get(finetunes::public))
        .route("/finetunes/{finetune}/finetune-assets", post(upload::asset))
        .route("/tomarkdown", post(markdown::convert))
        .route("/tomarkdown/supported", get(markdown::supported))
        .route("/v1/messages", post(messages::refuse));
    Router::new()
        .nest("/client/v4/accounts/{account}/ai", account)
        .route("/ai-api/models/search", get(models::search))
        .route(
            "/to-everything/markdown/transformer",
            post(markdown::convert),
        )
        .route(
            "/to-everything/markdown/supported",
            get(markdown::supported),
        )
        .route("/autorag/rags", get(rags::list))
        .route("/autorag/rags/{rag}/search", post(rags::ask))
        .route("/autorag/rags/{rag}/ai-search", post(rags::ask))
        .route(
            "/ai-gateway/gateways/{gateway}/url/{provider}",
            get(gateway::url),
        )
        .route(
            "/ai-gateway/gateways/{gateway}/logs/{log}",
            get(gateway::log).patch(gateway::log),
        )
        .route(
            "/ai-gateway/universal/run/{gateway}",
            post(gateway::universal),
        )
        .route("/hearth/usage", get(usage::page))
}
