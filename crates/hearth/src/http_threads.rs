//! The threads that serve connections, each with a runtime of its own, on which a connection stays.
//!
//! A runtime that shares its tasks among threads wakes a second one whenever an event comes while all of them sleep, to see
//! whether there is more to do. A stream has such an event for each token: two threads were woken for it, and one found nothing.

use std::convert::Infallible;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::failure::Stop;

/// Threads at most: each takes four file descriptors, and the models have the processors.
const THREADS_MAX: usize = 8;

/// Threads that serve connections until this is dropped; what they are at is broken off then.
pub(crate) struct HttpThreads(Vec<HttpThread>);

struct HttpThread {
    runtime: Handle,
    /// Shared with each of the thread's connections, which so are counted.
    connections: Arc<()>,
    /// The thread ends when it is dropped.
    _end: oneshot::Sender<Infallible>,
}

impl HttpThreads {
    /// Starts as many threads as the machine has processors for this program, and [`THREADS_MAX`] at most; fewer where
    /// the system gives no more.
    ///
    /// # Errors
    /// Where the system gives none.
    pub(crate) fn start() -> Result<Self, Stop> {
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        let mut threads = vec![HttpThread::start(0)?];
        for number in 1..count.min(THREADS_MAX) {
            match HttpThread::start(number) {
                Ok(thread) => threads.push(thread),
                Err(stop) => {
                    tracing::warn!("{stop}; {number} serve");
                    break;
                }
            }
        }
        Ok(Self(threads))
    }

    /// Has the thread with the fewest connections serve one more: what `serve` makes of it there, to its end. A
    /// connection that cannot be handed over is closed.
    pub(crate) fn serve<C: Future<Output = ()> + Send + 'static>(
        &self,
        stream: TcpStream,
        serve: impl FnOnce(TcpStream) -> C + Send + 'static,
    ) {
        let load = |thread: &&HttpThread| Arc::strong_count(&thread.connections);
        let Some(thread) = self.0.iter().min_by_key(load) else {
            return;
        };
        // Off the runtime that has accepted it, which would be woken for it otherwise.
        let stream = match stream.into_std() {
            Ok(stream) => stream,
            Err(error) => return tracing::warn!("a connection was lost: {error}"),
        };
        let counted = thread.connections.clone();
        thread.runtime.spawn(async move {
            match TcpStream::from_std(stream) {
                Ok(stream) => serve(stream).await,
                Err(error) => tracing::warn!("a connection was lost: {error}"),
            }
            drop(counted);
        });
    }
}

impl HttpThread {
    fn start(number: usize) -> Result<Self, Stop> {
        let no_thread = |error| Stop::failed(format!("no thread for connections: {error}"));
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(no_thread)?;
        let (end, ended) = oneshot::channel::<Infallible>();
        let handle = runtime.handle().clone();
        std::thread::Builder::new()
            .name(format!("http-{number}"))
            .spawn(move || {
                let Err(_) = runtime.block_on(ended); // nothing is ever sent
                // A load that nobody waits for any more does not hold the exit up.
                runtime.shutdown_background();
            })
            .map_err(no_thread)?;
        Ok(Self {
            runtime: handle,
            connections: Arc::default(),
            _end: end,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream as Client};
    use std::sync::Mutex;
    use std::time::Duration;

    use super::*;

    /// Names of the threads that have served.
    type Seen = Arc<Mutex<BTreeSet<String>>>;

    fn threads(count: usize) -> HttpThreads {
        let threads = (0..count).map(HttpThread::start);
        HttpThreads(threads.collect::<Result<_, _>>().expect("threads"))
    }

    /// Sends back what comes, until it ends.
    async fn echo(stream: TcpStream, seen: Seen) {
        let mut byte = [0];
        loop {
            stream.readable().await.expect("a stream");
            match stream.try_read(&mut byte) {
                Ok(1) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
                _ => return,
            }
            let name = std::thread::current().name().map(str::to_owned);
            seen.lock().expect("a lock").extend(name);
            assert_eq!(stream.try_write(&byte).expect("written"), 1);
        }
    }

    /// A connection that is served.
    fn connect(threads: &HttpThreads, listener: &TcpListener, seen: &Seen) -> Client {
        let address = listener.local_addr().expect("an address");
        let client = Client::connect(address).expect("connected");
        let timeout = Some(Duration::from_secs(30));
        client.set_read_timeout(timeout).expect("a timeout");
        let (stream, _) = listener.accept().expect("accepted");
        stream.set_nonblocking(true).expect("not blocking");
        let stream = TcpStream::from_std(stream).expect("a stream");
        let seen = seen.clone();
        threads.serve(stream, |stream| echo(stream, seen));
        client
    }

    fn ask(client: &mut Client) {
        client.write_all(b"x").expect("written");
        let mut byte = [0];
        client.read_exact(&mut byte).expect("read");
        assert_eq!(&byte, b"x");
    }

    fn counts(threads: &HttpThreads) -> Vec<usize> {
        let counts = threads.0.iter();
        let mut counts: Vec<_> = counts
            .map(|thread| Arc::strong_count(&thread.connections) - 1)
            .collect();
        counts.sort_unstable();
        counts
    }

    #[tokio::test]
    async fn connections_are_shared_among_the_threads_and_stay_where_they_are() {
        let threads = threads(3);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let seen = Seen::default();
        let mut clients: Vec<_> = (0..3)
            .map(|_| connect(&threads, &listener, &seen))
            .collect();
        clients.iter_mut().for_each(ask);
        assert_eq!(seen.lock().expect("a lock").len(), 3);
        for client in &mut clients {
            seen.lock().expect("a lock").clear();
            for _ in 0..8 {
                ask(client);
            }
            assert_eq!(seen.lock().expect("a lock").len(), 1);
        }
        // The place of one that has ended is free.
        drop(clients.pop());
        let freed = async {
            while counts(&threads) != [0, 1, 1] {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let freed = tokio::time::timeout(Duration::from_secs(30), freed).await;
        freed.expect("a free place");
        clients.push(connect(&threads, &listener, &seen));
        assert_eq!(counts(&threads), [1, 1, 1]);
    }

    #[tokio::test]
    async fn what_is_left_is_broken_off_at_the_end() {
        let threads = threads(1);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let mut client = connect(&threads, &listener, &Seen::default());
        ask(&mut client);
        drop(threads);
        let read = client.read(&mut [0]);
        let is_waiting = |error: &std::io::Error| error.kind() == std::io::ErrorKind::WouldBlock;
        assert!(!read.is_err_and(|error| is_waiting(&error)));
    }
}
