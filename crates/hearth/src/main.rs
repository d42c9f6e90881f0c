//! The binary: command line, configuration, wiring.
#![allow(clippy::print_stdout)] // it is a program: its output is standard output

mod amounts;
mod args;
mod config;
mod failure;
mod list;
mod loader;
mod memory;
mod ps;
mod pull;
mod remote;
mod run;
mod serve;
mod stop;

use std::process::ExitCode;
use std::sync::Arc;

use catalog::Catalog;
use clap::Parser;

use crate::args::{Cli, Command};
use crate::config::{ConfigFile, Place};
use crate::failure::Stop;

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env()
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info")),
        )
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_writer(std::io::stderr)
        .with_target(false)
        .init();
    match start(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(stop) => {
            eprintln!("hearth: {stop}");
            stop.code()
        }
    }
}

fn start(cli: Cli) -> Result<(), Stop> {
    let file = ConfigFile::read(cli.common.config.as_deref())?;
    let place = Place::new(&cli.common, &file)?;
    let catalog = Catalog::builtin().map_err(|error| Stop::failed(error.to_string()))?;
    let catalog = Arc::new(catalog);
    match cli.command {
        Command::Serve(args) => serve::serve(config::Server::new(args, file)?, &place, catalog),
        Command::Run(args) => run::run(&args, &place, catalog),
        Command::Pull(args) => pull::pull(&args, &place, &catalog),
        Command::List(args) => list::list(&args, &place, &catalog),
        Command::Ps(args) => ps::ps(&args),
        Command::Stop(args) => stop::stop(&args),
    }
}

/// A runtime for the parts that wait on sockets and channels.
fn runtime() -> Result<tokio::runtime::Runtime, Stop> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Stop::failed(format!("no runtime: {error}")))
}
