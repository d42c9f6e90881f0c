//! A running server, asked by another command.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use crate::args::At;
use crate::config::DEFAULT_LISTEN;
use crate::failure::Stop;

/// Time for an answer; unloading waits for the step that the device is in.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(1);

fn address(at: &At) -> SocketAddr {
    reachable(at.listen.unwrap_or(DEFAULT_LISTEN))
}

/// An address to ask: behind one that means all of the machine's, loopback answers.
pub(crate) fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(ANSWER_TIMEOUT))
        .proxy(None) // a server of this machine is not behind the way out
        .build()
        .into()
}

/// The JSON of a page.
pub(crate) fn get(at: &At, path: &str) -> Result<Value, Stop> {
    let request = agent()
        .get(format!("http://{}{path}", address(at)))
        .header("authorization", bearer(at));
    answer(at, request.call())
}

/// The JSON of the answer to some JSON.
pub(crate) fn post(at: &At, path: &str, body: &Value) -> Result<Value, Stop> {
    let request = agent()
        .post(format!("http://{}{path}", address(at)))
        .header("authorization", bearer(at))
        .header("content-type", "application/json");
    answer(at, request.send(body.to_string()))
}

fn bearer(at: &At) -> String {
    format!("Bearer {}", at.token.as_deref().unwrap_or("any"))
}

fn answer(
    at: &At,
    result: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
) -> Result<Value, Stop> {
    let address = address(at);
    let silent = |error| Stop::failed(format!("no hearth answers on {address}: {error}"));
    let mut response = result.map_err(silent)?;
    let text = response.body_mut().read_to_string().map_err(silent)?;
    let value: Value = serde_json::from_str(&text).map_err(|_| stranger(at))?;
    if response.status().is_success() {
        return Ok(value);
    }
    let message = value["error"]
        .as_str()
        .or(value["errors"][0]["message"].as_str());
    Err(Stop::failed(match message {
        Some(message) => format!("{address}: {message}"),
        None => format!("{address} answered {}", response.status()),
    }))
}

/// Something else listens there.
pub(crate) fn stranger(at: &At) -> Stop {
    Stop::failed(format!("{} is not a hearth", address(at)))
}
