//! What the binary decides about the surface.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

/// The most bytes that a request's body may have, unless the settings say otherwise.
pub const BODY_LIMIT_BYTES: usize = 25 * 1024 * 1024;

/// How long a request waits for its model and its first event, and then for each further one,
/// unless the settings say otherwise (the service gives up after about the same time).
pub const REQUEST_TIMEOUT: Duration = Duration::from_mins(2);

/// What happens to names that the service has withdrawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeprecatedPolicy {
    /// They are answered, with a header and a line in the log that say so.
    Serve,
    /// They are refused with 5028, as the service does.
    Refuse,
}

/// The plan of the account that this server takes every caller for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// Every model answers.
    Paid,
    /// Models that the service keeps for paying accounts are refused with 5035.
    Free,
}

/// The settings of the HTTP surface.
#[derive(Clone)]
#[allow(clippy::struct_excessive_bools)] // each is a switch of its own
pub struct Settings {
    /// The one token that is accepted; `None` accepts any that is not empty.
    pub token: Option<String>,
    /// Answer requests without any auth header, too.
    pub no_auth: bool,
    /// What happens to deprecated names.
    pub deprecated: DeprecatedPolicy,
    /// The plan of every caller.
    pub plan: Plan,
    /// Refuse with 4006 when the free plan's neurons of a day are used up.
    pub quota: bool,
    /// Refuse with 3021 above the service's requests a minute.
    pub rate_limits: bool,
    /// Refuse models whose licence was not agreed to (5016), and those that only invited accounts may
    /// ask (5018).
    pub gates: bool,
    /// Where the server listens; its address is a Host that is accepted.
    pub listen: SocketAddr,
    /// Further names that a Host header may have.
    pub allow_hosts: Vec<String>,
    /// The most bytes that a request's body may have.
    pub body_limit_bytes: usize,
    /// How long a request waits for its next event.
    pub request_timeout: Duration,
    /// Where batches, usage and fine-tunes are kept; `None`: they are refused, and nothing is counted.
    pub ledger: Option<ledger::Ledger>,
    /// Threads that compute on the CPU, to be told; `None`: not known.
    pub threads: Option<usize>,
}

impl Settings {
    /// The defaults for a server that listens on `listen`.
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            token: None,
            no_auth: false,
            deprecated: DeprecatedPolicy::Serve,
            plan: Plan::Paid,
            quota: false,
            rate_limits: false,
            gates: false,
            listen,
            allow_hosts: Vec::new(),
            body_limit_bytes: BODY_LIMIT_BYTES,
            request_timeout: REQUEST_TIMEOUT,
            ledger: None,
            threads: None,
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("token", &self.token.as_ref().map(|_| "(hidden)"))
            .field("no_auth", &self.no_auth)
            .field("deprecated", &self.deprecated)
            .field("plan", &self.plan)
            .field("quota", &self.quota)
            .field("rate_limits", &self.rate_limits)
            .field("gates", &self.gates)
            .field("listen", &self.listen)
            .field("allow_hosts", &self.allow_hosts)
            .field("body_limit_bytes", &self.body_limit_bytes)
            .field("request_timeout", &self.request_timeout)
            .field("threads", &self.threads)
            .field("ledger", &self.ledger.as_ref().map(ledger::Ledger::folder))
            .finish()
    }
}
