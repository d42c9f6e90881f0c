//! `POST .../ai/v1/messages`, Anthropic's form: the service refuses its own models there, with Anthropic's error.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;

use crate::App;
use crate::errors::{RequestId, add_request_id, json};
use crate::run::{parse_json, read_body};

/// The handler: every model is refused, those that are known by name.
pub(crate) async fn refuse(State(app): State<Arc<App>>, request: Request) -> Response {
    let id = RequestId::new();
    let asked = async {
        let (_, body) = read_body(&app, request).await?;
        parse_json(body).await
    };
    let (status, kind, message) = match asked.await {
        Err(failure) => {
            let text = format!("AiError: {failure} ({id})");
            (StatusCode::BAD_REQUEST, "invalid_request_error", text)
        }
        Ok(body) => match body["model"].as_str() {
            None => {
                let text = format!("AiError: model: Field required ({id})");
                (StatusCode::BAD_REQUEST, "invalid_request_error", text)
            }
            Some(model) if app.catalog.card(model).is_none() => {
                let text = format!("Model not found: {model}");
                (StatusCode::NOT_FOUND, "not_found_error", text)
            }
            Some(model) => {
                let text = format!(
                    "AiError: Anthropic Messages API is not supported for model \"{model}\" ({id})"
                );
                (StatusCode::BAD_REQUEST, "invalid_request_error", text)
            }
        },
    };
    tracing::info!("{}", message.replace(char::is_control, " "));
    let mut response = error(status, kind, &message);
    add_request_id(&mut response, id);
    response
}

fn error(status: StatusCode, kind: &str, message: &str) -> Response {
    #[derive(Serialize)]
    struct Outer<'a> {
        r#type: &'static str,
        error: Inner<'a>,
    }
    #[derive(Serialize)]
    struct Inner<'a> {
        r#type: &'a str,
        message: &'a str,
    }
    let error = Inner {
        r#type: kind,
        message,
    };
    json(
        status,
        &Outer {
            r#type: "error",
            error,
        },
    )
}
