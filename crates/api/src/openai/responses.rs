//! `POST .../ai/v1/responses`, for gpt-oss only.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;

use super::model;
use crate::App;
use crate::errors::{Refusal, RequestId};
use crate::run::{Call, Input, Options, parse_json, read_body, respond as dress, text_generation};
use crate::surface::Surface;

/// Answers in the form of OpenAI's Responses, bare.
pub(crate) async fn respond(State(app): State<Arc<App>>, request: Request) -> Response {
    let id = RequestId::new();
    let mut name = String::new();
    let answered = async {
        let (parts, body) = read_body(&app, request).await?;
        let mut body = parse_json(body).await?;
        model(&body)?.clone_into(&mut name);
        let call = Call::of(&app, &name, id)?;
        text_generation::check_responds(call)?;
        let mut options = Options::from_query(parts.uri.query().unwrap_or_default());
        options.take_from(&mut body);
        // The schema's other branches would take a body without an input for a chat's.
        if let Some(body) = body
            .as_object_mut()
            .filter(|body| !body.contains_key("input"))
        {
            body.retain(|name, _| !["prompt", "messages", "requests"].contains(&name.as_str()));
        }
        let input = Input::checked(body, call.class()?).await?;
        let read = |input: Input| text_generation::respond(call, &input.fields);
        let answer = call.account(input, read).await?;
        Ok::<_, Refusal>((answer, call.card))
    };
    let answered = answered.await;
    dress(answered, &name, Surface::Responses, id)
}
