//! How far a fetch is: the trait, and bars, plain lines or silence behind it.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Told what a fetch does. One phase at a time: `started`, any number of `advanced`, `finished`.
pub trait Progress: Send + Sync {
    /// A phase begins; `bytes` is what it will have done at its end.
    fn started(&self, what: &str, bytes: u64);
    /// The phase has done `bytes` so far. Falls back when a download starts again.
    fn advanced(&self, bytes: u64);
    /// Something worth a line.
    fn note(&self, text: &str);
    /// The phase is over, well or not.
    fn finished(&self);
    /// Asked several times a second; `true` ends the fetch with [`crate::FetchError::Cancelled`].
    fn cancelled(&self) -> bool {
        false
    }
}

/// Bars when standard error is a terminal, plain lines otherwise.
pub fn for_terminal() -> Box<dyn Progress> {
    if io::stderr().is_terminal() {
        Box::new(Bars::default())
    } else {
        Box::new(Lines::new(io::stderr()))
    }
}

/// What a bar shows, in one line of whatever width the terminal has; in units of 1000 as everywhere here.
const BAR: &str =
    "  {wide_bar} {decimal_bytes}/{decimal_total_bytes}  {decimal_bytes_per_sec}  {eta} left";

/// Says nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn started(&self, _what: &str, _bytes: u64) {}
    fn advanced(&self, _bytes: u64) {}
    fn note(&self, _text: &str) {}
    fn finished(&self) {}
}

/// A bar on standard error for each phase.
#[derive(Debug, Default)]
pub struct Bars {
    bar: Mutex<Option<ProgressBar>>,
}

impl Progress for Bars {
    fn started(&self, what: &str, bytes: u64) {
        // On a line of its own: names are long, and a bar that wraps is drawn anew on every line it takes.
        say(&mut io::stderr(), what);
        let bar = ProgressBar::new(bytes);
        // The template is ours; should it ever be refused, indicatif's own bar does as well.
        if let Ok(style) = ProgressStyle::with_template(BAR) {
            bar.set_style(style);
        }
        *held(&self.bar) = Some(bar);
    }

    fn advanced(&self, bytes: u64) {
        if let Some(bar) = held(&self.bar).as_ref() {
            bar.set_position(bytes);
        }
    }

    fn note(&self, text: &str) {
        match held(&self.bar).as_ref() {
            Some(bar) => bar.suspend(|| say(&mut io::stderr(), text)),
            None => say(&mut io::stderr(), text),
        }
    }

    fn finished(&self) {
        if let Some(bar) = held(&self.bar).take() {
            bar.abandon();
            // What comes next begins a line, also where the terminal does not wrap at its last column.
            say(&mut io::stderr(), "");
        }
    }
}

/// At most one line in this time while a phase runs.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Plain lines, for logs and pipes.
#[derive(Debug)]
pub struct Lines<W: Write + Send> {
    state: Mutex<LineState<W>>,
    every: Duration,
}

#[derive(Debug)]
struct LineState<W> {
    out: W,
    what: String,
    bytes: u64,
    done: u64,
    began: Instant,
    last: Instant,
}

impl<W: Write + Send> Lines<W> {
    /// Lines to `out`.
    pub fn new(out: W) -> Self {
        let now = Instant::now();
        Self {
            state: Mutex::new(LineState {
                out,
                what: String::new(),
                bytes: 0,
                done: 0,
                began: now,
                last: now,
            }),
            every: LINE_EVERY,
        }
    }
}

impl<W: Write + Send> Progress for Lines<W> {
    fn started(&self, what: &str, bytes: u64) {
        let mut state = held(&self.state);
        what.clone_into(&mut state.what);
        state.bytes = bytes;
        state.done = 0;
        state.began = Instant::now();
        state.last = state.began;
        let line = format!("{what}: {}", megabytes(bytes));
        say(&mut state.out, &line);
    }

    fn advanced(&self, bytes: u64) {
        let mut state = held(&self.state);
        state.done = bytes;
        if state.last.elapsed() < self.every {
            return;
        }
        state.last = Instant::now();
        let line = format!(
            "{}: {} of {}",
            state.what,
            megabytes(bytes),
            megabytes(state.bytes)
        );
        say(&mut state.out, &line);
    }

    fn note(&self, text: &str) {
        say(&mut held(&self.state).out, text);
    }

    fn finished(&self) {
        let mut state = held(&self.state);
        let line = format!(
            "{}: {} in {:.1} s",
            state.what,
            megabytes(state.done),
            state.began.elapsed().as_secs_f64()
        );
        say(&mut state.out, &line);
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// A closed pipe must not end a fetch, so a failed write is passed over.
fn say(out: &mut impl Write, text: &str) {
    let _ = writeln!(out, "{text}");
}

/// What is guarded is only shown; a thread that panicked while it held the lock left nothing that could mislead.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(lines: &Lines<Vec<u8>>) -> String {
        String::from_utf8(held(&lines.state).out.clone()).unwrap()
    }

    #[test]
    fn lines_are_few_however_often_progress_is_told() {
        let lines = Lines::new(Vec::new());
        lines.started("a wheel", 2_000_000);
        for done in 0..1000 {
            lines.advanced(done * 2000);
        }
        lines.note("almost there");
        assert_eq!(text(&lines), "a wheel: 2.0 MB\nalmost there\n");
    }

    #[test]
    fn a_line_comes_when_its_time_has_come() {
        let mut lines = Lines::new(Vec::new());
        lines.every = Duration::ZERO;
        lines.started("a wheel", 2_000_000);
        lines.advanced(500_000);
        assert_eq!(text(&lines), "a wheel: 2.0 MB\na wheel: 0.5 MB of 2.0 MB\n");
        lines.finished();
        assert!(text(&lines).ends_with(" s\n"), "{}", text(&lines));
    }
}
