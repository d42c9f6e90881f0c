//! `hearth serve`: the port, its connections, and an orderly end.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::ConnectInfo;
use catalog::Catalog;
use engine::Engine;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use ledger::Ledger;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::config::{Place, Server};
use crate::failure::Stop;
use crate::http_threads::HttpThreads;
use crate::loader::WeightLoader;

/// Time for a client to send the head of a request.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes that the head of a request may have.
const HEADER_MAX_BYTES: usize = 64 * 1024;
/// Connections at once; more wait in the system's backlog.
const CONNECTIONS_MAX: usize = 4096;
/// Time for running requests to end after a signal.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause after a failed accept (too many open files, for one), so that the loop does not spin.
const ACCEPT_RETRY_PAUSE: Duration = Duration::from_millis(50);

pub(crate) fn serve(server: Server, place: &Place, catalog: Arc<Catalog>) -> Result<(), Stop> {
    crate::memory::keep_together();
    let runtime = crate::runtime()?;
    let result = runtime.block_on(listen(server, place, catalog));
    // A load or a download that nobody waits for any more does not hold the exit up.
    runtime.shutdown_background();
    result
}

async fn listen(server: Server, place: &Place, catalog: Arc<Catalog>) -> Result<(), Stop> {
    let bound = bind(server, place, catalog).await?;
    // Who reads the announcement may ask for the end at once.
    let end = shutdown_signal();
    announce(bound.address, &bound.loader.summary());
    bound.run(end).await;
    Ok(())
}

/// A server that has its port.
pub(crate) struct Bound {
    address: SocketAddr,
    listener: TcpListener,
    threads: HttpThreads,
    app: axum::Router,
    batches: api::BatchRunner,
    ledger: Option<Ledger>,
    loader: Arc<WeightLoader>,
}

impl Bound {
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves connections until `end`, then lets those that run come to their end.
    pub(crate) async fn run(self, end: impl Future<Output = ()>) {
        crate::memory::release(); // what a start takes on its way
        let batches = tokio::task::spawn(self.batches.run());
        accept(self.listener, &self.threads, self.app, end).await;
        batches.abort(); // the item that it is at is answered after the next start
        if let Some(ledger) = self.ledger
            && let Err(error) = ledger.flush()
        {
            tracing::error!("{error}");
        }
    }
}

/// Takes the port and starts the engine.
pub(crate) async fn bind(
    server: Server,
    place: &Place,
    catalog: Arc<Catalog>,
) -> Result<Bound, Stop> {
    let known = |name: &String| {
        catalog.card(name).is_some() || catalog.weights(name).is_some() || name == catalog::STUB
    };
    if let Some(name) = server.policy.pinned.iter().find(|name| !known(name)) {
        return Err(Stop::usage(format!(
            "--pin: {name} is neither a model nor a set of weights; `hearth list` shows all models"
        )));
    }
    let address = server.settings.listen;
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::AddrInUse => Stop::failed(format!(
                "{address} is taken by another program (perhaps another hearth: `hearth ps`).\n\
             Choose another port with --listen {}:{}",
                address.ip(),
                address.port().wrapping_add(1)
            )),
            _ => Stop::failed(format!("cannot listen on {address}: {error}")),
        })?;
    let address = listener
        .local_addr()
        .map_err(|error| Stop::failed(format!("cannot listen on {address}: {error}")))?;
    let loader = Arc::new(WeightLoader::new(place, catalog.clone())?);
    let device = place.device.to_string();
    let policy = engine::Policy {
        budget_bytes: Some(place.memory_bytes),
        ..server.policy
    };
    let engine = Engine::with_policy(loader.clone(), &device, policy)
        .map_err(|failure| Stop::failed(failure.to_string()))?;
    preload(&engine, server.preload);
    let ledger = crate::records::open(&server.records, place)?;
    let settings = api::Settings {
        listen: address,
        ledger: ledger.clone(),
        threads: Some(place.threads),
        ..server.settings
    };
    let (app, batches) = api::app_and_batches(engine, catalog, settings);
    Ok(Bound {
        address,
        listener,
        threads: HttpThreads::start()?,
        app,
        batches,
        ledger,
        loader,
    })
}

fn announce(address: SocketAddr, weights: &[String]) {
    let version = env!("CARGO_PKG_VERSION");
    let mut text = format!(
        "hearth {version} listens on http://{address}\n  \
         REST base  http://{address}/client/v4/accounts/<any id>/ai/run/<model>\n"
    );
    for line in weights {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {line}");
    }
    if let Err(stop) = crate::output::text(text) {
        tracing::warn!("{stop}"); // who cannot be told can still be served
    }
}

fn preload(engine: &Engine, models: Vec<String>) {
    let engine = engine.clone();
    tokio::task::spawn(async move {
        for model in models {
            if let Err(failure) = engine.preload(&model).await {
                tracing::error!("preload {model}: {failure}");
            }
        }
    });
}

async fn accept(
    listener: TcpListener,
    threads: &HttpThreads,
    app: axum::Router,
    end: impl Future<Output = ()>,
) {
    let mut http = auto::Builder::new(TokioExecutor::new()).http1_only();
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_TIMEOUT)
        .max_buf_size(HEADER_MAX_BYTES);
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut end = std::pin::pin!(end);
    loop {
        let place = tokio::select! {
            place = places.clone().acquire_owned() => match place {
                Ok(place) => place,
                Err(_) => break, // the semaphore is never closed
            },
            () = &mut end => break,
        };
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!("accept: {error}");
                    tokio::time::sleep(ACCEPT_RETRY_PAUSE).await;
                    continue;
                }
            },
            () = &mut end => break,
        };
        let _ = stream.set_nodelay(true); // a stream's frames go out as they are written
        // Who asks decides what may be asked without a token.
        let app = app.clone().layer(Extension(ConnectInfo(peer)));
        let service = TowerToHyperService::new(app);
        let (http, watcher) = (http.clone(), graceful.watcher());
        threads.serve(stream, async move |stream| {
            let _place = place;
            let connection = http.serve_connection(TokioIo::new(stream), service);
            if let Err(error) = watcher.watch(connection.into_owned()).await {
                tracing::debug!("connection: {error}");
            }
        });
    }
    drop(listener);
    tracing::info!("no new requests; waiting for those that run (at most {DRAIN_TIMEOUT:?})");
    tokio::select! {
        () = graceful.shutdown() => {}
        () = tokio::time::sleep(DRAIN_TIMEOUT) => tracing::warn!("some requests were cut off"),
        () = shutdown_signal() => tracing::warn!("a second signal: some requests were cut off"),
    }
}

/// Comes when the program is asked to end; listens from this call on, not only from when it is waited for.
fn shutdown_signal() -> impl Future<Output = ()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{Signal, SignalKind, signal};
        async fn come(signal: Option<Signal>) {
            match signal {
                Some(mut signal) => {
                    signal.recv().await;
                }
                None => std::future::pending().await,
            }
        }
        let [interrupt, terminate] =
            [SignalKind::interrupt(), SignalKind::terminate()].map(|kind| signal(kind).ok());
        async move {
            tokio::select! {
                () = come(interrupt) => {}
                () = come(terminate) => {}
            }
        }
    }
    #[cfg(not(unix))]
    async {
        let _ = tokio::signal::ctrl_c().await;
    }
}
