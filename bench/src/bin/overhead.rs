//! What a server adds to a request: many connections that are used again, against a server that answers at once.
//!
//! `overhead ADDRESS [SECONDS]`, such as `127.0.0.1:7777 5`, where `hearth serve --engine stub` listens. Each row is
//! measured twice: each connection with its next request as soon as it has its answer, and all of them at a fixed rate
//! together. The first row is a server of another process that reads a request and answers with constant bytes: what
//! loopback, the scheduler of the system and this program cost by themselves.
//!
//! `overhead --bare` is that server; it tells its address and ends with its standard input.
#![allow(clippy::print_stdout)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

const CONNECTIONS: u32 = 64;
/// Requests a second of the fixed rate, of all connections together.
const RATE: u32 = 2000;
/// How long each part is measured unless told, in seconds.
const SECONDS: u64 = 5;
/// How long each row is asked before it is measured.
const WARM: Duration = Duration::from_millis(500);
/// Bytes that the bare server answers with, as many as a small chat answer has.
const BARE_ANSWER_BYTES: usize = 256;
const LENGTH: &[u8] = b"content-length:";
const STACK_BYTES: usize = 256 * 1024;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("overhead: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (address, seconds) = match &arguments[..] {
        [bare] if bare == "--bare" => return serve_bare(),
        [address] => (address, SECONDS),
        [address, seconds] => (address, seconds.parse()?),
        _ => return Err("see the top of bench/src/bin/overhead.rs".into()),
    };
    let part = Duration::from_secs(seconds);
    let run = "/client/v4/accounts/any/ai/run/";
    let embed = format!("{run}@cf/baai/bge-small-en-v1.5");
    let chat = format!("{run}@cf/meta/llama-3.1-8b-instruct-fp8");
    let text = r#"{"text":["the quick brown fox jumps over the lazy dog"]}"#;
    let turn = r#"{"messages":[{"role":"user","content":"Say hello"}],"max_tokens":8}"#;
    let bare = Bare::start()?;
    let rows = [
        ("bare", Question::post(&bare.address, "/", turn)),
        ("page", Question::get(address, "/")),
        ("embeddings", Question::post(address, &embed, text)),
        ("chat", Question::post(address, &chat, turn)),
    ];
    println!("{CONNECTIONS} connections; closed: requests/s, then ms; at {RATE}/s: ms");
    println!("row         closed/s     p50     p99 | fixed/s     p50     p99   added p50     p99");
    let mut least: Option<[f64; 2]> = None;
    for (name, question) in &rows {
        question.ask_all(WARM, None)?;
        let closed = question.ask_all(part, None)?;
        let fixed = question.ask_all(part, Some(RATE))?;
        let [p50, p99] = fixed.times();
        let [bare_p50, bare_p99] = *least.get_or_insert([p50, p99]);
        let [closed_p50, closed_p99] = closed.times();
        println!(
            "{name:10} {:9.0} {closed_p50:7.3} {closed_p99:7.3} | {:7.0} {p50:7.3} {p99:7.3}     {:7.3} {:7.3}",
            closed.rate(),
            fixed.rate(),
            p50 - bare_p50,
            p99 - bare_p99,
        );
    }
    Ok(())
}

/// How long each request took, in ms and sorted, and how long all of them.
struct Measured {
    sorted: Vec<f64>,
    whole: Duration,
}

impl Measured {
    fn rate(&self) -> f64 {
        self.sorted.len() as f64 / self.whole.as_secs_f64()
    }

    /// The median and the 99th percentile in ms.
    fn times(&self) -> [f64; 2] {
        let at = |part: f64| self.sorted[((self.sorted.len() - 1) as f64 * part) as usize];
        [at(0.5), at(0.99)]
    }
}

/// A request's bytes, and who is asked.
struct Question {
    address: String,
    bytes: Vec<u8>,
}

impl Question {
    fn get(address: &str, path: &str) -> Self {
        let text = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
        Self::of(address, text)
    }

    fn post(address: &str, path: &str, body: &str) -> Self {
        let length = body.len();
        let text = format!(
            "POST {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer any\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        Self::of(address, text)
    }

    fn of(address: &str, text: String) -> Self {
        Self {
            address: address.to_owned(),
            bytes: text.into_bytes(),
        }
    }

    /// Asks on all connections for so long, at a rate of all together if there is one. With a rate, a request's time
    /// begins when it was due, so that waiting behind a slow one counts.
    fn ask_all(&self, part: Duration, rate: Option<u32>) -> Result<Measured> {
        let mut streams = Vec::new();
        for _ in 0..CONNECTIONS {
            streams.push(connect(&self.address)?);
        }
        let begin = Instant::now();
        let period = rate.map(|rate| Duration::from_secs(1) * CONNECTIONS / rate);
        let asked: Result<Vec<Vec<f64>>> = std::thread::scope(|scope| {
            let mut threads = Vec::new();
            for (place, stream) in (0..CONNECTIONS).zip(streams) {
                // Connections take turns.
                let first = begin + period.unwrap_or_default() * place / CONNECTIONS;
                let work = move || self.ask(stream, [first, begin + part], period);
                let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
                threads.push(thread.spawn_scoped(scope, work)?);
            }
            let ended = |thread: std::thread::ScopedJoinHandle<'_, Result<Vec<f64>>>| {
                thread
                    .join()
                    .unwrap_or_else(|_| Err("a connection panicked".into()))
            };
            threads.into_iter().map(ended).collect()
        });
        let mut sorted = asked?.concat();
        let whole = begin.elapsed();
        sorted.sort_by(f64::total_cmp);
        if sorted.is_empty() {
            return Err("nothing was answered in time".into());
        }
        Ok(Measured { sorted, whole })
    }

    fn ask(
        &self,
        mut stream: BufReader<TcpStream>,
        [first, end]: [Instant; 2],
        period: Option<Duration>,
    ) -> Result<Vec<f64>> {
        let mut times = Vec::new();
        let mut due = first;
        let mut line = Vec::new();
        while due < end {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            stream.get_mut().write_all(&self.bytes)?;
            let status = read_message(&mut stream, &mut line)?.ok_or("the server hung up")?;
            if !status.contains(" 200 ") {
                return Err(format!("{}: {status}", self.address).into());
            }
            let now = Instant::now();
            times.push((now - due).as_secs_f64() * 1e3);
            due = period.map_or(now, |period| due + period);
        }
        Ok(times)
    }
}

fn connect(address: &str) -> Result<BufReader<TcpStream>> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    Ok(BufReader::with_capacity(16 * 1024, stream))
}

/// Reads a head and its body; the first line, or `None` at the end of the connection.
fn read_message(stream: &mut BufReader<TcpStream>, line: &mut Vec<u8>) -> Result<Option<String>> {
    let mut first = None;
    let mut length = None;
    loop {
        line.clear();
        if stream.read_until(b'\n', line)? == 0 {
            return Ok(None);
        }
        let text = line.trim_ascii();
        if text.is_empty() {
            break;
        }
        if first.is_none() {
            first = Some(String::from_utf8_lossy(text).into_owned());
        } else if let Some((name, told)) = text.split_at_checked(LENGTH.len())
            && name.eq_ignore_ascii_case(LENGTH)
        {
            length = Some(std::str::from_utf8(told)?.trim().parse::<u64>()?);
        }
    }
    line.clear();
    let length = length.unwrap_or(0);
    if stream.by_ref().take(length).read_to_end(line)? as u64 != length {
        return Err("half a body".into());
    }
    Ok(first)
}

/// The bare server's process.
struct Bare {
    child: Child,
    address: String,
}

impl Bare {
    fn start() -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("--bare")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let told = child.stdout.take().ok_or("no pipe")?;
        let mut address = String::new();
        BufReader::new(told).read_line(&mut address)?;
        let address = address.trim().to_owned();
        Ok(Self { child, address })
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve_bare() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer_bare(stream));
        }
    });
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

fn answer_bare(stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let body = "x".repeat(BARE_ANSWER_BYTES);
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {BARE_ANSWER_BYTES}\r\n\r\n{body}");
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    while read_message(&mut stream, &mut line)?.is_some() {
        stream.get_mut().write_all(answer.as_bytes())?;
    }
    Ok(())
}
