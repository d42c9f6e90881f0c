//! `env.AI.run`: `POST /run?version=3`, the model's name in a header, results bare, errors with a
//! name and an internal code.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use serde_json::Value;
use tasks::Failure;

use crate::errors::{Refusal, RequestId};
use crate::run::{Call, Input, Options, Reply, answer, is_json, parse_json, reply, respond};
use crate::surface::Surface;
use crate::{App, gateway};

/// The header with the model's name, behind a prefix and a colon where the caller set one.
const MODEL: &str = "cf-consn-model-id";
/// The oldest form of this wire that is served; a request that names none is taken for a present one.
const VERSION_MIN: u32 = 2;

/// `POST /run` and, through a gateway, `POST /ai-gateway/run`.
pub(crate) async fn run(State(app): State<Arc<App>>, request: Request) -> Response {
    let id = RequestId::new();
    let model = model(request.headers());
    let answered = async {
        check_version(request.uri().query().unwrap_or_default())?;
        let call = Call::of(&app, &model, id)?;
        call.class()?;
        let (parts, body) = call.read_body(request).await?;
        let mut options = Options::from_query(parts.uri.query().unwrap_or_default());
        if is_json(&parts.headers) {
            let mut body = parse_json(body).await?;
            gateway::check_options(&body["options"]["gateway"])?;
            options.take_from(&mut body);
            let inputs = body.get_mut("inputs").map(Value::take);
            return reply(call, inputs.unwrap_or_default(), &options).await;
        }
        // The stream replaced the one input that held it; the others are in the query.
        let others = user_inputs(parts.uri.query().unwrap_or_default())?;
        let input = Input::with_binary(call, &parts, body, others).await?;
        Ok::<_, Refusal>(Reply::Answer(answer(call, input).await?, call.card))
    };
    respond(answered.await, &model, Surface::Binding, id)
}

/// The model's name, behind the prefix.
pub(super) fn model(headers: &HeaderMap) -> String {
    let value = headers.get(MODEL).map(HeaderValue::as_bytes);
    let value = String::from_utf8_lossy(value.unwrap_or_default());
    let name = value.rsplit_once(':').map_or(&*value, |(_, name)| name);
    name.to_owned()
}

/// # Errors
/// [`Refusal::OldSdk`].
fn check_version(query: &str) -> Result<(), Refusal> {
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    let version = pairs.find(|(name, _)| name == "version");
    let version = version.and_then(|(_, version)| version.parse::<u32>().ok());
    match version {
        Some(version) if version < VERSION_MIN => Err(Refusal::OldSdk),
        _ => Ok(()),
    }
}

/// The inputs beside the stream: `userInputs=<JSON>`.
fn user_inputs(query: &str) -> Result<Value, Failure> {
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    match pairs.find(|(name, _)| name == "userInputs") {
        Some((_, json)) => serde_json::from_str(&json)
            .map_err(|error| Failure::Missing(format!("userInputs as JSON ({error})"))),
        None => Ok(Value::Object(serde_json::Map::new())),
    }
}
