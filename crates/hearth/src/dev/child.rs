//! The command: its terminal, its signals, its exit code.

use std::ffi::OsString;
use std::process::ExitStatus;

use tokio::process::{Child, Command};

use crate::failure::Stop;

/// The exit code of a shell for a command that is not there.
const NOT_FOUND: u8 = 127;
/// The exit code of a shell for a command that cannot be run.
const NOT_RUNNABLE: u8 = 126;

/// Runs a command with more variables until it ends. Its exit code becomes that of this program.
pub(super) fn run(command: &[String], variables: &[(&'static str, OsString)]) -> Result<(), Stop> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(Stop::usage("no command was given"));
    };
    let runtime = crate::runtime()?;
    let status = runtime.block_on(async {
        let signals = Signals::listen()?;
        let child = Command::new(program)
            .args(arguments)
            .envs(variables.iter().map(|(name, value)| (*name, value)))
            .spawn()
            .map_err(|error| not_started(program, &error))?;
        wait(child, signals).await
    })?;
    match code(status) {
        0 => Ok(()),
        code => Err(Stop::passed_on(code)),
    }
}

fn not_started(program: &str, error: &std::io::Error) -> Stop {
    let is_missing = error.kind() == std::io::ErrorKind::NotFound;
    let code = if is_missing { NOT_FOUND } else { NOT_RUNNABLE };
    let hint = if is_missing {
        "; a program of the project's packages is run with npx, pnpm exec or yarn"
    } else {
        ""
    };
    Stop::with_code(format!("{program} cannot be run: {error}{hint}"), code)
}

#[cfg(unix)]
fn code(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt;

    // As a shell tells it: 128 and the signal.
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

#[cfg(not(unix))]
fn code(status: ExitStatus) -> u8 {
    let code = status.code();
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
    quit: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> Result<Self, Stop> {
        use tokio::signal::unix::{SignalKind, signal};

        let of = |kind| signal(kind).map_err(|error| Stop::failed(format!("no signals: {error}")));
        Ok(Self {
            interrupt: of(SignalKind::interrupt())?,
            terminate: of(SignalKind::terminate())?,
            hang_up: of(SignalKind::hangup())?,
            quit: of(SignalKind::quit())?,
        })
    }

    async fn next(&mut self) -> rustix::process::Signal {
        use rustix::process::Signal;

        tokio::select! {
            _ = self.interrupt.recv() => Signal::INT,
            _ = self.terminate.recv() => Signal::TERM,
            _ = self.hang_up.recv() => Signal::HUP,
            _ = self.quit.recv() => Signal::QUIT,
        }
    }
}

#[cfg(unix)]
async fn wait(mut child: Child, mut signals: Signals) -> Result<ExitStatus, Stop> {
    use std::io::IsTerminal;

    use rustix::process::{Pid, Signal, kill_process};

    // What is typed at a terminal reaches the command by itself, as it is in the same group.
    let has_terminal = std::io::stdin().is_terminal();
    loop {
        tokio::select! {
            status = child.wait() => return status.map_err(|error| lost(&error)),
            signal = signals.next() => {
                let is_typed = has_terminal && [Signal::INT, Signal::QUIT].contains(&signal);
                let id = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
                if let Some(id) = id.filter(|_| !is_typed) {
                    let _ = kill_process(id, signal); // it may have ended just now
                }
            }
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn listen() -> Result<Self, Stop> {
        Ok(Self)
    }
}

#[cfg(not(unix))]
async fn wait(mut child: Child, _: Signals) -> Result<ExitStatus, Stop> {
    loop {
        tokio::select! {
            status = child.wait() => return status.map_err(|error| lost(&error)),
            // The command gets it as well, and decides.
            _ = tokio::signal::ctrl_c() => {}
        }
    }
}

fn lost(error: &std::io::Error) -> Stop {
    Stop::failed(format!("the command was lost: {error}"))
}
