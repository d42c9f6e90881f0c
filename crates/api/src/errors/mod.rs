//! Errors: what went wrong ([`table`]), and how each surface tells it.

mod denial;
#[cfg(test)]
mod rows;
mod table;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
pub(crate) use denial::{Denial, refused};
use serde::Serialize;
pub(crate) use table::Refusal;
use table::{Row, row_of};
use tasks::Failure;
use uuid::Uuid;

use crate::surface::Surface;

/// Names a request that reached inference: in the header `cf-ai-req-id`, at the end of each error's
/// message, and in the log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestId(Uuid);

impl RequestId {
    pub(crate) const HEADER: &str = "cf-ai-req-id";

    pub(crate) fn new() -> Self {
        Self(Uuid::new_v4())
    }
}

impl std::fmt::Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Writes what happened to the log; details that the caller must not see are told only here.
fn log(refusal: &Refusal, model: &str, id: RequestId) {
    let told = match refusal {
        Refusal::Failure(failure) => failure.to_string(),
        other => row_of(other).description,
    };
    // The name is the caller's: it must not end the line and write another.
    let line = format!("{model}: {told} ({id})").replace(char::is_control, " ");
    let is_ours = matches!(
        refusal,
        Refusal::Failure(Failure::Internal(_) | Failure::Unavailable(_))
    );
    if is_ours {
        tracing::error!("{line}");
    } else {
        tracing::info!("{line}");
    }
}

/// The answer to an inference that failed before its first byte.
pub(crate) fn inference(
    refusal: &Refusal,
    model: &str,
    id: RequestId,
    surface: Surface,
) -> Response {
    log(refusal, model, id);
    let row = row_of(refusal);
    let mut response = match surface {
        Surface::Rest | Surface::OpenAi => envelope(&row, id),
        Surface::Binding | Surface::Gateway | Surface::GatewayOpenAi => named(&row, id),
        Surface::Responses => prompt_error(&row, id),
    };
    add_request_id(&mut response, id);
    response
}

/// The text of an error: `AiError: <short name>: <description> (<uuid>)`.
fn message(row: &Row, id: RequestId) -> String {
    let told = row.message.as_ref().unwrap_or(&row.description);
    format!("AiError: {}: {told} ({id})", row.name)
}

/// The text of a refusal where it stands alone: of an item of a batch.
pub(crate) fn text(refusal: &Refusal, model: &str, id: RequestId) -> String {
    log(refusal, model, id);
    message(&row_of(refusal), id)
}

/// The inference envelope of the REST and OpenAI surfaces.
fn envelope(row: &Row, id: RequestId) -> Response {
    #[derive(Serialize)]
    struct Envelope {
        errors: [Entry; 1],
        success: bool,
        result: Empty,
        messages: [(); 0],
    }
    #[derive(Serialize)]
    struct Entry {
        message: String,
        code: u16,
    }
    #[derive(Serialize)]
    struct Empty {}

    let message = message(row, id);
    let code = row.code;
    json(
        row.status,
        &Envelope {
            errors: [Entry { message, code }],
            success: false,
            result: Empty {},
            messages: [],
        },
    )
}

/// The error of the binding, from which its client makes `<internalCode>: <description>`.
fn named(row: &Row, id: RequestId) -> Response {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Named<'a> {
        name: &'static str,
        internal_code: u16,
        http_code: u16,
        message: String,
        description: &'a str,
        request_id: String,
    }
    json(
        row.status,
        &Named {
            name: "AiError",
            internal_code: row.code,
            http_code: row.status.as_u16(),
            message: message(row, id),
            description: &row.description,
            request_id: id.to_string(),
        },
    )
}

/// The error of OpenAI's responses route, which has one word for all codes.
fn prompt_error(row: &Row, id: RequestId) -> Response {
    #[derive(Serialize)]
    struct Told {
        error: Entry,
    }
    #[derive(Serialize)]
    struct Entry {
        code: &'static str,
        message: String,
    }
    let error = Entry {
        code: "invalid_prompt",
        message: message(row, id),
    };
    json(row.status, &Told { error })
}

/// Adds the header that names the request.
pub(crate) fn add_request_id(response: &mut Response, id: RequestId) {
    if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
        response.headers_mut().insert(RequestId::HEADER, value);
    }
}

/// A JSON answer.
pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(body) => json_bytes(status, body),
        Err(error) => {
            tracing::error!("an answer that is no JSON: {error}");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// An answer that is JSON already.
pub(crate) fn json_bytes(status: StatusCode, body: Vec<u8>) -> Response {
    json_body(status, Body::from(body))
}

/// The same, perhaps still being made.
pub(crate) fn json_body(status: StatusCode, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    // workerd compares the content type exactly: no "; charset".
    let value = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, value);
    response
}
