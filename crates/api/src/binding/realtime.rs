//! `GET /run` with an upgrade: how a Worker opens a WebSocket to a model.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use tasks::Failure;

use super::{inference, wire};
use crate::App;
use crate::errors::{Denial, Refusal, RequestId};
use crate::run::{Call, Reply, respond};
use crate::surface::Surface;

/// No model here speaks over a WebSocket: refuses each by name.
pub(crate) async fn run(State(app): State<Arc<App>>, request: Request) -> Response {
    if !wire::upgrades(request.method(), request.headers()) {
        return Denial::WrongMethod(request.method().clone()).into_response();
    }
    let id = RequestId::new();
    let model = inference::model(request.headers());
    let refusal: Refusal = match Call::of(&app, &model, id) {
        Err(refusal) => refusal,
        Ok(_) => Failure::Unsupported(format!(
            "{model} over a WebSocket is not served by this version of hearth; leave `websocket` out \
             of the options"
        ))
        .into(),
    };
    respond(Err::<Reply<'_>, _>(refusal), &model, Surface::Binding, id)
}
