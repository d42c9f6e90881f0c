//! `hearth doctor`: what this machine has, what is wrong with it, and what to do.

mod machine;
mod models;
mod network;
mod weights_here;

use std::fmt::Write as _;
use std::net::SocketAddr;

use catalog::Catalog;
use serde_json::{Value, json};

use crate::config::{Place, Server};
use crate::failure::Stop;
use crate::{loader, output};

pub(crate) use models::models;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ok,
    /// It works, but less well than it could, or not for everything.
    Warn,
    /// It does not work.
    Fail,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One check: what was found, and what to do where that is not well.
#[derive(Debug)]
struct Finding {
    check: &'static str,
    state: State,
    found: String,
    advice: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self {
            check,
            state: State::Ok,
            found: found.into(),
            advice: None,
        }
    }

    fn warn(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            check,
            state: State::Warn,
            found: found.into(),
            advice: Some(advice.into()),
        }
    }

    fn fail(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            check,
            state: State::Fail,
            found: found.into(),
            advice: Some(advice.into()),
        }
    }
}

/// What the doctor looks at.
pub(crate) struct Patient<'a> {
    pub(crate) place: &'a Place,
    pub(crate) catalog: &'a Catalog,
    /// What `serve` would start with, or why it would not.
    pub(crate) server: Result<Server, Stop>,
    /// Where `serve` would listen.
    pub(crate) listen: SocketAddr,
}

/// # Errors
/// When a check failed.
pub(crate) fn doctor(patient: &Patient<'_>, as_json: bool) -> Result<(), Stop> {
    let store = loader::open_store(patient.place);
    let mut findings = vec![machine::version(), configuration(&patient.server)];
    findings.extend(machine::device(patient.place.device));
    findings.extend([
        machine::processor(),
        machine::threads(patient.place.threads),
        machine::memory(),
    ]);
    findings.extend([weights_here::folder(&store), weights_here::room(&store)]);
    findings.push(weights_here::sets(
        &store,
        patient.catalog,
        patient.place.offline,
    ));
    findings.extend(network::sources(&store, patient.place.offline));
    findings.push(network::port(patient.listen));
    print(&findings, as_json)?;
    let failed: Vec<&str> = findings
        .iter()
        .filter(|finding| finding.state == State::Fail)
        .map(|finding| finding.check)
        .collect();
    if failed.is_empty() {
        return Ok(());
    }
    Err(Stop::failed(format!("not well: {}", failed.join(", "))))
}

fn configuration(server: &Result<Server, Stop>) -> Finding {
    match server {
        Ok(_) => Finding::ok("configuration", "holds together; `hearth config` shows it"),
        Err(stop) => Finding::fail(
            "configuration",
            stop.to_string(),
            "correct it; `hearth config` shows where each value comes from",
        ),
    }
}

fn print(findings: &[Finding], as_json: bool) -> Result<(), Stop> {
    if as_json {
        let rows = findings
            .iter()
            .map(|finding| {
                json!({
                    "check": finding.check,
                    "state": finding.state.word(),
                    "found": finding.found,
                    "advice": finding.advice,
                })
            })
            .collect();
        return output::json(&Value::Array(rows));
    }
    let mut shown = String::new();
    for finding in findings {
        let (state, check) = (finding.state.word(), finding.check);
        let found = finding.found.replace('\n', "\n                     ");
        // Writing to a String cannot fail.
        let _ = writeln!(shown, "{state:<4}  {check:<13}  {found}");
        if let Some(advice) = &finding.advice {
            let _ = writeln!(shown, "                     -> {advice}");
        }
    }
    output::text(shown)
}
