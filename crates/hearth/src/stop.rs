//! `hearth stop`: unload a model from a running server.

use serde_json::json;

use crate::args;
use crate::failure::Stop;
use crate::{output, remote};

pub(crate) fn stop(args: &args::Stop) -> Result<(), Stop> {
    let name = &args.name;
    // Model names have a maker in front; names of weights have none.
    let kind = if name.starts_with('@') {
        "model"
    } else {
        "weights"
    };
    let answer = remote::post(&args.at, "/hearth/stop", &json!({ kind: name }))?;
    let weights = answer["weights"].as_str().unwrap_or(name);
    output::text(match answer["stopped"].as_str() {
        Some("unloaded") => format!("{weights} was unloaded\n"),
        Some("when idle") => {
            let busy = &answer["busy"];
            format!("{weights} is unloaded as soon as it is idle ({busy} running)\n")
        }
        Some("not loaded") => format!("{weights} is not loaded\n"),
        _ => return Err(remote::stranger(&args.at)),
    })
}
