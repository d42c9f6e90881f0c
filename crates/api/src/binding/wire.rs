//! Requests of the binding that come packed into another request.
//!
//! Two development tools do so, each in its own way: Miniflare's remote proxy sends any method to `/`
//! with the URL in `MF-URL` and every header renamed to `MF-Header-<name>`; wrangler 3 and early 4 send
//! to the service's API, `/accounts/{id}/ai/run/proxy`, with the URL in `X-Forwarded`. Both are
//! unpacked once, before a route is looked for; what they hold is answered as if it had come as it is.

use axum::extract::Request;
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::is_path;
use crate::errors::Denial;

/// The URL that was asked, on the wire of Miniflare's proxy.
const MF_URL: &str = "mf-url";
/// In front of the name of every header that was sent, on that wire.
const MF_HEADER: &str = "mf-header-";
/// The binding's name, as a header or, where a WebSocket is asked for, in the query.
const MF_BINDING: &str = "mf-binding";
/// The URL that was asked, on the wire of wrangler's proxy.
const X_FORWARDED: &str = "x-forwarded";

/// Headers of the outer request that hold for the inner one: how its body is framed, and the host,
/// which has been checked.
const KEPT: [HeaderName; 3] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
];
/// Headers of the outer request that are no business of the inner one.
const DROPPED: [&str; 4] = ["authorization", "x-auth-email", "x-auth-key", X_FORWARDED];

/// Unpacks a packed request; passes any other on.
pub(crate) async fn unpack(mut request: Request, next: Next) -> Response {
    let unpacked = if asks_remote(&request) {
        of_miniflare(&mut request)
    } else if is_proxy_path(request.uri().path()) && request.headers().contains_key(X_FORWARDED) {
        of_wrangler(&mut request)
    } else {
        return next.run(request).await;
    };
    match unpacked {
        Ok(()) => next.run(request).await,
        Err(denial) => denial.into_response(),
    }
}

/// Whether the request is of Miniflare's proxy. A plain `GET /` is not: it is the version page.
pub(crate) fn asks_remote(request: &Request) -> bool {
    let headers = request.headers();
    let query = request.uri().query().unwrap_or_default();
    request.uri().path() == "/"
        && (headers.contains_key(MF_URL)
            || headers.contains_key(MF_BINDING)
            || form_urlencoded::parse(query.as_bytes())
                .any(|(name, _)| name.eq_ignore_ascii_case(MF_BINDING)))
}

fn of_miniflare(request: &mut Request) -> Result<(), Denial> {
    // Its RPC over a WebSocket has no URL: there is nothing of that kind here, and its client goes on
    // without.
    let url = request.headers().get(MF_URL);
    let url = url.ok_or_else(|| Denial::NoRoute("/".into()))?.clone();
    let inner = request.headers().iter().filter_map(|(name, value)| {
        let name = name.as_str().strip_prefix(MF_HEADER)?;
        Some((HeaderName::try_from(name).ok()?, value.clone()))
    });
    let mut headers: HeaderMap = HeaderMap::new();
    for (name, value) in inner.filter(|(name, _)| !KEPT.contains(name)) {
        headers.append(name, value);
    }
    for name in KEPT {
        for value in request.headers().get_all(&name) {
            headers.append(&name, value.clone());
        }
    }
    *request.headers_mut() = headers;
    set_path(request, &url)
}

/// `/client/v4/accounts/{id}/ai/run/proxy`.
pub(crate) fn is_proxy_path(path: &str) -> bool {
    path.strip_prefix("/client/v4/accounts/")
        .and_then(|path| path.split_once('/'))
        .is_some_and(|(account, rest)| !account.is_empty() && rest == "ai/run/proxy")
}

fn of_wrangler(request: &mut Request) -> Result<(), Denial> {
    let headers = request.headers_mut();
    let url = headers.remove(X_FORWARDED);
    for name in DROPPED {
        headers.remove(name);
    }
    set_path(
        request,
        &url.unwrap_or_else(|| HeaderValue::from_static("/")),
    )
}

/// Makes the path and query of `url` those of the request. Only the binding's own paths can be asked
/// so: these wires carry no token, and pages that want one stay behind it.
fn set_path(request: &mut Request, url: &HeaderValue) -> Result<(), Denial> {
    let no_route = |path: &str| Denial::NoRoute(path.to_owned());
    let shown = String::from_utf8_lossy(url.as_bytes()).into_owned();
    let asked: Uri = shown.parse().map_err(|_| no_route(&shown))?;
    if !is_path(asked.path()) {
        return Err(no_route(asked.path()));
    }
    let path = asked
        .path_and_query()
        .map_or("/", PathAndQuery::as_str)
        .parse();
    *request.uri_mut() = path.map_err(|_| no_route(&shown))?;
    Ok(())
}

/// Whether the request asks for a WebSocket.
pub(super) fn upgrades(method: &Method, headers: &HeaderMap) -> bool {
    let upgrade = headers.get(header::UPGRADE).map(HeaderValue::as_bytes);
    method == Method::GET && upgrade.is_some_and(|value| value.eq_ignore_ascii_case(b"websocket"))
}
