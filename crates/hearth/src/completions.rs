//! `hearth completions`: a script that completes hearth's command line.

use clap::CommandFactory;

use crate::args::Cli;
use crate::args::upkeep::Completions;
use crate::failure::Stop;
use crate::output;

pub(crate) fn completions(args: &Completions) -> Result<(), Stop> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "hearth", &mut script);
    output::text(script)
}
