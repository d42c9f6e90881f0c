//! The session that wrangler (4.36 and later) opens before it sends a binding's requests away: a
//! token, the upload of its proxy Worker, a host to ask.
//!
//! Nothing is kept of it. The names of hosts are such that a URL made with them is invalid, so that
//! the tool's proxy goes on asking the machine it was told of first. The tool then insists on TLS at
//! port 443, which hearth does not serve; yet a tool that only opens the session starts.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::errors::json as answer;
use crate::layers::body::STALL_TIMEOUT;
use crate::manage::success;

pub(crate) const EXCHANGE: &str = "/exchange";
pub(crate) const PREWARM: &str = "/prewarm";

/// The token of every session: nothing here looks at it.
const TOKEN: &str = "hearth";

/// The most bytes of an uploaded Worker that are read before it is answered, as many as the service
/// takes.
const UPLOAD_MAX_BYTES: usize = 64 * 1024 * 1024;

/// `GET …/workers/subdomain/edge-preview`: where the session is exchanged.
pub(crate) async fn edge_preview(headers: HeaderMap) -> Response {
    let url = here(&headers, EXCHANGE);
    success(&json!({ "token": TOKEN, "exchange_url": url }))
}

/// `GET /exchange`, which has no envelope.
pub(crate) async fn exchange(headers: HeaderMap) -> Response {
    let body = json!({
        "token": TOKEN,
        "inspector_websocket": "wss://x.localhost:444/",
        "prewarm": here(&headers, PREWARM),
    });
    answer(StatusCode::OK, &body)
}

/// `POST /prewarm`.
pub(crate) async fn prewarm(request: Request) -> Response {
    discard(request.into_body()).await;
    success(&Value::Null)
}

/// `GET …/workers/subdomain`.
pub(crate) async fn subdomain() -> Response {
    success(&json!({ "subdomain": "a b" }))
}

/// `POST …/workers/scripts/{name}/edge-preview`: takes the proxy Worker, and forgets it.
pub(crate) async fn upload(request: Request) -> Response {
    discard(request.into_body()).await;
    success(&json!({ "preview_token": TOKEN }))
}

/// A URL of this server, as the caller reaches it. The host has passed the check of hosts.
fn here(headers: &HeaderMap, path: &str) -> String {
    let host = headers.get(header::HOST).map(HeaderValue::as_bytes);
    let host = String::from_utf8_lossy(host.unwrap_or_default());
    format!("http://{host}{path}")
}

/// Reads a body to its end, so that the caller gets its answer, without keeping it.
async fn discard(mut body: Body) {
    let mut left = UPLOAD_MAX_BYTES;
    while let Ok(Some(Ok(frame))) = timeout(STALL_TIMEOUT, body.frame()).await {
        let length = frame.data_ref().map_or(0, bytes::Bytes::len);
        match left.checked_sub(length) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}
