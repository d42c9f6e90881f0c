//! Requests that never reach inference, and the envelope of the service's API for them.

use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::json;

/// Why a request never reached inference.
#[derive(Debug)]
pub(crate) enum Denial {
    NoAuth,
    BadAuth,
    /// A wrong token on the route of wrangler's proxy.
    BadProxyAuth,
    ForeignHost(String),
    WrongMethod(Method),
    NoRoute(String),
}

impl IntoResponse for Denial {
    fn into_response(self) -> Response {
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
            Self::BadProxyAuth => (1031, StatusCode::FORBIDDEN, "Authentication error".into()),
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
        refused(status, code, message)
    }
}

/// The envelope of what the service's API refuses.
pub(crate) fn refused(status: StatusCode, code: u16, message: String) -> Response {
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
