//! Which Host headers are answered. A page of a foreign site can point its own name at this machine
//! (DNS rebinding) and would then read the answers; it cannot choose the name in the Host header.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::errors::Denial;
use crate::{App, Settings};

/// The name that a Worker's binding asks.
const BINDING_HOST: &str = "workers-binding.ai";

/// Refuses requests for other hosts.
pub(crate) async fn check(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let headers = request.headers().get_all(header::HOST).iter();
    let mut hosts: Vec<_> = headers
        .map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned())
        .collect();
    hosts.extend(request.uri().host().map(str::to_owned));
    let foreign = hosts.iter().find(|host| !is_served(host, &app.settings));
    match foreign {
        Some(host) => Denial::ForeignHost(host.clone()).into_response(),
        None if hosts.is_empty() => Denial::ForeignHost(String::new()).into_response(),
        None => next.run(request).await,
    }
}

fn is_served(host: &str, settings: &Settings) -> bool {
    let name = without_port(host)
        .trim_end_matches('.')
        .to_ascii_lowercase();
    if let Ok(address) = name.parse::<IpAddr>() {
        let own = settings.listen.ip();
        // Behind 0.0.0.0 any of the machine's addresses may be asked; an address is no name that
        // another site could rebind.
        if address.is_loopback() || address == own || own.is_unspecified() {
            return true;
        }
    }
    name == "localhost"
        || name.ends_with(".localhost")
        || name == BINDING_HOST
        || settings.allow_hosts.iter().any(|allowed| {
            let allowed = without_port(allowed).trim_end_matches('.');
            allowed.eq_ignore_ascii_case(&name)
        })
}

/// The host of `host:port`, `[v6]:port` or either without a port.
fn without_port(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split_once(']').map_or(host, |(address, _)| address);
    }
    match host.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') && port.bytes().all(|b| b.is_ascii_digit()) => {
            name
        }
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_own_and_allowed_names_are_served_and_no_other() {
        let settings = Settings {
            allow_hosts: vec!["Hearth.Lan".into()],
            ..Settings::new(([192, 168, 1, 5], 7777).into())
        };
        for host in [
            "localhost",
            "LOCALHOST:7777",
            "localhost.",
            "api.localhost",
            "127.0.0.1:7777",
            "127.8.8.8",
            "[::1]:7777",
            "::1",
            "192.168.1.5:7777",
            "hearth.lan:80",
            "workers-binding.ai",
        ] {
            assert!(is_served(host, &settings), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:7777",
            "localhost.evil.example",
            "notlocalhost",
            "192.168.1.6",
            "[::2]",
            "127.0.0.1.evil.example",
            "127.0.0.1:80:evil",
            "[::1",
        ] {
            assert!(!is_served(host, &settings), "{host}");
        }
        let everywhere = Settings::new(([0, 0, 0, 0], 7777).into());
        assert!(is_served("10.1.2.3:7777", &everywhere));
        assert!(!is_served("evil.example", &everywhere));
    }
}
