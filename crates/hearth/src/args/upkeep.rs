//! Commands that look after an installation, as typed.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Serve;

#[derive(Debug, Args)]
pub(crate) struct Config {
    #[command(flatten)]
    pub(crate) serve: Serve,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    #[command(flatten)]
    pub(crate) serve: Serve,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) about: Option<DoctorAbout>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DoctorAbout {
    /// Hold the listed weights of the Hugging Face Hub against the hub, and say what to write instead
    Models(DoctorModels),
}

#[derive(Debug, Args)]
pub(crate) struct DoctorModels {
    /// A set of weights or a model [default: every set of the hub]
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell that will read the script
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// A set of weights, or a model: then every set on disk that can serve it
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Prune {
    /// Say what would be removed, and remove nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// A set of weights or a model [default: everything on disk]
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Bundle {
    #[command(subcommand)]
    pub(crate) action: BundleAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BundleAction {
    /// Write weights on disk into one file
    Export(Export),
    /// Take the weights of a file that `bundle export` wrote
    Import(Import),
}

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The tar file to write
    pub(crate) file: PathBuf,
    /// A set of weights, or a model: then every set on disk that can serve it
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The tar file
    pub(crate) file: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}
