//! The one table: what can go wrong, with the code, status and text that the surfaces give it.
//!
//! Of the documented codes these have no row, because nothing on a local server leads to them: 3007, 3036 and 3042
//! (the live service says 3046, 4006 and 5007), 3023 and 3041 (accounts that are blocked), 5012 (a validator behind
//! the service), 5022 (nobody says what it means), and of a gateway 2001 (not configured) and 2021 (no credits). What
//! never reaches inference is in `denial`, what a gateway itself refuses in `gateway`.

use std::borrow::Cow;

use axum::http::StatusCode;
use tasks::Failure;

/// Why an inference was refused: a failure, or a refusal that only this surface knows.
#[derive(Debug)]
pub(crate) enum Refusal {
    Failure(Failure),
    /// JSON mode together with `stream`.
    StreamedJson,
    /// A field of base64 that is no string; the JavaScript type that it has.
    NotBase64(&'static str),
    /// A LoRA adapter that is not known here, or not whole.
    NoFinetune,
    /// The model's licence was not agreed to yet.
    NotAgreed,
    /// The model is only for accounts that were let in.
    Private,
    /// The model is not for accounts on the free plan.
    PaidOnly(String),
    /// The free neurons of the day are used up.
    QuotaSpent,
    /// More requests in a minute than the task allows.
    RateLimited,
    /// What the service's model servers say of inputs that are too long, too many or unknown.
    Upstream(String),
    /// A request in the form of a binding that the service no longer serves.
    OldSdk,
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
    pub(super) name: Cow<'static, str>,
    /// What the binding tells.
    pub(super) description: String,
    /// What the message tells behind the short name, where that is something else.
    pub(super) message: Option<String>,
}

/// The short name of errors that come from a model or from behind it.
const UPSTREAM: &str = "AiError";

fn row(
    code: u16,
    status: StatusCode,
    name: impl Into<Cow<'static, str>>,
    description: impl Into<String>,
) -> Row {
    Row {
        code,
        status,
        name: name.into(),
        description: description.into(),
        message: None,
    }
}

/// The table: rows that only this surface knows.
pub(super) fn row_of(refusal: &Refusal) -> Row {
    match refusal {
        Refusal::Failure(failure) => failure_row(failure),
        Refusal::StreamedJson => row(
            5023,
            StatusCode::BAD_REQUEST,
            UPSTREAM,
            "JSON Schema mode is not supported with stream mode",
        ),
        Refusal::NotBase64(kind) => row(
            5004,
            StatusCode::BAD_REQUEST,
            "Invalid data type",
            format!("Invalid data type for base64 input: `{kind}`"),
        ),
        Refusal::NoFinetune => row(
            3039,
            StatusCode::BAD_REQUEST,
            "Finetune missing required files",
            "Finetune is missing required files (model.safetensors and config.json)",
        ),
        Refusal::NotAgreed => row(
            5016,
            StatusCode::FORBIDDEN,
            "Model agreement",
            "Prior to using this model, you must submit the prompt 'agree'. By submitting 'agree', \
             you agree to the model's licence and acceptable use policy.",
        ),
        Refusal::Private => row(
            5018,
            StatusCode::FORBIDDEN,
            "Account not allowed for private model",
            "This account is not allowed to access this model",
        ),
        Refusal::PaidOnly(model) => row(
            5035,
            StatusCode::FORBIDDEN,
            format!("Model {model} is not available on the Workers Free plan"),
            format!(
                "Model {model} is not available on the Workers Free plan. Upgrade to access this \
                 model: https://dash.cloudflare.com/?to=/:account/workers/plans"
            ),
        ),
        Refusal::QuotaSpent => row(
            4006,
            StatusCode::TOO_MANY_REQUESTS,
            UPSTREAM,
            "you have used up your daily free allocation of 10,000 neurons, please upgrade to \
             Cloudflare's Workers Paid plan if you would like to continue usage.",
        ),
        Refusal::RateLimited => row(
            3021,
            StatusCode::TOO_MANY_REQUESTS,
            UPSTREAM,
            "rate limiting: inference request per min rate reached",
        ),
        Refusal::OldSdk => row(
            5019,
            StatusCode::METHOD_NOT_ALLOWED,
            "Deprecated SDK version",
            "Request trying to use deprecated SDK version",
        ),
        Refusal::NoSuchBatch(id) => row(
            7002,
            StatusCode::NOT_FOUND,
            "Not Found",
            format!("No such request {id}"),
        ),
        Refusal::Upstream(text) => row(3030, StatusCode::BAD_REQUEST, UPSTREAM, text.as_str()),
    }
}

/// The table: a row for each kind of failure.
fn failure_row(failure: &Failure) -> Row {
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
        Failure::Deprecated { model, on } => Row {
            message: Some(format!("{model} was deprecated on {on}")),
            ..row(
                5028,
                StatusCode::GONE,
                "Model has been deprecated",
                format!("This model was deprecated on {on}. Please use an alternative model."),
            )
        },
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
            "Request is too large",
        ),
        Failure::BadInput(_) => row(8001, StatusCode::BAD_REQUEST, UPSTREAM, "Invalid input"),
        Failure::ContextExceeded { tokens, window } => row(
            5021,
            StatusCode::PAYLOAD_TOO_LARGE,
            "Ai",
            format!(
                "The estimated number of input and maximum output tokens ({tokens}) exceeded this \
                 model context window limit ({window})."
            ),
        ),
        Failure::Unsupported(text) => row(8007, StatusCode::BAD_REQUEST, UPSTREAM, text.as_str()),
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
            "This model doesn't support JSON Schema.",
        ),
        // The service's own words and spelling; it publishes no status.
        Failure::JsonModeUnmet(_) => row(
            5024,
            StatusCode::BAD_REQUEST,
            UPSTREAM,
            "JSON Model couldn't be met",
        ),
        Failure::Busy => row(
            3040,
            StatusCode::TOO_MANY_REQUESTS,
            UPSTREAM,
            "Capacity temporarily exceeded, please try again.",
        ),
        Failure::Timeout => row(
            3046,
            StatusCode::REQUEST_TIMEOUT,
            UPSTREAM,
            "Request timeout",
        ),
        Failure::Aborted => row(
            3008,
            StatusCode::REQUEST_TIMEOUT,
            "Aborted",
            "Request was aborted",
        ),
        Failure::Unavailable(text) => row(
            7009,
            StatusCode::SERVICE_UNAVAILABLE,
            UPSTREAM,
            text.as_str(),
        ),
        Failure::Internal(_) => row(
            3043,
            StatusCode::INTERNAL_SERVER_ERROR,
            UPSTREAM,
            "Internal server error",
        ),
    }
}
