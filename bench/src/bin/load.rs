//! A running server under load, by streamed chat completions. `URL` is what OpenAI's clients are told, such as
//! `http://127.0.0.1:7777/client/v4/accounts/local/ai/v1`; `TEXT` a file whose words prompts are made of.
//!
//! `load URL MODEL TEXT streams N`: so many requests at any time; a round for each line `go`, answered with tokens a
//! second.
//! `load URL MODEL TEXT tokens`: one stream; a round for each line `go`, answered with tokens a second between an
//! answer's first token and its last. The text is drawn at random, so that nothing in it can be foreseen.
//! `load URL MODEL TEXT poisson RATE SECONDS SEED [TRACE]`: requests arrive at random, RATE a second. One line of JSON:
//! milliseconds to the first token, from when a request was due, and between tokens, at the median and the 99th
//! percentile. The arrivals are written to TRACE as `sim` reads them, and `simulated` is what it says of them once its
//! CPU was made as fast as the server is with one stream, and with one long prompt, alone.
//! `load URL MODEL TEXT long N`: while N streams run, a long prompt comes; one line of JSON with the longest time between
//! tokens of a stream before and beside it, in milliseconds.
//! `load URL MODEL TEXT turns N`: a conversation that is sent again in full for each of N answers; a line of JSON each.
#![allow(clippy::print_stdout)]

use std::io::BufRead;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bench::load::calibration::{Alone, calibrated, ran};
use bench::load::chat::{Answer, Chat, Result, user};
use bench::load::lengths::Words;
use bench::load::times::Times;
use bench::sim::arrivals;
use bench::sim::chance::Chance;
use serde_json::{Value, json};

/// Words of a prompt, and tokens of an answer, where all are alike.
const PROMPT_WORDS: usize = 24;
const ANSWER_TOKENS: usize = 64;
/// Medians and spread of both in a random load.
const RANDOM_PROMPT: f64 = 48.0;
const RANDOM_ANSWER: f64 = 48.0;
const SPREAD: f64 = 0.6;
const RANDOM_MOST: usize = 300;
/// How long streams run before they are counted, and while.
const WARM: Duration = Duration::from_secs(2);
const COUNTED: Duration = Duration::from_secs(6);
/// Words of a long prompt; its answer is a token.
const LONG_WORDS: usize = 1000;
/// Words of a question of a conversation.
const TURN_WORDS: usize = 60;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let [url, model, text, part @ ..] = &words[..] else {
        return Err("see the top of bench/src/bin/load.rs".into());
    };
    let text = std::fs::read_to_string(text)?;
    let load = Load {
        chat: Chat::new(url, model),
        words: Words::of(&text),
        number: AtomicUsize::new(0),
    };
    match part {
        ["streams", count] => {
            let streams = count.parse()?;
            rounds(WARM, |counted| load.streams(streams, counted))
        }
        ["tokens"] => {
            let chat = load.chat.clone().at(1.0);
            let load = Load { chat, ..load };
            rounds(WARM, |counted| load.tokens(counted))
        }
        ["poisson", rate, seconds, seed] => {
            load.poisson(rate.parse()?, seconds.parse()?, seed.parse()?, None)
        }
        ["poisson", rate, seconds, seed, trace] => {
            load.poisson(rate.parse()?, seconds.parse()?, seed.parse()?, Some(trace))
        }
        ["long", count] => load.long(count.parse()?),
        ["turns", count] => load.turns(count.parse()?),
        _ => Err("see the top of bench/src/bin/load.rs".into()),
    }
}

struct Load<'a> {
    chat: Chat,
    words: Words<'a>,
    /// Of the next prompt.
    number: AtomicUsize,
}

impl Load<'_> {
    fn ask(
        &self,
        words: usize,
        tokens: usize,
        heard: impl FnMut(Instant) -> bool,
    ) -> Result<Answer> {
        let prompt = self.words.prompt(self.number.fetch_add(1, Relaxed), words);
        self.chat.ask(&[user(&prompt)], tokens, heard)
    }

    /// Tokens a second of so many streams, each followed by the next at once.
    fn streams(&self, streams: usize, counted: Duration) -> Result<f64> {
        let begin = Instant::now() + WARM;
        let end = begin + counted;
        let tokens = AtomicUsize::new(0);
        std::thread::scope(|scope| -> Result<()> {
            let threads: Vec<_> = (0..streams)
                .map(|_| {
                    scope.spawn(|| -> Result<()> {
                        while Instant::now() < end {
                            self.ask(PROMPT_WORDS, ANSWER_TOKENS, |now| {
                                tokens.fetch_add(usize::from(begin <= now && now < end), Relaxed);
                                now < end
                            })?;
                        }
                        Ok(())
                    })
                })
                .collect();
            threads.into_iter().try_for_each(joined)
        })?;
        Ok(tokens.into_inner() as f64 / counted.as_secs_f64())
    }

    /// Tokens a second of one stream, between the first and the last of each of its answers.
    fn tokens(&self, counted: Duration) -> Result<f64> {
        let (mut tokens, mut seconds) = (0, 0.0);
        while seconds < counted.as_secs_f64() {
            let answer = self.ask(PROMPT_WORDS, ANSWER_TOKENS, |_| true)?;
            let [first, .., last] = answer.pieces[..] else {
                return Err("an answer of one piece has no time between tokens".into());
            };
            tokens += answer.completion_tokens - 1;
            seconds += (last - first).as_secs_f64();
        }
        Ok(tokens as f64 / seconds)
    }

    fn poisson(&self, rate: f64, seconds: f64, seed: u64, trace: Option<&str>) -> Result<()> {
        let mut chance = Chance::new(seed);
        let (times, arrivals) = (Mutex::new(Times::default()), Mutex::new(Vec::new()));
        let begin = Instant::now();
        std::thread::scope(|scope| -> Result<()> {
            let mut threads = Vec::new();
            let mut at = chance.gamma(1.0 / rate, 1.0);
            while at < seconds {
                let words = chance.length(RANDOM_PROMPT, SPREAD, RANDOM_MOST);
                let tokens = chance.length(RANDOM_ANSWER, SPREAD, RANDOM_MOST);
                let due = begin + Duration::from_secs_f64(at);
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                let (times, arrivals) = (&times, &arrivals);
                threads.push(scope.spawn(move || -> Result<()> {
                    let answer = self.ask(words, tokens, |_| true)?;
                    let of = (at, answer.prompt_tokens, answer.completion_tokens.max(1));
                    lock(times).add(due, &answer);
                    lock(arrivals).push(of);
                    Ok(())
                }));
                at += chance.gamma(1.0 / rate, 1.0);
            }
            threads.into_iter().try_for_each(joined)
        })?;
        let took = begin.elapsed().as_secs_f64();
        let mut times = times.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut told = serde_json::Map::new();
        told.insert("requests".into(), json!(times.first.len()));
        told.insert("tokens_a_second".into(), json!(times.tokens as f64 / took));
        told.extend(
            times
                .told()
                .map(|(name, value)| (name.into(), json!(value))),
        );
        if let Some(path) = trace {
            let mut lines = arrivals
                .into_inner()
                .unwrap_or_else(PoisonError::into_inner);
            lines.sort_by(|a, b| a.0.total_cmp(&b.0));
            let lines = lines
                .iter()
                .map(|(at, prompt, new)| format!("{at:.6},{prompt},{new}\n"));
            let trace = format!("time,prompt,answer\n{}", lines.collect::<String>());
            std::fs::write(path, &trace)?;
            told.insert("simulated".into(), self.simulated(&trace)?);
        }
        println!("{}", Value::Object(told));
        Ok(())
    }

    /// What the simulator says of some arrivals.
    fn simulated(&self, trace: &str) -> Result<Value> {
        let stream = self.ask(PROMPT_WORDS, ANSWER_TOKENS, |_| true)?;
        let mut times = Times::default();
        times.add(Instant::now(), &stream);
        let asked = Instant::now();
        let long = self.ask(LONG_WORDS, 1, |_| true)?;
        let first = long.pieces.first().ok_or("no answer to a long prompt")?;
        let alone = Alone {
            stream: (
                stream.prompt_tokens,
                stream.completion_tokens,
                times.told()[2].1 / 1e3,
            ),
            prompt: (long.prompt_tokens, (*first - asked).as_secs_f64()),
        };
        let cpu = calibrated(alone).ok_or("the simulator has no CPU")?;
        let seen = ran(&cpu, &arrivals::read(trace)?);
        let mut times = Times {
            first: seen.first,
            between: seen.between,
            tokens: seen.generated,
        };
        let mut told = serde_json::Map::new();
        told.insert("bandwidth".into(), json!(cpu.bandwidth));
        told.insert("peak".into(), json!(cpu.peak));
        told.insert(
            "tokens_a_second".into(),
            json!(times.tokens as f64 / seen.seconds),
        );
        told.extend(
            times
                .told()
                .map(|(name, value)| (name.into(), json!(value))),
        );
        Ok(Value::Object(told))
    }

    fn long(&self, streams: usize) -> Result<()> {
        let (over, beside) = (AtomicBool::new(false), AtomicBool::new(false));
        let gaps = Mutex::new([0.0_f64; 2]);
        let took = std::thread::scope(|scope| -> Result<f64> {
            let threads: Vec<_> = (0..streams)
                .map(|_| {
                    scope.spawn(|| -> Result<()> {
                        while !over.load(Relaxed) {
                            let mut last = None;
                            self.ask(PROMPT_WORDS, RANDOM_MOST, |now| {
                                if let Some(last) = last.replace(now) {
                                    let gap = (now - last).as_secs_f64();
                                    let longest =
                                        &mut lock(&gaps)[usize::from(beside.load(Relaxed))];
                                    *longest = longest.max(gap);
                                }
                                !over.load(Relaxed)
                            })?;
                        }
                        Ok(())
                    })
                })
                .collect();
            // The streams' own prompts are read; then nothing comes for a while, then the long prompt.
            std::thread::sleep(WARM);
            *lock(&gaps) = [0.0; 2];
            std::thread::sleep(WARM);
            beside.store(true, Relaxed);
            let asked = Instant::now();
            let answer = self.ask(LONG_WORDS, 1, |_| true);
            let took = asked.elapsed().as_secs_f64();
            over.store(true, Relaxed);
            threads.into_iter().try_for_each(joined)?;
            answer?;
            Ok(took)
        })?;
        let [before, beside] = *lock(&gaps);
        let told = json!({
            "streams": streams,
            "longest_before": before * 1e3,
            "longest_beside": beside * 1e3,
            "first_of_long": took * 1e3,
        });
        println!("{told}");
        Ok(())
    }

    fn turns(&self, count: usize) -> Result<()> {
        let mut messages = Vec::new();
        for turn in 0..count {
            let text = self
                .words
                .prompt(self.number.fetch_add(1, Relaxed), TURN_WORDS);
            messages.push(user(&text));
            let asked = Instant::now();
            let answer = self.chat.ask(&messages, ANSWER_TOKENS, |_| true)?;
            let mut times = Times::default();
            times.add(asked, &answer);
            let told = json!({
                "turn": turn + 1,
                "prompt_tokens": answer.prompt_tokens,
                "cached_tokens": answer.cached_tokens,
                "first": times.told()[0].1,
            });
            println!("{told}");
            messages.push(json!({ "role": "assistant", "content": answer.text }));
        }
        Ok(())
    }
}

/// A round for each line `go`, after one that warms the server up.
fn rounds(warm: Duration, mut round: impl FnMut(Duration) -> Result<f64>) -> Result<()> {
    round(warm)?;
    println!("ready");
    for line in std::io::stdin().lock().lines() {
        if line?.trim() != "go" {
            break;
        }
        println!("{}", round(COUNTED)?);
    }
    Ok(())
}

fn lock<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

fn joined(thread: std::thread::ScopedJoinHandle<'_, Result<()>>) -> Result<()> {
    thread
        .join()
        .unwrap_or_else(|_| Err("a client panicked".into()))
}
