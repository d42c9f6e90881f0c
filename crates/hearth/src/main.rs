//! The binary: command line, configuration, wiring.
#![allow(clippy::disallowed_methods)] // a program: it reads the environment, spawns

mod amounts;
mod args;
mod bundle;
mod chooser;
mod completions;
mod config;
mod dev;
mod doctor;
mod failure;
mod http_threads;
mod hub_env;
mod list;
mod loader;
mod memory;
mod named;
mod origin;
mod output;
mod prune;
mod ps;
mod pull;
mod records;
mod remote;
mod rm;
mod run;
mod serve;
mod shown_config;
mod stop;
mod threads;
mod verify;

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{CommandFactory, FromArgMatches};

use crate::args::upkeep::DoctorAbout;
use crate::args::{Cli, Command};
use crate::config::{ConfigFile, Place, Server};
use crate::failure::Stop;
use crate::origin::Settings;

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env()
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info")),
        )
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_writer(std::io::stderr)
        .with_target(false)
        .log_internal_errors(false) // told by a macro that panics where standard error is closed
        .init();
    let command = Cli::command();
    let matches = command.clone().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    match start(cli, Settings::new(&command, &matches)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(stop) => {
            if !stop.is_silent() {
                // Where nobody reads any more, the code alone tells.
                let _ = writeln!(std::io::stderr(), "hearth: {stop}");
            }
            stop.code()
        }
    }
}

fn start(cli: Cli, mut settings: Settings<'_>) -> Result<(), Stop> {
    if let Command::Completions(args) = &cli.command {
        return completions::completions(args);
    }
    let file = ConfigFile::read(cli.common.config.as_deref(), &mut settings)?;
    let place = Place::new(&cli.common, &file, &mut settings)?;
    threads::use_them(place.threads);
    let catalog = Arc::new(file.catalog()?);
    match cli.command {
        Command::Serve(args) => {
            serve::serve(Server::new(args, file, &mut settings)?, &place, catalog)
        }
        Command::Dev(mut args) => {
            let serve = std::mem::take(&mut args.serve);
            dev::dev(
                &args,
                Server::new(serve, file, &mut settings)?,
                &place,
                catalog,
            )
        }
        Command::Run(args) => run::run(&args, &place, catalog),
        Command::Pull(args) => pull::pull(&args, &place, &catalog),
        Command::List(args) => list::list(&args, &place, &catalog),
        Command::Ps(mut args) => {
            args.at.fill_from(&file);
            ps::ps(&args)
        }
        Command::Config(args) => {
            // What would keep `serve` from starting is told below the values that are to blame.
            let server = Server::new(args.serve, file, &mut settings);
            let records = place.records.to_string_lossy().into_owned();
            settings.show_default("data", records.into());
            shown_config::show(settings.all(), args.json)?;
            server.map(drop)
        }
        Command::Doctor(args) => {
            if let Some(DoctorAbout::Models(models)) = &args.about {
                return doctor::models(models, args.json || models.json, &place, &catalog);
            }
            let listen = config::listen(&args.serve, &file);
            let server = Server::new(args.serve, file, &mut settings);
            let patient = doctor::Patient {
                place: &place,
                catalog: &catalog,
                server,
                listen,
            };
            doctor::doctor(&patient, args.json)
        }
        Command::Rm(args) => rm::rm(&args, &place, &catalog),
        Command::Prune(args) => prune::prune(&args, &place, &catalog),
        Command::Verify(args) => verify::verify(&args, &place, &catalog),
        Command::Bundle(args) => bundle::bundle(&args, &place, &catalog),
        Command::Completions(args) => completions::completions(&args),
        Command::Stop(mut args) => {
            args.at.fill_from(&file);
            stop::stop(&args)
        }
    }
}

/// A runtime for the parts that wait on sockets and channels, but for the server's connections ([`http_threads`]).
fn runtime() -> Result<tokio::runtime::Runtime, Stop> {
    tokio::runtime::Builder::new_multi_thread()
        // One that accepts connections and hears signals while another is at a batch.
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Stop::failed(format!("no runtime: {error}")))
}
