//! What the hub, or what stands in for it, can answer wrongly: what it means and what to do next.

use std::time::Duration;

use crate::fetch_error::FetchError;

/// Why the hub did not bring a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// No connection, or none that can be trusted.
    #[error(
        "cannot be reached: {detail}; check the network and HF_ENDPOINT, HTTPS_PROXY, NO_PROXY and SSL_CERT_FILE"
    )]
    Unreachable {
        /// What the connection says.
        detail: String,
    },
    /// The licence must be accepted first, and the token be one of an account that did.
    #[error(
        "the hub gives it only to accounts that accepted its licence (status {status}): accept it on {page}, \
         then set HF_TOKEN to a token of that account"
    )]
    Gated {
        /// The HTTP status.
        status: u16,
        /// The model's page.
        page: String,
    },
    /// The hub wants a token, or another one.
    #[error(
        "the hub refused access (status {status}) {}; the repository may also not exist",
        if *token { "with the token that is set: renew HF_TOKEN, or unset it" } else { "without a token: set HF_TOKEN" }
    )]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Whether a token was sent.
        token: bool,
    },
    /// There is no such repository, revision or file.
    #[error("the hub has no such {what} (status 404): {url}")]
    NotFound {
        /// `repository`, `revision` or `file`.
        what: &'static str,
        /// What was asked for.
        url: String,
    },
    /// Too many requests.
    #[error("the hub asks for fewer requests (status 429); wait some minutes, or set HF_TOKEN")]
    TooMany {
        /// How long it wants to be left alone.
        after: Option<Duration>,
    },
    /// Any other status that brings no file.
    #[error("the answer has status {status}: {url}")]
    Status {
        /// The HTTP status.
        status: u16,
        /// What was asked for, without its query.
        url: String,
        /// How long it wants to be left alone.
        after: Option<Duration>,
    },
    /// A page where the file was promised.
    #[error(
        "a web page came where the file was promised: {url}; a login page of the network or a proxy is in between"
    )]
    LoginPage {
        /// What was asked for, without its query.
        url: String,
    },
    /// An answer that the hub's protocol does not know.
    #[error("the answer is not one of the hub: {what}; check HF_ENDPOINT and the proxy")]
    Reply {
        /// What is wrong with it.
        what: String,
    },
    /// Another number of bytes than was promised.
    #[error(
        "{have} bytes came or were announced where {want} were promised; nothing of it was kept"
    )]
    Length {
        /// Bytes promised.
        want: u64,
        /// Bytes that came, or more than them.
        have: u64,
    },
    /// The bytes are not the ones that the hub promised.
    #[error(
        "the hash is {have}, promised was {want}; nothing of it was kept. A mirror or proxy changes the file"
    )]
    Hash {
        /// The promised hash.
        want: String,
        /// The hash of what came.
        have: String,
    },
    /// The bytes after a resumed download are not the promised ones; the part that was there may be at fault.
    #[error("the resumed file is not the promised one; its part was dropped")]
    Part,
    /// The answer to a request for the rest of a file is not the rest.
    #[error(
        "the server answered a request for the rest of the file with {what}; the part was dropped"
    )]
    Range {
        /// What it answered.
        what: String,
    },
    /// The file changed while it was fetched.
    #[error("the file changed on the server while it was fetched")]
    Changed,
    /// Nothing came for too long.
    #[error("nothing came for {} ms; what came is kept for the next try", limit.as_millis())]
    Stalled {
        /// How long was waited.
        limit: Duration,
    },
    /// The connection ended early.
    #[error("the connection ended early ({detail}); what came is kept for the next try")]
    Cut {
        /// What the connection says.
        detail: String,
    },
    /// The configuration cannot be followed.
    #[error("{what}")]
    Setting {
        /// Which setting, and what is wrong with it.
        what: String,
    },
}

impl HubError {
    /// Whether another attempt may end better.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Status { status, .. } => *status >= 500 || *status == 408,
            Self::Unreachable { .. }
            | Self::TooMany { .. }
            | Self::Part
            | Self::Range { .. }
            | Self::Changed
            | Self::Length { .. }
            | Self::Stalled { .. }
            | Self::Cut { .. } => true,
            _ => false,
        }
    }

    /// How long the hub wants to be left alone.
    pub(crate) fn after(&self) -> Option<Duration> {
        match self {
            Self::TooMany { after } | Self::Status { after, .. } => *after,
            _ => None,
        }
    }
}

/// What ends a step of a fetch.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The hub, or the way to it.
    Hub(HubError),
    /// The caller asked to stop.
    Cancelled,
    /// This machine, or the catalogue's entry.
    Machine(FetchError),
}

impl From<HubError> for Trouble {
    fn from(error: HubError) -> Self {
        Self::Hub(error)
    }
}

impl From<FetchError> for Trouble {
    fn from(error: FetchError) -> Self {
        Self::Machine(error)
    }
}
