//! The one table: what can go wrong, with the code, status and text that the surface gives it.

use axum::body::Body;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tasks::Failure;
use uuid::Uuid;

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

/// Why an inference was refused: a failure, or a refusal that only this surface knows.
#[derive(Debug)]
pub(crate) enum Refusal {
    Failure(Failure),
    /// JSON mode together with `stream`.
    StreamedJsonSchema,
    /// What the service's embedding back ends say of inputs that are too long or too many.
    EmbeddingLimit(String),
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

/// A row of the table.
struct Row {
    code: u16,
    status: StatusCode,
    /// The short name in front of the description.
    name: &'static str,
    description: String,
}

/// The short name of errors that come from a model or from behind it.
const UPSTREAM: &str = "AiError";

/// The table: rows that only this surface knows.
fn row(refusal: &Refusal) -> Row {
    match refusal {
        Refusal::Failure(failure) => failure_row(failure),
        Refusal::StreamedJsonSchema => Row {
            code: 5023,
            status: StatusCode::BAD_REQUEST,
            name: UPSTREAM,
            description: "JSON Schema mode is not supported with stream mode".into(),
        },
        Refusal::EmbeddingLimit(text) => Row {
            code: 3030,
            status: StatusCode::BAD_REQUEST,
            name: UPSTREAM,
            description: text.clone(),
        },
    }
}

/// The table: a row for each kind of failure.
fn failure_row(failure: &Failure) -> Row {
    let row = |code, status, name, description: String| Row {
        code,
        status,
        name,
        description,
    };
    match failure {
        Failure::Schema(message) => row(
            5006,
            StatusCode::BAD_REQUEST,
            "Bad input",
            format!("Error: {message}"),
        ),
        Failure::NoSuchModel(model) => row(
            5007,
            StatusCode::BAD_REQUEST,
            "No such model",
            format!("No such model {model} or task"),
        ),
        Failure::Deprecated { model, on } => row(
            5028,
            StatusCode::GONE,
            "Model has been deprecated",
            format!("{model} was deprecated on {on}"),
        ),
        Failure::Missing(what) => row(
            3003,
            StatusCode::BAD_REQUEST,
            "Incomplete request",
            format!("Request is missing headers or body: {what}"),
        ),
        Failure::TooLarge { .. } => row(
            3006,
            StatusCode::PAYLOAD_TOO_LARGE,
            "Request too large",
            "Request is too large".into(),
        ),
        Failure::BadInput(_) => row(
            8001,
            StatusCode::BAD_REQUEST,
            UPSTREAM,
            "Invalid input".into(),
        ),
        Failure::ContextExceeded { tokens, window } => row(
            5021,
            StatusCode::PAYLOAD_TOO_LARGE,
            "Ai",
            format!(
                "The estimated number of input and maximum output tokens ({tokens}) exceeded this \
                 model context window limit ({window})."
            ),
        ),
        Failure::Unsupported(text) => row(8007, StatusCode::BAD_REQUEST, UPSTREAM, text.clone()),
        Failure::NoLora(model) => row(
            5005,
            StatusCode::METHOD_NOT_ALLOWED,
            "LoRa unsupported",
            format!("The model `{model}` does not support LoRa inference"),
        ),
        Failure::NoJsonMode => row(
            5025,
            StatusCode::FORBIDDEN,
            UPSTREAM,
            "This model doesn't support JSON Schema.".into(),
        ),
        Failure::Busy => row(
            3040,
            StatusCode::TOO_MANY_REQUESTS,
            UPSTREAM,
            "Capacity temporarily exceeded, please try again.".into(),
        ),
        Failure::Timeout => row(
            3046,
            StatusCode::REQUEST_TIMEOUT,
            UPSTREAM,
            "Request timeout".into(),
        ),
        Failure::Aborted => row(
            3008,
            StatusCode::REQUEST_TIMEOUT,
            "Aborted",
            "Request was aborted".into(),
        ),
        Failure::Unavailable(text) => row(
            7009,
            StatusCode::SERVICE_UNAVAILABLE,
            UPSTREAM,
            text.clone(),
        ),
        Failure::Internal(_) => row(
            3043,
            StatusCode::INTERNAL_SERVER_ERROR,
            UPSTREAM,
            "Internal server error".into(),
        ),
    }
}

/// Writes what happened to the log; details that the caller must not see are told only here.
fn log(refusal: &Refusal, model: &str, id: RequestId) {
    let told = match refusal {
        Refusal::Failure(failure) => failure.to_string(),
        other => row(other).description,
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
pub(crate) fn inference(refusal: &Refusal, model: &str, id: RequestId) -> Response {
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

    log(refusal, model, id);
    let Row {
        code,
        status,
        name,
        description,
    } = row(refusal);
    let message = format!("AiError: {name}: {description} ({id})");
    let mut response = json(
        status,
        &Envelope {
            errors: [Entry { message, code }],
            success: false,
            result: Empty {},
            messages: [],
        },
    );
    add_request_id(&mut response, id);
    response
}

/// Adds the header that names the request.
pub(crate) fn add_request_id(response: &mut Response, id: RequestId) {
    if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
        response.headers_mut().insert(RequestId::HEADER, value);
    }
}

/// Why a request never reached inference.
#[derive(Debug)]
pub(crate) enum Denial {
    NoAuth,
    BadAuth,
    ForeignHost(String),
    WrongMethod(Method),
    NoRoute(String),
}

impl IntoResponse for Denial {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Envelope {
            result: (),
            success: bool,
            errors: [Entry; 1],
            messages: [(); 0],
        }
        #[derive(Serialize)]
        struct Entry {
            code: u16,
            message: String,
        }
        let (code, status, message) = match self {
            Self::NoAuth => (
                9106,
                StatusCode::BAD_REQUEST,
                "Missing X-Auth-Key, X-Auth-Email or Authorization headers".into(),
            ),
            Self::BadAuth => (
                10_000,
                StatusCode::UNAUTHORIZED,
                "Authentication error".into(),
            ),
            Self::ForeignHost(host) => (
                9109,
                StatusCode::FORBIDDEN,
                format!(
                    "Host '{host}' is not served here: use a loopback name, or start hearth with \
                     this name under allow-host"
                ),
            ),
            Self::WrongMethod(method) => (
                7001,
                StatusCode::METHOD_NOT_ALLOWED,
                format!("{method} not supported for requested URI."),
            ),
            Self::NoRoute(path) => (
                7003,
                StatusCode::NOT_FOUND,
                format!("Could not route to {path}, perhaps your object identifier is invalid?"),
            ),
        };
        json(
            status,
            &Envelope {
                result: (),
                success: false,
                errors: [Entry { code, message }],
                messages: [],
            },
        )
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
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    // workerd compares the content type exactly: no "; charset".
    let value = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, value);
    response
}
