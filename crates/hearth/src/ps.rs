//! `hearth ps`: what a running server has loaded.

use serde_json::Value;

use crate::args::Ps;
use crate::config::DEFAULT_LISTEN;
use crate::failure::Stop;

pub(crate) fn ps(args: &Ps) -> Result<(), Stop> {
    let address = args.listen.unwrap_or(DEFAULT_LISTEN);
    let token = args.token.as_deref().unwrap_or("any");
    let body = ureq::get(format!("http://{address}/hearth/ps"))
        .header("authorization", format!("Bearer {token}"))
        .call()
        .and_then(|mut response| response.body_mut().read_to_string())
        .map_err(|error| Stop::failed(format!("no hearth answers on {address}: {error}")))?;
    if args.json {
        println!("{body}");
        return Ok(());
    }
    let answer: Value = serde_json::from_str(&body)
        .map_err(|error| Stop::failed(format!("{address} is not a hearth: {error}")))?;
    let Some(models) = answer["models"].as_array() else {
        return Err(Stop::failed(format!("{address} is not a hearth")));
    };
    let word = |model: &Value, key: &str| model[key].as_str().unwrap_or("-").to_owned();
    println!("{:<28} {:<30} {:>9}", "WEIGHTS", "TASK", "LOADED FOR");
    for model in models {
        let seconds = model["loaded_seconds"].as_u64().unwrap_or(0);
        println!(
            "{:<28} {:<30} {seconds:>8} s",
            word(model, "weights"),
            word(model, "task")
        );
    }
    Ok(())
}
