//! HTTP: wire types, validation, errors, streams. The only crate that sees axum.
//!
//! Wire types stop at this door. Each task's file under `run` makes a request of the words of `tasks` from an input
//! that was validated, and the answer's JSON, frames or bytes from the events that come back. What is served, and the
//! description of it, is one table (`routes`).
#![warn(missing_docs)]

mod about;
mod account;
mod binding;
mod blocking;
mod errors;
mod gateway;
mod layers;
mod manage;
mod openai;
mod openapi;
mod residents;
mod routes;
mod run;
mod settings;
mod surface;
mod validate;

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::body::Bytes;
use axum::middleware::{from_fn, from_fn_with_state};
use catalog::Catalog;
use engine::Engine;
pub use ledger;
pub use manage::BatchRunner;
pub use openapi::openapi;
#[doc(hidden)] // for the test beside the original validator
pub use run::classes::published_inputs;
pub use settings::{BODY_LIMIT_BYTES, DeprecatedPolicy, Plan, REQUEST_TIMEOUT, Settings};
use tokio::sync::{Notify, Semaphore};
#[doc(hidden)] // as above
pub use validate::{Schema, validate};

use crate::account::Account;

/// Jobs that all requests for lists (texts to embed, contexts to rank, ...) together may have in the
/// engine; further ones wait here, where a burst of long lists does not fill the engine's own queue
/// and turn others away.
const LISTS_MAX_JOBS: usize = 192;

/// What every handler reads.
struct App {
    engine: Engine,
    catalog: Arc<Catalog>,
    settings: Settings,
    list_places: Semaphore,
    /// Shared with streams, which outlive their handlers.
    account: Arc<Account>,
    /// Requests that somebody waits for.
    interactive: manage::Interactive,
    gateway_cache: gateway::Cache,
    /// Told when a batch was accepted.
    batches: Notify,
    /// Written when it is first asked for.
    openapi: OnceLock<Bytes>,
}

/// The whole HTTP surface. Batches are accepted, and wait: [`app_and_batches`] gives who answers them.
pub fn app(engine: Engine, catalog: Arc<Catalog>, settings: Settings) -> Router {
    app_and_batches(engine, catalog, settings).0
}

/// The whole HTTP surface, and who answers the batches that it accepts.
pub fn app_and_batches(
    engine: Engine,
    catalog: Arc<Catalog>,
    settings: Settings,
) -> (Router, BatchRunner) {
    let app = Arc::new(App {
        engine,
        catalog,
        account: Arc::new(Account::new(&settings)),
        settings,
        list_places: Semaphore::new(LISTS_MAX_JOBS),
        interactive: manage::Interactive::default(),
        gateway_cache: gateway::Cache::default(),
        batches: Notify::new(),
        openapi: OnceLock::new(),
    });
    let batches = BatchRunner::new(app.clone());
    let routes = routes::all().into_iter();
    let routes = routes
        .fold(Router::new(), |router, route| {
            router.route(route.path, route.handler)
        })
        .fallback(routes::no_route)
        .method_not_allowed_fallback(routes::wrong_method)
        .with_state(app.clone());
    // A router's layers run after its routes were matched; these run before.
    let router = Router::new()
        .fallback_service(routes)
        .layer(from_fn_with_state(app.clone(), manage::count))
        .layer(from_fn_with_state(app.clone(), gateway::pass))
        .layer(from_fn(binding::wire::unpack))
        .layer(from_fn_with_state(app.clone(), layers::auth::check))
        .layer(from_fn_with_state(app, layers::host::check))
        .layer(from_fn(layers::drain::drain));
    (router, batches)
}
