//! `hearth dev COMMAND`: runs a development command so that its `env.AI` asks hearth, with nothing
//! changed in the project.

mod child;
mod command;
mod guard;
mod packages;
mod preload;
mod server;
mod variables;

use std::sync::Arc;

use catalog::Catalog;

use crate::args::Dev;
use crate::config::{Place, Server};
use crate::failure::Stop;
use crate::remote::reachable;

/// Runs the command to its end; its exit code is passed on.
pub(crate) fn dev(
    args: &Dev,
    server: Server,
    place: &Place,
    catalog: Arc<Catalog>,
) -> Result<(), Stop> {
    let found = packages::Found::here();
    let mut command = args.command.clone();
    guard::check(&command)?;
    let is_local = command::make_local(&mut command, &found);
    let there = |name: &str| std::env::var_os(name);
    variables::agree(reachable(server.settings.listen), there)?;
    let preload = preload::write(place)?;
    let token = server.settings.token.clone();
    let server = server::Dev::find_or_start(server, place, catalog)?;
    let wanted = variables::Wanted {
        base: server.base(),
        token: token.as_deref(),
        preload: &preload,
        openai: args.openai,
    };
    let variables = variables::choose(&wanted, there);
    eprintln!("hearth dev: {}; {found}", server.told());
    if is_local {
        eprintln!("hearth dev: adds --local to wrangler dev");
    }
    for line in &variables.told {
        eprintln!("hearth dev: {line}");
    }
    if let Some(warning) = found.warning() {
        eprintln!("hearth dev: {warning}");
    }
    child::run(&command, &variables.set)
}
