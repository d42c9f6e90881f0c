//! What a gateway adds to a request that it passes on: a log id, and what its headers ask for. It keeps no answers,
//! so that each is a miss of its cache; to ask for more of the cache than that is refused, and so are retries.

use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use uuid::Uuid;

use super::{GatewayRefusal, is_path};
use crate::errors::RequestId;

/// The binding's path through a gateway.
const BINDING_PATH: &str = "/ai-gateway/run";
/// Names a gateway on the service's own paths.
const GATEWAY: &str = "cf-aig-gateway-id";
/// Milliseconds to the first byte.
const TIMEOUT: &str = "cf-aig-request-timeout";
/// The caller's own name of the request, which comes back.
const EVENT: HeaderName = HeaderName::from_static("cf-aig-event-id");
/// Names the entry in the gateway's log.
const LOG: HeaderName = HeaderName::from_static("cf-aig-log-id");
const CACHE: HeaderName = HeaderName::from_static("cf-aig-cache-status");
const PROVIDER: HeaderName = HeaderName::from_static("cf-aig-provider");

/// What a gateway of the service does for these headers, none here does.
const UNSERVED: [&str; 5] = [
    "cf-aig-cache-ttl",
    "cf-aig-cache-key",
    "cf-aig-max-attempts",
    "cf-aig-retry-delay",
    "cf-aig-backoff",
];

/// The layer.
pub(crate) async fn pass(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if !(is_path(path) || path == BINDING_PATH || request.headers().contains_key(GATEWAY)) {
        return next.run(request).await;
    }
    let timeout = match wanted(request.headers()) {
        Ok(timeout) => timeout,
        Err(refusal) => return refusal.into_response(),
    };
    let event = request.headers().get(&EVENT).cloned();
    let answering = next.run(request);
    let mut response = match timeout {
        None => answering.await,
        Some(timeout) => match tokio::time::timeout(timeout, answering).await {
            Ok(response) => response,
            Err(_) => return GatewayRefusal::Timeout.into_response(),
        },
    };
    let headers = response.headers_mut();
    if !headers.contains_key(RequestId::HEADER) {
        return response; // it was never passed on
    }
    if let Ok(log) = HeaderValue::from_str(&log_id()) {
        headers.insert(LOG, log);
    }
    headers.insert(CACHE, HeaderValue::from_static("MISS"));
    headers.insert(PROVIDER, HeaderValue::from_static("workers-ai"));
    if let Some(event) = event {
        headers.insert(EVENT, event);
    }
    response
}

/// The patience that the headers ask for.
fn wanted(headers: &HeaderMap) -> Result<Option<Duration>, GatewayRefusal> {
    if let Some(name) = UNSERVED
        .into_iter()
        .find(|name| headers.contains_key(*name))
    {
        return Err(GatewayRefusal::Unserved(name.into()));
    }
    let Some(timeout) = headers.get(TIMEOUT) else {
        return Ok(None);
    };
    let milliseconds = timeout.to_str().ok().and_then(|text| text.parse().ok());
    let milliseconds = milliseconds.ok_or(GatewayRefusal::Header(TIMEOUT))?;
    Ok(Some(Duration::from_millis(milliseconds)))
}

/// An id of the form that the service's have: 26 letters and digits that begin with `01`.
fn log_id() -> String {
    let random = Uuid::new_v4().simple().to_string().to_uppercase();
    format!("01{}", &random[..24])
}
