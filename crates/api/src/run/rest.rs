//! `POST /client/v4/accounts/{account}/ai/run/{model}`, and the same with the name in the body.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use tasks::Failure;

use super::{Call, Input, Options, Reply, answer, parse_json, read_body, reply, respond};
use crate::App;
use crate::errors::{Denial, Refusal, RequestId};
use crate::surface::Surface;

/// `POST .../ai/run/{model}`: the body is the input.
pub(crate) async fn run(
    State(app): State<Arc<App>>,
    path: Result<Path<(String, String)>, PathRejection>,
    request: Request,
) -> Response {
    let model = path.map(|Path((_account, model))| model);
    run_on(Surface::Rest, &app, model, request).await
}

/// The same on any surface that names the model in its path.
pub(crate) async fn run_on(
    surface: Surface,
    app: &App,
    model: Result<String, PathRejection>,
    request: Request,
) -> Response {
    let Ok(model) = model else {
        return Denial::NoRoute(request.uri().path().into()).into_response(); // not UTF-8 when decoded
    };
    let id = RequestId::new();
    let answered = async {
        let call = Call::of(app, &model, id)?;
        call.class()?;
        let (parts, body) = call.read_body(request).await?;
        if !Input::is_raw(call, &parts, &body)? {
            let mut options = Options::from_query(parts.uri.query().unwrap_or_default());
            let mut body = parse_json(body).await?;
            options.take_from(&mut body);
            return reply(call, body, &options).await;
        }
        let input = Input::of_raw(call, &parts, body).await?;
        Ok::<_, Refusal>(Reply::Answer(answer(call, input).await?, call.card))
    };
    respond(answered.await, &model, surface, id)
}

/// `POST .../ai/run` with `{"model":...,"input":...}`.
pub(crate) async fn unified(State(app): State<Arc<App>>, request: Request) -> Response {
    let id = RequestId::new();
    let mut model = String::new();
    let answered = async {
        let (parts, body) = read_body(&app, request).await?;
        let mut body = parse_json(body).await?;
        body["model"]
            .as_str()
            .unwrap_or_default()
            .clone_into(&mut model);
        if model.is_empty() {
            return Err(Failure::Missing("model".into()).into());
        }
        let call = Call::of(&app, &model, id)?;
        let mut options = Options::from_query(parts.uri.query().unwrap_or_default());
        options.take_from(&mut body);
        reply(call, body["input"].take(), &options).await
    };
    let answered = answered.await;
    respond(answered, &model, Surface::Rest, id)
}
