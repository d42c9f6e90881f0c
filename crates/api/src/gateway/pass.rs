//! What a gateway adds to a request that it passes on: a log id, answers that it kept, and patience. Retries are refused.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::cache::{self, Key, Wish};
use super::{GatewayRefusal, is_path};
use crate::App;
use crate::errors::{RequestId, inference};
use crate::layers::body;
use crate::run::is_json;
use crate::surface::Surface;

/// The binding's path through a gateway.
const BINDING_PATH: &str = "/ai-gateway/run";
/// Names a gateway on the service's own paths.
const GATEWAY: &str = "cf-aig-gateway-id";
/// Milliseconds to the first byte.
const TIMEOUT: &str = "cf-aig-request-timeout";
/// Seconds that the answer may be kept, its name, and whether what is kept counts.
const CACHE_TTL: &str = "cf-aig-cache-ttl";
const CACHE_KEY: &str = "cf-aig-cache-key";
const CACHE_SKIP: &str = "cf-aig-skip-cache";
/// The caller's own name of the request, which comes back.
const EVENT: HeaderName = HeaderName::from_static("cf-aig-event-id");
/// Names the entry in the gateway's log.
const LOG: HeaderName = HeaderName::from_static("cf-aig-log-id");
const CACHE: HeaderName = HeaderName::from_static("cf-aig-cache-status");
const PROVIDER: HeaderName = HeaderName::from_static("cf-aig-provider");
/// What decides an answer beside the body: whose it is (as `layers::auth` reads it), of which gateway, from which model.
const DECIDING: [&str; 7] = [
    "authorization",
    "cf-aig-authorization",
    "x-auth-email",
    "x-auth-key",
    GATEWAY,
    "cf-consn-model-id",
    "content-type",
];

/// What a gateway of the service does for these headers, none here does.
const UNSERVED: [&str; 3] = [
    "cf-aig-max-attempts",
    "cf-aig-retry-delay",
    "cf-aig-backoff",
];

/// The layer.
pub(crate) async fn pass(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let is_binding = path == BINDING_PATH;
    if !(is_path(path) || is_binding || request.headers().contains_key(GATEWAY)) {
        return next.run(request).await;
    }
    let mut wanted = match Wanted::by_headers(request.headers()) {
        Ok(wanted) => wanted,
        Err(refusal) => return refusal.into_response(),
    };
    let event = request.headers().get(&EVENT).cloned();
    // Only what is asked for again is read here; a Worker says what it wants in the body.
    let says_in_body = is_binding && is_json(request.headers());
    let is_read = request.method() == Method::POST && (wanted.cache.is_for_cache() || says_in_body);
    let (request, key) = if is_read {
        let (parts, whole) = request.into_parts();
        let limit = app.settings.body_limit_bytes;
        let whole = match body::read(&parts.headers, whole, limit).await {
            Ok(whole) => whole,
            Err(failure) => {
                return inference(&failure.into(), "", RequestId::new(), Surface::Gateway);
            }
        };
        if says_in_body {
            wanted.by_body(&whole);
        }
        let key = wanted
            .cache
            .is_for_cache()
            .then(|| wanted.key(&parts, &whole));
        (Request::from_parts(parts, Body::from(whole)), key)
    } else {
        (request, None)
    };
    let found = key.and_then(|key| app.gateway_cache.find(&key, Instant::now()));
    let status = if found.is_some() { "HIT" } else { "MISS" };
    let mut response = match found {
        Some(kept) => kept,
        None => match wanted.answer(next.run(request)).await {
            Ok(response) => response,
            Err(refusal) => return refusal.into_response(),
        },
    };
    if !response.headers().contains_key(RequestId::HEADER) {
        return response; // it was never passed on
    }
    if let Some(key) = key.filter(|_| status == "MISS") {
        let cache = &app.gateway_cache;
        response = cache
            .keep(key, &wanted.cache, response, Instant::now())
            .await;
    }
    let headers = response.headers_mut();
    if let Ok(log) = HeaderValue::from_str(&log_id()) {
        headers.insert(LOG, log);
    }
    headers.insert(CACHE, HeaderValue::from_static(status));
    headers.insert(PROVIDER, HeaderValue::from_static("workers-ai"));
    if let Some(event) = event {
        headers.insert(EVENT, event);
    }
    response
}

/// What a request asks of its gateway.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wanted {
    timeout: Option<Duration>,
    cache: Wish,
    /// Its name, where a Worker gives it in the body.
    gateway: String,
}

impl Wanted {
    fn by_headers(headers: &HeaderMap) -> Result<Self, GatewayRefusal> {
        if let Some(name) = UNSERVED
            .into_iter()
            .find(|name| headers.contains_key(*name))
        {
            return Err(GatewayRefusal::Unserved(name.into()));
        }
        let skip = match headers.get(CACHE_SKIP).map(HeaderValue::as_bytes) {
            None | Some(b"false") => false,
            Some(b"true") => true,
            Some(_) => return Err(GatewayRefusal::Header(CACHE_SKIP)),
        };
        let key = match headers.get(CACHE_KEY).map(HeaderValue::to_str) {
            None => None,
            Some(Ok(key)) => Some(key.to_owned()),
            Some(Err(_)) => return Err(GatewayRefusal::Header(CACHE_KEY)),
        };
        Ok(Self {
            timeout: number(headers, TIMEOUT)?
                .filter(|&wait| wait > 0)
                .map(Duration::from_millis),
            cache: Wish {
                ttl: number(headers, CACHE_TTL)?,
                key,
                skip,
            },
            gateway: String::new(),
        })
    }

    /// Adds what the options in a Worker's body say. What cannot be read is refused by who reads all of it.
    fn by_body(&mut self, body: &Bytes) {
        #[derive(Deserialize)]
        struct Whole {
            options: Options,
        }
        #[derive(Deserialize)]
        struct Options {
            gateway: Value,
        }
        let Ok(Whole { options }) = serde_json::from_slice(body) else {
            return;
        };
        let gateway = options.gateway;
        // As numbers, or as the text that the binding's client would put into a header.
        let count = |name: &str| match &gateway[name] {
            Value::Number(number) => number.as_f64().map(|number| number as u64),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        let text = |name: &str| gateway[name].as_str().filter(|text| !text.is_empty());
        let timeout = count("requestTimeoutMs").filter(|&wait| wait > 0);
        self.timeout = timeout.map(Duration::from_millis).or(self.timeout);
        self.cache.skip |= gateway["skipCache"] == true;
        self.cache.ttl = count("cacheTtl").or(self.cache.ttl);
        if let Some(key) = text("cacheKey") {
            self.cache.key = Some(key.to_owned());
        }
        text("id").unwrap_or_default().clone_into(&mut self.gateway);
    }

    /// Which answer the request asks for: the caller's own name of it, or all that decides it.
    fn key(&self, parts: &Parts, body: &Bytes) -> Key {
        let mut decide: Vec<&[u8]> = Vec::new();
        let path = parts.uri.path();
        for name in DECIDING {
            let value = parts.headers.get(name).map(HeaderValue::as_bytes);
            // A key of the caller's own is for whatever was asked.
            let is_asked = name == "cf-consn-model-id" || name == header::CONTENT_TYPE.as_str();
            decide.push(
                value
                    .filter(|_| self.cache.key.is_none() || !is_asked)
                    .unwrap_or_default(),
            );
        }
        let Some(key) = &self.cache.key else {
            let query = parts.uri.query().unwrap_or_default();
            decide.extend([path.as_bytes(), query.as_bytes(), body]);
            return cache::key(decide);
        };
        // The account, and on its own paths the gateway: `/v1/{account}/{gateway}/`.
        let place: Vec<&str> = if is_path(path) {
            path.splitn(5, '/').take(4).collect()
        } else {
            let parts = path.split('/').skip_while(|part| *part != "accounts");
            parts.take(2).collect()
        };
        let place = place.join("/");
        // A stream is never kept, and none is answered by what is whole.
        decide.push(if streams(body) { b"stream" } else { b"whole" });
        decide.extend([
            b"key",
            key.as_bytes(),
            place.as_bytes(),
            self.gateway.as_bytes(),
        ]);
        cache::key(decide)
    }

    async fn answer(
        &self,
        answering: impl Future<Output = Response>,
    ) -> Result<Response, GatewayRefusal> {
        match self.timeout {
            None => Ok(answering.await),
            Some(timeout) => tokio::time::timeout(timeout, answering)
                .await
                .map_err(|_| GatewayRefusal::Timeout),
        }
    }
}

/// Whether a body asks for a stream, a model's own or a Worker's.
fn streams(body: &Bytes) -> bool {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Input {
        stream: Value,
        inputs: Value,
    }
    let input: Input = serde_json::from_slice(body).unwrap_or_default();
    input.stream == true || input.inputs["stream"] == true
}

/// A whole number in a header.
fn number(headers: &HeaderMap, name: &'static str) -> Result<Option<u64>, GatewayRefusal> {
    let Some(value) = headers.get(name) else {
        return Ok(None);
    };
    let number = value.to_str().ok().and_then(|text| text.parse().ok());
    number.map(Some).ok_or(GatewayRefusal::Header(name))
}

/// An id of the form that the service's have: 26 letters and digits that begin with `01`.
fn log_id() -> String {
    let random = Uuid::new_v4().simple().to_string().to_uppercase();
    format!("01{}", &random[..24])
}
