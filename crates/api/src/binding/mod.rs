//! What a Worker's `env.AI` asks, at the origin `https://workers-binding.ai`, and the ways its
//! requests come here: as they are, or packed into another request ([`wire`]).

mod inference;
mod realtime;
mod session;
pub(crate) mod wire;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

use crate::App;

/// The first segments of the paths that the binding asks.
const ROOTS: [&str; 5] = ["run", "ai-gateway", "ai-api", "to-everything", "autorag"];

/// The routes of inference, and those by which a development tool opens a session.
pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/run", post(inference::run).get(realtime::run))
        .route("/ai-gateway/run", post(inference::gateway_run))
        .route(session::EXCHANGE, get(session::exchange))
        .route(session::PREWARM, post(session::prewarm))
        .route(
            "/client/v4/accounts/{account}/workers/subdomain",
            get(session::subdomain),
        )
        .route(
            "/client/v4/accounts/{account}/workers/subdomain/edge-preview",
            get(session::edge_preview),
        )
        .route(
            "/client/v4/accounts/{account}/workers/scripts/{name}/edge-preview",
            post(session::upload),
        )
}

/// Whether this path is one that the binding asks.
pub(crate) fn is_path(path: &str) -> bool {
    let root = path.strip_prefix('/').map(|path| {
        let end = path.find('/').unwrap_or(path.len());
        &path[..end]
    });
    root.is_some_and(|root| ROOTS.contains(&root))
}

/// Whether a request to this path carries no auth header by its nature: the binding's own, a packed
/// one (at `/`), and the steps of a session that are outside the service's API.
pub(crate) fn is_without_auth(path: &str) -> bool {
    path == "/" || path == session::EXCHANGE || path == session::PREWARM || is_path(path)
}
