//! What `env.AI.gateway(id)` asks. Requests go through here to local models, and are not logged: a gateway has an
//! address, no logs, and no providers beyond this machine.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::rags::not_found;
use crate::App;
use crate::errors::json;

/// The account in addresses that a binding asks for, which names none.
const ACCOUNT: &str = "local";

/// What a caller names who wants the address of the gateway itself.
const UNIVERSAL: &str = "universal";

/// `GET /ai-gateway/gateways/{gateway}/url/{provider}`: an address on this server, so that nothing that was meant for
/// local models leaves the machine.
pub(crate) async fn url(
    State(app): State<Arc<App>>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Response {
    #[derive(Serialize)]
    struct Envelope {
        result: Url,
    }
    #[derive(Serialize)]
    struct Url {
        url: String,
    }
    let Ok(Path((gateway, provider))) = path else {
        return not_found();
    };
    let listen = app.settings.listen;
    let provider = if provider == UNIVERSAL {
        ""
    } else {
        &*provider
    };
    let path = [ACCOUNT, &*gateway, provider].map(encoded).join("/");
    let url = format!("http://{listen}/v1/{path}");
    let envelope = Envelope {
        result: Url { url },
    };
    json(StatusCode::OK, &envelope)
}

/// A segment of a path: what could end it is written in percent.
fn encoded(segment: &str) -> String {
    form_urlencoded::byte_serialize(segment.as_bytes())
        .collect::<String>()
        .replace('+', "%20")
}

/// `GET` and `PATCH /ai-gateway/gateways/{gateway}/logs/{log}`: there are no logs.
pub(crate) async fn log() -> Response {
    not_found()
}

/// `POST /ai-gateway/universal/run/{gateway}`.
pub(crate) async fn universal() -> Response {
    let text = "Invalid provider";
    let description =
        "universal gateway requests are not served by this version of hearth: ask the model itself";
    GatewayError {
        code: 2008,
        message: text,
        description,
    }
    .into_response()
}

/// A gateway's own error.
struct GatewayError {
    code: u16,
    message: &'static str,
    description: &'static str,
}

impl IntoResponse for GatewayError {
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
            description: &'static str,
        }
        #[derive(Serialize)]
        struct Entry {
            code: u16,
            message: &'static str,
        }
        let status = StatusCode::BAD_REQUEST;
        let entry = Entry {
            code: self.code,
            message: self.message,
        };
        json(
            status,
            &Envelope {
                success: false,
                result: [],
                messages: [],
                error: [entry],
                name: "AiGatewayError",
                http_code: status.as_u16(),
                internal_code: self.code,
                message: self.message,
                description: self.description,
            },
        )
    }
}
