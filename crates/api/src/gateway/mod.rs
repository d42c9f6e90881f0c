//! AI Gateway's paths, which pass requests on to the models here, and what a Worker asks of `env.AI.gateway(id)`. Any
//! account and any name of a gateway will do.

mod cache;
mod pass;
mod refusal;
pub(crate) mod service;

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
pub(crate) use cache::{Cache, NotKept};
pub(crate) use pass::pass;
pub(crate) use refusal::GatewayRefusal;
use serde_json::Value;
use tasks::Failure;

use crate::App;
use crate::openai::{chat, embeddings};
use crate::run::rest::run_on;
use crate::surface::Surface;

/// Whether a path is one of a gateway.
pub(crate) fn is_path(path: &str) -> bool {
    path.starts_with("/v1/")
}

/// `POST /v1/{account}/{gateway}/workers-ai/{model}`, also with `run/` in front of the model.
pub(crate) async fn run(
    State(app): State<Arc<App>>,
    path: Result<Path<(String, String, String)>, PathRejection>,
    request: Request,
) -> Response {
    let model = path.map(|Path((_, _, model))| model);
    run_on(Surface::Gateway, &app, model, request).await
}

/// `POST /v1/{account}/{gateway}/workers-ai/v1/chat/completions` and `.../compat/chat/completions`.
pub(crate) async fn chat(State(app): State<Arc<App>>, request: Request) -> Response {
    chat::complete_on(Surface::GatewayOpenAi, &app, request).await
}

/// `POST /v1/{account}/{gateway}/workers-ai/v1/embeddings`.
pub(crate) async fn embeddings(State(app): State<Arc<App>>, request: Request) -> Response {
    embeddings::embed_on(Surface::GatewayOpenAi, &app, request).await
}

/// `POST /v1/{account}/{gateway}` and `POST /ai-gateway/universal/run/{gateway}`.
pub(crate) async fn universal() -> Response {
    GatewayRefusal::universal().into_response()
}

/// `POST /v1/{account}/{gateway}/{provider}/...` of any provider but Workers AI.
pub(crate) async fn provider(
    path: Result<Path<(String, String, String, String)>, PathRejection>,
) -> Response {
    let name = path.map_or_else(|_| "this provider".into(), |Path((_, _, name, _))| name);
    GatewayRefusal::Provider(name).into_response()
}

/// What a Worker asks of the gateway that it sends a request through (`options.gateway`) and none here does.
const UNSERVED_OPTION: &str = "retries";

/// # Errors
/// [`Failure::Unsupported`], with the name of the option that no gateway here serves.
pub(crate) fn check_options(gateway: &Value) -> Result<(), Failure> {
    // The binding's client, too, takes what JavaScript takes for false as not given.
    match &gateway[UNSERVED_OPTION] {
        Value::Null | Value::Bool(false) => Ok(()),
        Value::Number(number) if number.as_f64() == Some(0.0) => Ok(()),
        Value::String(text) if text.is_empty() => Ok(()),
        _ => Err(Failure::Unsupported(format!(
            "gateway.{UNSERVED_OPTION} is not served by this version of hearth"
        ))),
    }
}
