//! A hub on loopback and its storage on another port, as far as a download needs them, with faults on demand.
#![allow(clippy::too_many_lines, clippy::needless_for_each)] // one reply a fault, in the order of the protocol

// Each test file uses its own part of it.
#![allow(dead_code)]

pub(crate) mod bench;

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha1::Sha1;
use sha2::{Digest, Sha256};

pub(crate) const REPOSITORY: &str = "acme/tiny";
/// A second repository; its files are those whose names here begin with its own.
pub(crate) const BESIDE: &str = "acme/beside";
pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What goes wrong with one request. A fault that does not fit the request waits for one that it fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// The request is answered well; for a place in a row.
    Nothing,
    /// Nothing is answered, for as long as the client waits.
    Silence,
    /// The connection closes without an answer.
    HangUp,
    /// Bytes that are no HTTP.
    Noise,
    Status(u16),
    /// 200 and a page.
    LoginPage,
    /// A redirect to a page on another origin.
    LoginRedirect,
    /// The hub's answer has no ETag.
    NoEtag,
    /// The hub's answer has an ETag that would leave the folder.
    EvilEtag,
    /// The hub's answer has no commit.
    NoCommit,
    /// The hub promises so many bytes more, or less.
    WrongSize(i64),
    /// The file is another one from now on.
    NewVersion,
    /// The body ends after so many bytes.
    Cut(usize),
    /// The body stops after so many bytes, and the connection stays.
    Stall(usize),
    /// More bytes than promised, without a length.
    TooLong,
    WrongBytes,
    /// The rest of the file is asked for, and the whole comes.
    IgnoreRange,
    /// The rest of the file is asked for, and another part comes.
    WrongRange,
    /// The rest of the file is asked for, and refused.
    NoRange,
    /// The storage has another ETag for the rest.
    OtherStorage,
}

impl Fault {
    fn fits(self, head: bool, range: bool) -> bool {
        match self {
            Self::NoEtag | Self::EvilEtag | Self::NoCommit | Self::WrongSize(_) => head,
            Self::Cut(_) | Self::Stall(_) | Self::TooLong | Self::WrongBytes => !head,
            Self::IgnoreRange | Self::WrongRange | Self::NoRange | Self::OtherStorage => range,
            _ => true,
        }
    }
}

/// One request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// It came to the storage, not to the hub.
    pub(crate) storage: bool,
    pub(crate) head: bool,
    pub(crate) target: String,
    /// The first byte asked for.
    pub(crate) range: Option<usize>,
    pub(crate) authorization: Option<String>,
}

struct State {
    files: Mutex<Vec<(String, Vec<u8>)>>,
    faults: Mutex<VecDeque<Fault>>,
    fired: Mutex<Vec<Fault>>,
    seen: Mutex<Vec<Seen>>,
    /// What the hub's API says of the repository beside its files.
    listed: Mutex<Listed>,
    /// The storage is at the hub's own address, as some mirrors have it.
    own_storage: Mutex<bool>,
    /// A pause after each 64 KiB of a body.
    pace: Mutex<Duration>,
    storage: SocketAddr,
}

/// What the API says of the repository.
#[derive(Debug, Clone)]
pub(crate) struct Listed {
    /// Its name by now.
    pub(crate) id: &'static str,
    /// `gated`, as JSON.
    pub(crate) gated: &'static str,
    /// Whether sizes are told.
    pub(crate) sizes: bool,
    /// Something else than JSON follows, so many bytes of it.
    pub(crate) padding: usize,
}

impl Default for Listed {
    fn default() -> Self {
        Self {
            id: REPOSITORY,
            gated: "false",
            sizes: true,
            padding: 0,
        }
    }
}

pub(crate) struct HubServer {
    state: Arc<State>,
    hub: SocketAddr,
}

impl HubServer {
    /// Serves `files`: those of weights from the storage, all others from the hub itself.
    pub(crate) fn new(files: &[(&str, Vec<u8>)]) -> Self {
        let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
        let [hub, storage] =
            [0, 1].map(|index: usize| listeners[index].local_addr().expect("bound"));
        let files = files
            .iter()
            .map(|(name, bytes)| ((*name).to_owned(), bytes.clone()))
            .collect();
        let state = Arc::new(State {
            files: Mutex::new(files),
            faults: Mutex::default(),
            fired: Mutex::default(),
            seen: Mutex::default(),
            listed: Mutex::default(),
            own_storage: Mutex::default(),
            pace: Mutex::default(),
            storage,
        });
        for (index, listener) in listeners.into_iter().enumerate() {
            let state = Arc::clone(&state);
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let state = Arc::clone(&state);
                    // A client that is killed or gives up closes the connection: nothing to do about it.
                    std::thread::spawn(move || state.serve(&stream, index == 1));
                }
            });
        }
        Self { state, hub }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.hub)
    }

    pub(crate) fn plan(&self, faults: impl IntoIterator<Item = Fault>) {
        *held(&self.state.faults) = faults.into_iter().collect();
    }

    pub(crate) fn pace(&self, pause: Duration) {
        *held(&self.state.pace) = pause;
    }

    /// Keeps the bytes at the hub's own address from now on.
    pub(crate) fn keep_the_bytes(&self) {
        *held(&self.state.own_storage) = true;
    }

    /// Changes what the API says from now on.
    pub(crate) fn list(&self, listed: Listed) {
        *held(&self.state.listed) = listed;
    }

    pub(crate) fn fired(&self) -> Vec<Fault> {
        held(&self.state.fired).clone()
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        held(&self.state.seen).clone()
    }

    pub(crate) fn forget(&self) {
        held(&self.state.seen).clear();
    }

    /// A file's bytes as they are served now.
    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        self.state.file(name).expect("a file of the test")
    }
}

impl State {
    fn file(&self, name: &str) -> Option<Vec<u8>> {
        let files = held(&self.files);
        let (_, bytes) = files.iter().find(|(known, _)| known == name)?;
        Some(bytes.clone())
    }

    fn fault(&self, head: bool, range: bool) -> Fault {
        let mut faults = held(&self.faults);
        match faults.front().copied() {
            Some(fault) if fault.fits(head, range) => {
                faults.pop_front();
                held(&self.fired).push(fault);
                fault
            }
            _ => Fault::Nothing,
        }
    }

    /// One request a connection. `None` when the client is gone, which is its right.
    fn serve(&self, stream: &TcpStream, storage: bool) -> Option<()> {
        let mut lines = BufReader::new(stream).lines();
        let first = lines.next()?.ok()?;
        let mut words = first.split(' ');
        let (method, target) = (words.next()?, words.next()?.to_owned());
        let (mut range, mut authorization) = (None, None);
        for line in lines {
            let line = line.ok()?;
            let Some((name, value)) = line.split_once(':') else {
                break;
            };
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "range" => {
                    let from = value.strip_prefix("bytes=")?.strip_suffix('-')?;
                    range = from.parse().ok();
                }
                "authorization" => authorization = Some(value.to_owned()),
                _ => {}
            }
        }
        let head = method == "HEAD";
        held(&self.seen).push(Seen {
            storage,
            head,
            target: target.clone(),
            range,
            authorization,
        });
        self.answer(stream, storage, head, &target, range)
    }

    fn answer(
        &self,
        mut stream: &TcpStream,
        storage: bool,
        head: bool,
        target: &str,
        range: Option<usize>,
    ) -> Option<()> {
        let path = target.split('?').next()?;
        let storage = storage || path.starts_with("/store/");
        if path == "/login" {
            return page(stream);
        }
        if let Some(rest) = path.strip_prefix("/api/models/") {
            return self.list(stream, rest, target.ends_with("?blobs=true"));
        }
        let within = |repository| path.strip_prefix(&format!("/{repository}/resolve/"));
        let beside = within(BESIDE).and_then(|rest| rest.split_once('/'));
        let beside = beside.map(|(_, name)| format!("{BESIDE}/{name}"));
        let name = match (within(REPOSITORY), &beside) {
            (Some(rest), _) if !storage => rest.split_once('/')?.1,
            (_, Some(name)) if !storage => name,
            _ => path.strip_prefix("/store/").unwrap_or("none"),
        };
        let Some(bytes) = self.file(name) else {
            return say(
                stream,
                "HTTP/1.1 404 no\r\nX-Error-Code: EntryNotFound\r\nContent-Length: 0\r\n",
            );
        };
        let large = is_large(name);
        let mut bytes = bytes;
        // The hub's redirect to the storage is one request, the body another: body faults wait for the latter.
        let fault = if large && !storage && !head {
            Fault::Nothing
        } else {
            self.fault(head, range.is_some())
        };
        match fault {
            Fault::Silence => {
                wait_for_end(stream);
                return None;
            }
            Fault::HangUp => return None,
            Fault::Noise => return stream.write_all(b"\x16\x03\x01 what?\r\n\r\n").ok(),
            Fault::Status(status) => {
                let head = "Retry-After: 0\r\nContent-Length: 0\r\n";
                return say(stream, &format!("HTTP/1.1 {status} no\r\n{head}"));
            }
            Fault::LoginPage => return page(stream),
            Fault::LoginRedirect => {
                let to = format!("http://{}/login", self.storage);
                return say(
                    stream,
                    &format!("HTTP/1.1 302 go\r\nLocation: {to}\r\nContent-Length: 0\r\n"),
                );
            }
            Fault::NewVersion => {
                let mut files = held(&self.files);
                let (_, known) = files.iter_mut().find(|(known, _)| known == name)?;
                known
                    .iter_mut()
                    .for_each(|byte| *byte = byte.wrapping_add(1));
                bytes.clone_from(known);
            }
            _ => {}
        }
        let (etag, size) = (etag(name, &bytes), bytes.len());
        let mut reply = String::new();
        if storage {
            let other = if fault == Fault::OtherStorage {
                "other"
            } else {
                "same"
            };
            let _ = write!(reply, "ETag: \"{other}\"\r\n");
        } else {
            let told = match fault {
                Fault::WrongSize(more) => size.saturating_add_signed(more as isize),
                _ => size,
            };
            let etag = match fault {
                Fault::EvilEtag => "../../../evil".to_owned(),
                _ => etag.clone(),
            };
            if fault != Fault::NoCommit {
                let _ = write!(reply, "X-Repo-Commit: {COMMIT}\r\n");
            }
            if fault != Fault::NoEtag {
                let name = if large { "X-Linked-ETag" } else { "ETag" };
                let _ = write!(reply, "{name}: \"{etag}\"\r\n");
            }
            if large {
                let origin = if *held(&self.own_storage) {
                    String::new()
                } else {
                    format!("http://{}", self.storage)
                };
                let _ = write!(
                    reply,
                    "X-Linked-Size: {told}\r\nContent-Length: 0\r\nLocation: {origin}/store/{name}?sig=secret\r\n",
                );
                return say(stream, &format!("HTTP/1.1 302 go\r\n{reply}"));
            }
            if head {
                return say(
                    stream,
                    &format!("HTTP/1.1 200 ok\r\n{reply}Content-Length: {told}\r\n"),
                );
            }
        }
        if fault == Fault::WrongBytes {
            let middle = size / 2;
            bytes[middle] ^= 1;
        }
        let from = range.filter(|_| fault != Fault::IgnoreRange).unwrap_or(0);
        if fault == Fault::NoRange || from > size {
            return say(stream, "HTTP/1.1 416 no\r\nContent-Length: 0\r\n");
        }
        let status = if from > 0 {
            let shift = usize::from(fault == Fault::WrongRange);
            let _ = write!(
                reply,
                "Content-Range: bytes {}-{}/{size}\r\n",
                from - shift,
                size - 1 - shift
            );
            "206 part"
        } else {
            "200 ok"
        };
        let body = &bytes[from..];
        if fault == Fault::TooLong {
            say(stream, &format!("HTTP/1.1 {status}\r\n{reply}"))?;
            stream.write_all(body).ok()?;
            return stream.write_all(b"and more").ok();
        }
        say(
            stream,
            &format!(
                "HTTP/1.1 {status}\r\n{reply}Content-Length: {}\r\n",
                body.len()
            ),
        )?;
        let end = match fault {
            Fault::Cut(end) | Fault::Stall(end) => end.min(body.len() - 1),
            _ => body.len(),
        };
        let pace = *held(&self.pace);
        for chunk in body[..end].chunks(64 * 1024) {
            stream.write_all(chunk).ok()?;
            std::thread::sleep(pace);
        }
        if matches!(fault, Fault::Stall(_)) {
            wait_for_end(stream);
        }
        Some(())
    }
}

impl State {
    /// `{repository}/revision/{revision}` of the API.
    fn list(&self, mut stream: &TcpStream, rest: &str, blobs: bool) -> Option<()> {
        let fault = self.fault(false, false);
        let refuse = |status: u16, code: &str| {
            let head = format!("X-Error-Code: {code}\r\nRetry-After: 0\r\nContent-Length: 0\r\n");
            say(stream, &format!("HTTP/1.1 {status} no\r\n{head}"))
        };
        match fault {
            Fault::Status(status) => return refuse(status, "none"),
            Fault::LoginPage => return page(stream),
            Fault::HangUp => return None,
            _ => {}
        }
        let Some((repository, revision)) =
            [REPOSITORY, BESIDE].into_iter().find_map(|repository| {
                let revision = rest.strip_prefix(&format!("{repository}/revision/"))?;
                Some((repository, revision))
            })
        else {
            return refuse(404, "RepoNotFound");
        };
        if !matches!(revision, "main" | COMMIT) {
            return refuse(404, "RevisionNotFound");
        }
        let listed = held(&self.listed).clone();
        let files = held(&self.files).clone();
        let own = files.iter().filter_map(|(name, bytes)| {
            let beside = name.strip_prefix(&format!("{BESIDE}/"));
            match (repository, beside) {
                (BESIDE, Some(name)) => Some((name, bytes)),
                (REPOSITORY, None) => Some((name.as_str(), bytes)),
                _ => None,
            }
        });
        let siblings = own.map(|(name, bytes)| {
            let size = if blobs && listed.sizes {
                format!(",\"size\":{}", bytes.len())
            } else {
                String::new()
            };
            let large = if blobs && is_large(name) {
                format!(",\"lfs\":{{\"sha256\":\"{}\"}}", etag(name, bytes))
            } else {
                String::new()
            };
            format!("{{\"rfilename\":\"{name}\"{size}{large}}}")
        });
        let siblings: Vec<_> = siblings.collect();
        let (id, gated) = match repository {
            REPOSITORY => (listed.id, listed.gated),
            beside => (beside, "false"),
        };
        let body = format!(
            "{{\"id\":\"{id}\",\"sha\":\"{COMMIT}\",\"gated\":{gated},\"siblings\":[{}]}}{}",
            siblings.join(","),
            " ".repeat(listed.padding)
        );
        let head = format!(
            "Content-Type: application/json\r\nContent-Length: {}\r\n",
            body.len()
        );
        say(stream, &format!("HTTP/1.1 200 ok\r\n{head}"))?;
        stream.write_all(body.as_bytes()).ok()
    }
}

fn say(mut stream: &TcpStream, head: &str) -> Option<()> {
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(b"Connection: close\r\n\r\n").ok()
}

fn page(mut stream: &TcpStream) -> Option<()> {
    let text = "<html>please log in</html>";
    let length = text.len();
    say(
        stream,
        &format!(
            "HTTP/1.1 200 ok\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {length}\r\n"
        ),
    )?;
    stream.write_all(text.as_bytes()).ok()
}

/// Until the client goes away.
fn wait_for_end(mut stream: &TcpStream) {
    let mut byte = [0];
    let _ = std::io::Read::read(&mut stream, &mut byte);
}

pub(crate) fn is_large(name: &str) -> bool {
    name.ends_with(".safetensors")
}

/// SHA-256 of a large file, git's name for the blob of a small one: as the hub has it.
pub(crate) fn etag(name: &str, bytes: &[u8]) -> String {
    if is_large(name) {
        return hex(&Sha256::digest(bytes));
    }
    let mut hash = Sha1::new();
    hash.update(format!("blob {}\0", bytes.len()));
    hash.update(bytes);
    hex(&hash.finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
