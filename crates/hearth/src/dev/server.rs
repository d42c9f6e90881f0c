//! The server that the command asks: one that runs already, or one that lives as long as the command.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use catalog::Catalog;
use tasks::Grade;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::config::{Place, Server};
use crate::failure::Stop;
use crate::remote::reachable;
use crate::serve;

/// Time for requests that run when the command is over.
const END_TIMEOUT: Duration = Duration::from_secs(2);
/// Time for a server to say what it is.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// A server for the command.
pub(super) struct Dev {
    base: String,
    version: Option<String>,
    /// The server of this process, where there is one.
    own: Option<Own>,
}

/// A server in this process.
struct Own {
    runtime: Runtime,
    /// Dropped to end the server.
    end: oneshot::Sender<()>,
    running: JoinHandle<()>,
}

impl Drop for Dev {
    /// Ends the server. A load or a download in progress is not waited for: its command is over.
    fn drop(&mut self) {
        let Some(Own {
            runtime,
            end,
            running,
        }) = self.own.take()
        else {
            return;
        };
        drop(end);
        let ended = runtime.block_on(async { tokio::time::timeout(END_TIMEOUT, running).await });
        if ended.is_err() {
            tracing::warn!("some requests were cut off");
        }
        runtime.shutdown_background();
    }
}

impl Dev {
    /// The hearth that listens at the configured address, or one that is started here.
    ///
    /// # Errors
    /// When something else listens there, and when a new one was asked for and one runs already.
    pub(super) fn find_or_start(
        server: Server,
        place: &Place,
        catalog: Arc<Catalog>,
    ) -> Result<Self, Stop> {
        let address = server.settings.listen;
        let is_stub = place.wishes.grade == Some(Grade::Stub);
        let other = format!(
            "another port can be chosen with --listen {}:{}",
            address.ip(),
            address.port().wrapping_add(1)
        );
        match who_listens(reachable(address)) {
            Listener::Hearth(_) if is_stub => Err(Stop::usage(format!(
                "a stub is for a server that is started here, and a hearth listens on {address} \
                 already; {other}"
            ))),
            Listener::Hearth(version) => Ok(Self {
                base: format!("http://{}", reachable(address)),
                version: Some(version),
                own: None,
            }),
            Listener::Stranger => Err(Stop::failed(format!(
                "{address} is taken by a program that is no hearth; {other}"
            ))),
            Listener::Nobody => Self::start(server, place, catalog),
        }
    }

    fn start(server: Server, place: &Place, catalog: Arc<Catalog>) -> Result<Self, Stop> {
        crate::memory::keep_together();
        let runtime = crate::runtime()?;
        let bound = runtime.block_on(serve::bind(server, place, catalog))?;
        let address = bound.address();
        let (end, ended) = oneshot::channel::<()>();
        let running = runtime.spawn(bound.run(async {
            let _ = ended.await; // comes when the sender is dropped
        }));
        Ok(Self {
            base: format!("http://{}", reachable(address)),
            version: None,
            own: Some(Own {
                runtime,
                end,
                running,
            }),
        })
    }

    /// `http://address:port`.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// What serves, in words.
    pub(super) fn told(&self) -> String {
        match &self.version {
            None => format!("{}, started for this command", self.base),
            Some(version) => format!("{}, the hearth {version} that runs already", self.base),
        }
    }
}

enum Listener {
    Hearth(String),
    Stranger,
    Nobody,
}

fn who_listens(address: SocketAddr) -> Listener {
    if address.port() == 0 || std::net::TcpStream::connect_timeout(&address, ASK_TIMEOUT).is_err() {
        return Listener::Nobody;
    }
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(ASK_TIMEOUT))
        .proxy(None) // a server of this machine is not behind the way out
        .build()
        .into();
    let page = agent.get(format!("http://{address}/")).call();
    let text = page.and_then(|mut page| page.body_mut().read_to_string());
    let version = text.ok().and_then(|text| {
        let (version, _) = text.strip_prefix("hearth ")?.split_once(':')?;
        Some(version.to_owned())
    });
    version.map_or(Listener::Stranger, Listener::Hearth)
}
