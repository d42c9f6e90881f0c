//! The envelope of the service's API for what is no inference.

use std::fmt;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use ledger::LedgerError;
use serde::Serialize;
use tasks::Failure;

use crate::errors::{json, refused};

/// Why a request of the API was refused.
#[derive(Debug)]
pub(crate) struct Declined {
    status: StatusCode,
    code: u16,
    message: String,
}

impl Declined {
    /// What was asked for is not there.
    pub(crate) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, 7002, "Not Found")
    }

    /// What was given cannot be taken.
    pub(crate) fn invalid(text: impl fmt::Display) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            8001,
            format!("Invalid input: {text}"),
        )
    }

    /// What was given is too large.
    pub(crate) fn too_large(text: impl fmt::Display) -> Self {
        let text = format!("Request is too large: {text}");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, 3006, text)
    }

    /// The service does this, this version of hearth does not.
    pub(crate) fn unserved(what: &str) -> Self {
        let text = format!("{what} is not served by this version of hearth");
        Self::new(StatusCode::BAD_REQUEST, 8007, text)
    }

    /// This server was started without what is needed.
    pub(crate) fn unavailable(text: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, 7009, text)
    }

    fn new(status: StatusCode, code: u16, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
        }
    }
}

/// What a server without a ledger says where it needs one.
pub(crate) const NO_LEDGER: &str = "this server keeps no records: start it without --no-ledger, and with a data \
                                    folder that no other hearth uses (--data)";

impl From<LedgerError> for Declined {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Unknown(_) => Self::not_found(),
            LedgerError::FileTooLarge { .. } => Self::too_large(error),
            LedgerError::AlreadyUploaded { .. } => Self::new(
                StatusCode::CONFLICT,
                8001,
                format!("Invalid input: {error}"),
            ),
            LedgerError::Refused(text) => Self::invalid(text),
            error => {
                // Paths of this machine are for its owner.
                tracing::error!("{error}");
                let text = "Internal server error";
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, 8004, text)
            }
        }
    }
}

impl From<Failure> for Declined {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::TooLarge { limit_bytes } => {
                Self::too_large(format_args!("at most {limit_bytes} bytes are taken"))
            }
            Failure::Aborted => Self::new(StatusCode::REQUEST_TIMEOUT, 3008, "Request was aborted"),
            Failure::Missing(what) => Self::new(
                StatusCode::BAD_REQUEST,
                3003,
                format!("Request is missing headers or body: {what}"),
            ),
            failure => {
                tracing::error!("{failure}");
                let text = "Internal server error";
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, 8004, text)
            }
        }
    }
}

impl IntoResponse for Declined {
    fn into_response(self) -> Response {
        tracing::info!("{}", self.message.replace(char::is_control, " "));
        refused(self.status, self.code, self.message)
    }
}

/// A success.
pub(crate) fn success(result: &impl Serialize) -> Response {
    listed(result, None)
}

/// Where a page stands in its list.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct PageInfo {
    pub(crate) page: usize,
    pub(crate) per_page: usize,
    pub(crate) count: usize,
    pub(crate) total_count: usize,
}

/// A success, perhaps one page of a list.
pub(crate) fn listed(result: &impl Serialize, page: Option<PageInfo>) -> Response {
    #[derive(Serialize)]
    struct Envelope<'a, R> {
        result: &'a R,
        success: bool,
        errors: [(); 0],
        messages: [(); 0],
        #[serde(skip_serializing_if = "Option::is_none")]
        result_info: Option<PageInfo>,
    }
    json(
        StatusCode::OK,
        &Envelope {
            result,
            success: true,
            errors: [],
            messages: [],
            result_info: page,
        },
    )
}

/// A success of the services around Workers AI, which say so first.
pub(crate) fn success_first(result: &impl Serialize) -> Response {
    #[derive(Serialize)]
    struct Envelope<'a, R> {
        success: bool,
        result: &'a R,
        errors: [(); 0],
        messages: [(); 0],
    }
    json(
        StatusCode::OK,
        &Envelope {
            success: true,
            result,
            errors: [],
            messages: [],
        },
    )
}
