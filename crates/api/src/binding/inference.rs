//! `env.AI.run`: `POST /run?version=3`, the model's name in a header, results bare, errors with a
//! name and an internal code.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use serde_json::Value;
use tasks::Failure;
use uuid::Uuid;

use crate::App;
use crate::errors::{Refusal, RequestId};
use crate::run::{Call, Input, Options, Reply, answer, parse_json, reply, respond};
use crate::surface::Surface;

/// The header with the model's name, behind a prefix and a colon where the caller set one.
const MODEL: &str = "cf-consn-model-id";
/// The header that names the log entry of a gateway.
const LOG_ID: &str = "cf-aig-log-id";

/// `POST /run`.
pub(crate) async fn run(State(app): State<Arc<App>>, request: Request) -> Response {
    inference(&app, request).await
}

/// `POST /ai-gateway/run`: the same through a gateway, which gives the request a log id.
pub(crate) async fn gateway_run(State(app): State<Arc<App>>, request: Request) -> Response {
    let mut response = inference(&app, request).await;
    let log_id = Uuid::new_v4().simple().to_string().to_uppercase();
    if let Ok(value) = HeaderValue::from_str(&format!("01{}", &log_id[..24])) {
        response.headers_mut().insert(LOG_ID, value);
    }
    response
}

async fn inference(app: &App, request: Request) -> Response {
    let id = RequestId::new();
    let model = model(request.headers());
    let answered = async {
        let call = Call::of(app, &model, id)?;
        call.class()?;
        let (parts, body) = call.read_body(request).await?;
        let mut options = Options::from_query(parts.uri.query().unwrap_or_default());
        if is_json(&parts.headers) {
            let mut body = parse_json(body).await?;
            options.take_from(&mut body);
            let inputs = body.get_mut("inputs").map(Value::take);
            let call = call.by(&parts, &options);
            return reply(call, inputs.unwrap_or_default(), &options).await;
        }
        // The stream replaced the one input that held it; the others are in the query.
        let others = user_inputs(parts.uri.query().unwrap_or_default())?;
        let call = call.by(&parts, &options);
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

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let kind = kind.unwrap_or_default();
    let kind = kind.split(|&byte| byte == b';').next().unwrap_or(kind);
    kind.trim_ascii().eq_ignore_ascii_case(b"application/json")
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
