//! Who may ask: the auth headers of the service, or, on the wires of the binding, which have none, the
//! machine itself.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::errors::Denial;
use crate::gateway::{self, GatewayRefusal};
use crate::{App, Settings, binding};

const EMAIL: &str = "x-auth-email";
const KEY: &str = "x-auth-key";
/// The token of a gateway that has one of its own.
const GATEWAY_TOKEN: &str = "cf-aig-authorization";
/// What a proxy adds in front of a server.
const PROXY_MARKS: [&str; 3] = ["forwarded", "x-forwarded-for", "via"];

/// Refuses requests without the right to ask. Pages of hearth's own ask for a token only where one
/// is configured; the service's paths always want one, as the service does. The binding's requests
/// carry none: where one is configured, those of this machine are answered all the same, others need
/// it.
pub(crate) async fn check(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let is_guarded = if binding::is_without_auth(path) {
        app.settings.token.is_some() && !is_version_page(&request) && !is_of_this_machine(&request)
    } else {
        app.settings.token.is_some() || path.starts_with("/client/") || gateway::is_path(path)
    };
    if is_guarded && let Err(denial) = admit(path, request.headers(), &app.settings) {
        if gateway::is_path(path) {
            return GatewayRefusal::Unauthorized.into_response();
        }
        return match denial {
            // wrangler explains this code of its proxy route, and no other.
            Denial::BadAuth if binding::wire::is_proxy_path(path) => Denial::BadProxyAuth,
            denial => denial,
        }
        .into_response();
    }
    next.run(request).await
}

fn is_version_page(request: &Request) -> bool {
    request.uri().path() == "/" && !binding::wire::asks_remote(request)
}

/// Whether the peer is this machine itself, and no proxy that stands here for others.
fn is_of_this_machine(request: &Request) -> bool {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let headers = request.headers();
    peer.is_some_and(|ConnectInfo(peer)| peer.ip().to_canonical().is_loopback())
        && !PROXY_MARKS.iter().any(|mark| headers.contains_key(*mark))
}

fn admit(path: &str, headers: &HeaderMap, settings: &Settings) -> Result<(), Denial> {
    if settings.no_auth {
        return Ok(());
    }
    let given = given(path, headers)?;
    match &settings.token {
        Some(token) if !is_same(token.as_bytes(), given) => Err(Denial::BadAuth),
        _ => Ok(()),
    }
}

/// The token or key that a request brings. A gateway has its own header for its token, beside which the other is
/// for whoever is behind it.
pub(crate) fn given<'a>(path: &str, headers: &'a HeaderMap) -> Result<&'a [u8], Denial> {
    let token = headers.get(header::AUTHORIZATION);
    let of_gateway = headers
        .get(GATEWAY_TOKEN)
        .filter(|_| gateway::is_path(path));
    let given = if let Some(value) = of_gateway.or(token) {
        bearer(value.as_bytes())
    } else if let (Some(email), Some(key)) = (headers.get(EMAIL), headers.get(KEY)) {
        Some(key.as_bytes()).filter(|_| !email.is_empty())
    } else {
        return Err(Denial::NoAuth);
    };
    given
        .filter(|given| !given.is_empty())
        .ok_or(Denial::BadAuth)
}

/// The token of `Bearer <token>`.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(b"bearer ".len())?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then(|| token.trim_ascii())
}

/// Compares in a time that depends on the lengths only, so that a token cannot be guessed byte by
/// byte.
fn is_same(token: &[u8], given: &[u8]) -> bool {
    let mut difference = usize::from(token.len() != given.len());
    for (index, byte) in token.iter().enumerate() {
        difference |= usize::from(byte ^ given.get(index).unwrap_or(&0));
    }
    std::hint::black_box(difference) == 0
}
