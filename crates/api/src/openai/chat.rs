//! `POST .../ai/v1/chat/completions`, for every model that generates text.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;

use super::model;
use crate::App;
use crate::errors::{Refusal, RequestId};
use crate::run::{Call, Input, Options, parse_json, read_body, respond, text_generation};
use crate::surface::Surface;

/// `POST .../ai/v1/chat/completions`: answers a chat in OpenAI's form, bare; its errors are those of the run routes.
pub(crate) async fn complete(State(app): State<Arc<App>>, request: Request) -> Response {
    complete_on(Surface::OpenAi, &app, request).await
}

/// The same on any surface.
pub(crate) async fn complete_on(surface: Surface, app: &App, request: Request) -> Response {
    let id = RequestId::new();
    let mut name = String::new();
    let answered = async {
        let (parts, body) = read_body(app, request).await?;
        let mut body = parse_json(body).await?;
        model(&body)?.clone_into(&mut name);
        let call = Call::of(app, &name, id)?;
        let mut options = Options::from_query(parts.uri.query().unwrap_or_default());
        options.take_from(&mut body);
        let class = text_generation::chat_class(call)?;
        let input = Input::checked(body, class).await?;
        let read = |input: Input| text_generation::complete(call, &input.fields);
        let answer = call.account(input, read).await?;
        Ok::<_, Refusal>((answer, call.card))
    };
    let answered = answered.await;
    respond(answered, &name, surface, id)
}
