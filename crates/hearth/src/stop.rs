//! `hearth stop`: unload a model from a running server.

use serde_json::json;

use crate::args;
use crate::failure::Stop;
use crate::remote;

pub(crate) fn stop(args: &args::Stop) -> Result<(), Stop> {
    let name = &args.name;
    // Model names have a maker in front; names of weights have none.
    let kind = if name.starts_with('@') {
        "model"
    } else {
        "weights"
    };
    let answer = remote::post(&args.remote, "/hearth/stop", &json!({ kind: name }))?;
    let weights = answer["weights"].as_str().unwrap_or(name);
    match answer["stopped"].as_str() {
        Some("unloaded") => println!("{weights} was unloaded"),
        Some("when idle") => {
            let busy = &answer["busy"];
            println!("{weights} is unloaded as soon as it is idle ({busy} running)");
        }
        Some("not loaded") => println!("{weights} is not loaded"),
        _ => return Err(remote::stranger(&args.remote)),
    }
    Ok(())
}
