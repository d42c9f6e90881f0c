//! Requests to the hub and to where it sends us: on a thread of their own, so that a wait has an end.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use ureq::http::{HeaderMap, Uri};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig};
use ureq::{Agent, Proxy};

use crate::hub::address;
use crate::hub::hub_error::{HubError, Trouble};
use crate::hub::options::{HubOptions, Secret};
use crate::progress::Progress;

/// Bytes read at once.
const READ_BYTES: usize = 128 * 1024;
/// Reads that wait to be written. With the two at hand, less than a mebibyte is not yet in the file, which is what
/// a killed run loses at most.
const READS_WAITING: usize = 4;
/// How often a wait looks whether the caller wants to stop.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Redirects followed for one request.
const REDIRECTS_MAX: usize = 5;
/// What a thread waits longer than its reader, so that the reader tells of a stall first.
const THREAD_GRACE: Duration = Duration::from_secs(1);

/// How the standard library tells that a name has no address.
const LOOKUP_FAILED: &str = "failed to lookup address information";

/// The way to one endpoint.
pub(crate) struct Client<'a> {
    agent: Agent,
    endpoint: Uri,
    options: &'a HubOptions,
    http_proxy: Option<Proxy>,
    https_proxy: Option<Proxy>,
}

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ask {
    /// What the file is: the answer of the endpoint itself, be it a redirect to another host.
    Head,
    /// The file's bytes from this one on, wherever they are.
    Bytes(u64),
}

/// An answer, its body still to come.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// The headers of the endpoint's own answer, which may have sent us on.
    pub(crate) hub: HeaderMap,
    pub(crate) url: Uri,
    events: Receiver<Event>,
    stall: Duration,
}

enum Event {
    Head(u16, HeaderMap),
    Bytes(Vec<u8>),
    End,
    Failed(HubError),
}

impl<'a> Client<'a> {
    pub(crate) fn new(options: &'a HubOptions) -> Result<Self, HubError> {
        let endpoint = address::parse(&options.endpoint)?;
        let mut tls = TlsConfig::builder();
        if let Some(file) = &options.extra_roots {
            let wrong = |what: &str| HubError::Setting {
                what: format!("SSL_CERT_FILE, {}: {what}", file.display()),
            };
            let text = std::fs::read(file).map_err(|error| wrong(&error.to_string()))?;
            tls = tls.root_certs(roots(&text).ok_or_else(|| wrong("holds no certificate"))?);
        }
        let thread_limit = options.stall + THREAD_GRACE;
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .timeout_resolve(Some(options.connect))
            .timeout_connect(Some(options.connect))
            .timeout_per_read(Some(thread_limit))
            .timeout_per_write(Some(thread_limit))
            .user_agent(concat!("hearth/", env!("CARGO_PKG_VERSION")))
            .tls_config(tls.build())
            .build();
        Ok(Self {
            agent: config.into(),
            endpoint,
            options,
            http_proxy: proxy("HTTP_PROXY", options.http_proxy.as_ref())?,
            https_proxy: proxy("HTTPS_PROXY", options.https_proxy.as_ref())?,
        })
    }

    /// Asks, and follows redirects.
    pub(crate) fn ask(
        &self,
        ask: Ask,
        url: &str,
        progress: &dyn Progress,
    ) -> Result<Answer, Trouble> {
        let mut url = address::parse(url)?;
        let mut hub = HeaderMap::new();
        for _ in 0..=REDIRECTS_MAX {
            let (status, headers, events) = self.send(ask, &url, progress)?;
            // What the endpoint once said of the file counts, also where its storage has the same origin.
            if address::same_origin(&url, &self.endpoint) && !hub.contains_key("x-repo-commit") {
                hub.clone_from(&headers);
            }
            let told = hub.contains_key("x-repo-commit")
                && (hub.contains_key("x-linked-etag") || hub.contains_key("etag"));
            let is_redirect = matches!(status, 301 | 302 | 303 | 307 | 308);
            if is_redirect && !(matches!(ask, Ask::Head) && told) {
                let location = text(&headers, "location")
                    .ok_or_else(|| reply("a redirect without a place to go"))?;
                url = address::redirect(&url, location)?;
                continue;
            }
            return Ok(Answer {
                status,
                headers,
                hub,
                url,
                events,
                stall: self.options.stall,
            });
        }
        Err(reply("too many redirects").into())
    }

    /// One request on a thread of its own. Returns when the head of the answer is there.
    fn send(
        &self,
        ask: Ask,
        url: &Uri,
        progress: &dyn Progress,
    ) -> Result<(u16, HeaderMap, Receiver<Event>), Trouble> {
        let mut request = match ask {
            Ask::Head => self.agent.head(url.clone()),
            Ask::Bytes(_) => self.agent.get(url.clone()),
        }
        .header("accept-encoding", "identity");
        if let Ask::Bytes(from @ 1..) = ask {
            request = request.header("range", format!("bytes={from}-"));
        }
        if let Some(token) = &self.options.token
            && address::same_origin(url, &self.endpoint)
        {
            request = request.header("authorization", format!("Bearer {}", token.reveal()));
        }
        let request = request.config().proxy(self.proxy_for(url)).build();
        let (sender, events) = sync_channel(READS_WAITING);
        let stall = self.options.stall;
        // Its end is known: each of its waits has a limit, and it stops when nobody listens any more.
        std::thread::Builder::new()
            .name("hub".to_owned())
            .spawn(move || match request.call() {
                Ok(answer) => {
                    let (head, body) = answer.into_parts();
                    if sender
                        .send(Event::Head(head.status.as_u16(), head.headers))
                        .is_ok()
                    {
                        pass_on(body.into_with_config().limit(u64::MAX).reader(), &sender);
                    }
                }
                Err(error) => drop(sender.send(Event::Failed(explain(error, stall)))),
            })
            .map_err(|error| reply(&format!("no thread for a request: {error}")))?;
        let limit = self.options.stall + self.options.connect * 2;
        match wait(&events, limit, progress)? {
            Event::Head(status, headers) => Ok((status, headers, events)),
            Event::Failed(error) => Err(error.into()),
            Event::Bytes(_) | Event::End => Err(reply("bytes before the head").into()),
        }
    }

    fn proxy_for(&self, url: &Uri) -> Option<Proxy> {
        let host = url.host().unwrap_or_default();
        if address::is_direct(&self.options.no_proxy, host) {
            return None;
        }
        match url.scheme_str() {
            Some("https") => self.https_proxy.clone(),
            _ => self.http_proxy.clone(),
        }
    }
}

impl Answer {
    /// A header's text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        text(&self.headers, name)
    }

    /// The next bytes; `None` at the end.
    pub(crate) fn next(&self, progress: &dyn Progress) -> Result<Option<Vec<u8>>, Trouble> {
        match wait(&self.events, self.stall, progress)? {
            Event::Bytes(bytes) => Ok(Some(bytes)),
            Event::End => Ok(None),
            Event::Failed(error) => Err(error.into()),
            Event::Head(..) => Err(reply("two heads").into()),
        }
    }
}

pub(crate) fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn wait(
    events: &Receiver<Event>,
    limit: Duration,
    progress: &dyn Progress,
) -> Result<Event, Trouble> {
    let began = Instant::now();
    loop {
        if progress.cancelled() {
            return Err(Trouble::Cancelled);
        }
        let left = limit.saturating_sub(began.elapsed());
        match events.recv_timeout(left.min(LOOK_EVERY)) {
            Ok(event) => return Ok(event),
            Err(RecvTimeoutError::Timeout) if left.is_zero() => {
                return Err(HubError::Stalled { limit }.into());
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(cut("no end was told").into()),
        }
    }
}

/// Gives what is read to the waiting reader, until one of them ends.
fn pass_on(mut body: impl Read, sender: &SyncSender<Event>) {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let event = match body.read(&mut buffer) {
            Ok(0) => Event::End,
            Ok(read) => Event::Bytes(buffer[..read].to_vec()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Event::Failed(cut(&error.to_string())),
        };
        let last = !matches!(event, Event::Bytes(_));
        if sender.send(event).is_err() || last {
            return;
        }
    }
}

/// The authorities of a PEM file, beside those of Mozilla.
fn roots(pem: &[u8]) -> Option<RootCerts> {
    let extra: Vec<Certificate<'static>> = ureq::tls::parse_pem(pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if extra.is_empty() {
        return None;
    }
    let known = webpki_root_certs::TLS_SERVER_ROOT_CERTS
        .iter()
        .map(|der| Certificate::from_der(der.as_ref()).to_owned());
    Some(known.chain(extra).collect::<Vec<_>>().into())
}

fn proxy(name: &str, url: Option<&Secret>) -> Result<Option<Proxy>, HubError> {
    // The address may hold a password, so it is not shown.
    url.map(|url| Proxy::new(url.reveal()))
        .transpose()
        .map_err(|_| HubError::Setting {
            what: format!("{name} is no proxy's address, such as http://127.0.0.1:3128"),
        })
}

/// Why there is no answer.
fn explain(error: ureq::Error, stall: Duration) -> HubError {
    use io::ErrorKind::{
        AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkDown, NetworkUnreachable,
        PermissionDenied, TimedOut,
    };
    use ureq::{Error, Timeout};
    let detail = error.to_string();
    match error {
        Error::HostNotFound
        | Error::ConnectionFailed
        | Error::ConnectProxyFailed(_)
        | Error::Tls(_)
        | Error::Rustls(_)
        | Error::Timeout(Timeout::Resolve | Timeout::Connect) => HubError::Unreachable { detail },
        Error::Io(error)
            if matches!(
                error.kind(),
                AddrNotAvailable
                    | ConnectionRefused
                    | HostUnreachable
                    | NetworkDown
                    | NetworkUnreachable
                    | PermissionDenied
                    | TimedOut
            ) =>
        {
            HubError::Unreachable { detail }
        }
        // A name that is not known has no kind of its own in the standard library, only its words.
        Error::Io(error) if error.to_string().starts_with(LOOKUP_FAILED) => {
            HubError::Unreachable { detail }
        }
        // rustls wraps its own errors in those of a stream.
        Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
            HubError::Unreachable { detail }
        }
        Error::Timeout(_) => HubError::Stalled { limit: stall },
        Error::Protocol(_) | Error::LargeResponseHeader(..) => reply(&detail),
        _ => cut(&detail),
    }
}

fn cut(detail: &str) -> HubError {
    HubError::Cut {
        detail: detail.to_owned(),
    }
}

fn reply(what: &str) -> HubError {
    HubError::Reply {
        what: what.to_owned(),
    }
}
