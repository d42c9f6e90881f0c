//! Text embeddings of a running server: many clients with a text each against one client with batches, and
//! a batch of mixed lengths against batches of one length.
//!
//! `embed-16-clients ADDRESS MODEL`, such as `127.0.0.1:7777 @cf/baai/bge-small-en-v1.5`.
#![allow(clippy::print_stdout)]

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::time::{Duration, Instant};

const CLIENTS: usize = 16;
/// Texts of a batch.
const BATCH: usize = 100;
/// How long each part of a round is measured at least.
const PART: Duration = Duration::from_secs(1);
/// Rounds, each with every part in turn; medians are told.
const ROUNDS: usize = 9;
/// Two special tokens around each text.
const SPECIAL: usize = 2;
/// Words of the texts of one length.
const LENGTHS: [usize; 4] = [14, 30, 62, 126];

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("embed-16-clients: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, model] = &arguments[..] else {
        return Err("see the top of bench/src/bin/embed-16-clients.rs".into());
    };
    let target = Target {
        address: address.clone(),
        path: format!("/client/v4/accounts/any/ai/run/{model}"),
    };
    let mixed = mixed();
    let tokens: usize = mixed.iter().map(|words| words + SPECIAL).sum();
    target.texts_a_second(1, &mixed, BATCH)?; // warm
    let (mut batches, mut singles) = (Vec::new(), Vec::new());
    let mut of_one_length = LENGTHS.map(|_| Vec::new());
    for _ in 0..ROUNDS {
        batches.push(target.texts_a_second(1, &mixed, BATCH)?);
        singles.push(target.texts_a_second(CLIENTS, &mixed, 1)?);
        for (rates, words) in of_one_length.iter_mut().zip(LENGTHS) {
            let texts = target.texts_a_second(1, &[words; BATCH], BATCH)?;
            rates.push(texts * (words + SPECIAL) as f64);
        }
    }
    let (batches, singles) = (median(batches), median(singles));
    println!("one client: {batches:.1} texts/s, {BATCH} a request");
    println!("many clients: {singles:.1} texts/s, {CLIENTS} clients with one text a request");
    println!("throughput ratio {:.3}", singles / batches);
    let mixed_rate = batches / BATCH as f64 * tokens as f64;
    println!(
        "mixed: {:.4} s, {BATCH} texts of 6 to 128 tokens",
        tokens as f64 / mixed_rate
    );
    let rates = of_one_length.map(median);
    for (rate, words) in rates.iter().zip(LENGTHS) {
        let length = words + SPECIAL;
        println!("{BATCH} texts of {length} tokens: {rate:.0} tokens/s");
    }
    // Attention makes the tokens of long texts dearer: each text at the rate of its own length.
    let seconds = mixed.iter().map(|words| {
        let place = LENGTHS.iter().position(|length| words <= length);
        (words + SPECIAL) as f64 / rates[place.unwrap_or(LENGTHS.len() - 1)]
    });
    let apart: f64 = seconds.sum();
    println!("apart: {apart:.4} s, each at the rate of its own length");
    println!("time ratio {:.3}", tokens as f64 / mixed_rate / apart);
    Ok(())
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// Words of each of a batch's texts: from short to long, many short ones, in an order that is none.
fn mixed() -> Vec<usize> {
    let of = |place: usize| {
        let part = (place * 37 % BATCH) as f64 / BATCH as f64;
        4 + (122.0 * part * part) as usize
    };
    (0..BATCH).map(of).collect()
}

struct Target {
    address: String,
    path: String,
}

impl Target {
    /// The rate of so many clients whose requests hold `batch` texts of these lengths in words.
    fn texts_a_second(&self, clients: usize, lengths: &[usize], batch: usize) -> Result<f64> {
        let begin = Instant::now();
        let counted: Result<Vec<usize>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..clients)
                .map(|client| {
                    scope.spawn(move || -> Result<usize> {
                        let mut connection = Connection::open(self)?;
                        let (mut texts, mut at) = (0, client * lengths.len() / clients);
                        while begin.elapsed() < PART {
                            let asked: Vec<usize> = (at..at + batch)
                                .map(|place| lengths[place % lengths.len()])
                                .collect();
                            connection.embed(&asked)?;
                            texts += batch;
                            at += batch;
                        }
                        Ok(texts)
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| {
                    thread
                        .join()
                        .unwrap_or_else(|_| Err("a client panicked".into()))
                })
                .collect()
        });
        let texts: usize = counted?.into_iter().sum();
        Ok(texts as f64 / begin.elapsed().as_secs_f64())
    }
}

/// A connection that is used again for each request.
struct Connection<'a> {
    target: &'a Target,
    stream: BufReader<TcpStream>,
}

impl<'a> Connection<'a> {
    fn open(target: &'a Target) -> Result<Self> {
        let stream = TcpStream::connect(&target.address)?;
        stream.set_nodelay(true)?;
        Ok(Self {
            target,
            stream: BufReader::new(stream),
        })
    }

    /// Asks for the vectors of texts of so many words each.
    fn embed(&mut self, lengths: &[usize]) -> Result<()> {
        let mut body = String::from("{\"text\":[");
        for (place, words) in lengths.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            write!(body, "{comma}\"{}\"", vec!["the"; *words].join(" "))?;
        }
        body.push_str("]}");
        let Target { address, path } = self.target;
        write!(
            self.stream.get_mut(),
            "POST {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer any\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let status = self.line()?;
        let mut length = None;
        loop {
            let line = self.line()?.to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(told) = line.strip_prefix("content-length:") {
                length = Some(told.trim().parse::<u64>()?);
            }
        }
        let length = length.ok_or("an answer without Content-Length")?;
        let mut answer = Vec::new();
        self.stream.by_ref().take(length).read_to_end(&mut answer)?;
        if !status.contains(" 200 ") {
            let text = String::from_utf8_lossy(&answer).into_owned();
            return Err(format!("{status}: {text}").into());
        }
        Ok(())
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err("the server closed the connection".into());
        }
        Ok(line.trim_end().to_owned())
    }
}
