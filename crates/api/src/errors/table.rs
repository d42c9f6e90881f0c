//! The one table: what can go wrong, with the code, status and text that the surfaces give it.

use axum::http::StatusCode;
use tasks::Failure;

/// Why an inference was refused: a failure, or a refusal that only this surface knows.
#[derive(Debug)]
pub(crate) enum Refusal {
    Failure(Failure),
    /// JSON mode together with `stream`.
    StreamedJsonSchema,
    /// What the service's model servers say of inputs that are too long, too many or unknown.
    Upstream(String),
    /// A batch that is not known, or no longer.
    NoSuchBatch(String),
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

/// A row of the table.
pub(super) struct Row {
    pub(super) code: u16,
    pub(super) status: StatusCode,
    /// The short name in front of the description.
    pub(super) name: &'static str,
    pub(super) description: String,
}

/// The short name of errors that come from a model or from behind it.
const UPSTREAM: &str = "AiError";

/// The table: rows that only this surface knows.
pub(super) fn row(refusal: &Refusal) -> Row {
    match refusal {
        Refusal::Failure(failure) => failure_row(failure),
        Refusal::StreamedJsonSchema => Row {
            code: 5023,
            status: StatusCode::BAD_REQUEST,
            name: UPSTREAM,
            description: "JSON Schema mode is not supported with stream mode".into(),
        },
        Refusal::Upstream(text) => Row {
            code: 3030,
            status: StatusCode::BAD_REQUEST,
            name: UPSTREAM,
            description: text.clone(),
        },
        Refusal::NoSuchBatch(id) => Row {
            code: 7002,
            status: StatusCode::NOT_FOUND,
            name: "Not Found",
            description: format!("No such request {id}"),
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
