//! What a gateway itself refuses, in its own envelope.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::errors::json;

/// Why a gateway passed nothing on.
#[derive(Debug)]
pub(crate) enum GatewayRefusal {
    /// A provider that is not here.
    Provider(String),
    /// Something that the service's gateways do, by its name.
    Unserved(String),
    /// A header that cannot be read.
    Header(&'static str),
    /// No token, or a wrong one.
    Unauthorized,
    /// The answer did not come within the time that the caller gave it.
    Timeout,
}

/// What to do instead of a universal request.
const ASK_THE_MODEL: &str = "ask the model itself, at .../{account}/{gateway}/workers-ai/{model}";

impl GatewayRefusal {
    /// A request for several providers at once.
    pub(crate) fn universal() -> Self {
        Self::Unserved(format!("a universal request ({ASK_THE_MODEL})"))
    }

    fn row(self) -> (u16, StatusCode, &'static str, String) {
        match self {
            Self::Provider(name) => (
                2008,
                StatusCode::BAD_REQUEST,
                "Invalid provider",
                format!("{name} is not here: this gateway has the provider workers-ai only"),
            ),
            // The gateway's list has no code for it; this one is of requests that a model cannot serve.
            Self::Unserved(what) => (
                8007,
                StatusCode::BAD_REQUEST,
                "Unsupported",
                format!("{what} is not served by this version of hearth"),
            ),
            Self::Header(name) => (
                8001,
                StatusCode::BAD_REQUEST,
                "Invalid input",
                format!("the header {name} has no value that it can have"),
            ),
            Self::Unauthorized => (
                2009,
                StatusCode::UNAUTHORIZED,
                "Unauthorized",
                "a token is needed: Authorization: Bearer <token>".into(),
            ),
            Self::Timeout => (
                2014,
                StatusCode::REQUEST_TIMEOUT,
                "Request timeout",
                "the model did not answer within cf-aig-request-timeout".into(),
            ),
        }
    }
}

impl IntoResponse for GatewayRefusal {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Envelope {
            success: bool,
            result: [(); 0],
            messages: [(); 0],
            error: [Entry; 1],
            name: &'static str,
            http_code: u16,
            internal_code: u16,
            message: &'static str,
            description: String,
        }
        #[derive(Serialize)]
        struct Entry {
            code: u16,
            message: &'static str,
        }
        let (code, status, message, description) = self.row();
        tracing::info!("gateway: {}", description.replace(char::is_control, " "));
        json(
            status,
            &Envelope {
                success: false,
                result: [],
                messages: [],
                error: [Entry { code, message }],
                name: "AiGatewayError",
                http_code: status.as_u16(),
                internal_code: code,
                message,
                description,
            },
        )
    }
}
