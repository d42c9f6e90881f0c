//! What `env.AI.gateway(id)` asks: a gateway has an address, and no logs.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;

use crate::App;
use crate::errors::json;
use crate::manage::not_found;

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
    // One that listens everywhere is reached on its own machine.
    let mut listen = app.settings.listen;
    if listen.ip().is_unspecified() {
        listen.set_ip(match listen {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
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
