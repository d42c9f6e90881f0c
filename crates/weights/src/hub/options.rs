//! How the Hugging Face Hub is spoken to: values only; the binary reads them from the environment.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// The hub itself, where no mirror is named.
const ENDPOINT: &str = "https://huggingface.co";
/// A source that cannot be reached is given this long, for its name and for the connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// A transfer that brings no byte for this long is ended and taken up again.
const STALL_LIMIT: Duration = Duration::from_secs(30);
/// How often one file is tried without getting on; a mebibyte gained starts the count again.
const ATTEMPTS: u32 = 5;
/// The pause after the first failed attempt; it doubles with each further one.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest pause, also where the hub asks for a longer one.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// How the hub is spoken to.
#[derive(Debug, Clone)]
pub struct HubOptions {
    /// The hub or a mirror of it, such as `https://huggingface.co`; a path may follow the host.
    pub endpoint: String,
    /// The cache that Python's `huggingface_hub` shares; `None` keeps one of its own under the store's root.
    pub cache: Option<PathBuf>,
    /// Ask nothing of the hub, whatever the store may ask of others.
    pub offline: bool,
    /// Sent to the endpoint's own origin, and to no other.
    pub token: Option<Secret>,
    /// The proxy for `http` addresses, as a URL.
    pub http_proxy: Option<Secret>,
    /// The proxy for `https` addresses, as a URL.
    pub https_proxy: Option<Secret>,
    /// Hosts that are asked without a proxy, separated by commas; a name stands for the names under it too.
    pub no_proxy: String,
    /// A PEM file of certificate authorities that are trusted beside those of Mozilla.
    pub extra_roots: Option<PathBuf>,
    /// How long the name and the connection may take, each.
    pub connect: Duration,
    /// A transfer that brings no byte for this long is ended and taken up again.
    pub stall: Duration,
    /// How often one file is tried without getting on, at least once.
    pub attempts: u32,
    /// The pause after the first failed attempt; it doubles with each further one.
    pub pause: Duration,
    /// The longest pause, also where the hub asks for a longer one.
    pub longest_pause: Duration,
}

impl Default for HubOptions {
    fn default() -> Self {
        Self {
            endpoint: ENDPOINT.to_owned(),
            cache: None,
            offline: false,
            token: None,
            http_proxy: None,
            https_proxy: None,
            no_proxy: String::new(),
            extra_roots: None,
            connect: CONNECT_LIMIT,
            stall: STALL_LIMIT,
            attempts: ATTEMPTS,
            pause: PAUSE,
            longest_pause: LONGEST_PAUSE,
        }
    }
}

/// A text that no message and no log shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}
