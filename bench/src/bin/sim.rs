//! The real scheduler on devices that are not here.
//!
//! `sim [--device NAME] [--scenario NAME] [--requests N] [--load PART] [--seed N] [--trace FILE.csv] [--svg FILE]`
//! prints a table: throughput, and the times to the first token and between tokens, for each device, load and way of
//! sharing steps. `--load` is the part of the device's capacity that arrives. All but what is said of this CPU are
//! predictions of a roofline.
#![allow(clippy::print_stdout)]

use std::process::ExitCode;

use bench::sim::arrivals::{self, Request};
use bench::sim::device::{DEVICES, Device};
use bench::sim::plot::{self, Group};
use bench::sim::run::{limits, percentile, simulate};
use bench::sim::scenario::{SCENARIOS, capacity, load};
use engine::Mix;

const MIXES: [(&str, Mix); 3] = [
    ("mixed", Mix::Mixed),
    ("prompts first", Mix::PromptsFirst),
    ("separate", Mix::Separate),
];

struct Options {
    device: Option<String>,
    scenario: Option<String>,
    requests: usize,
    load: f64,
    seed: u64,
    trace: Option<String>,
    svg: Option<String>,
}

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    match options().and_then(|options| run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sim: {error}");
            ExitCode::FAILURE
        }
    }
}

fn options() -> Result<Options> {
    let mut options = Options {
        device: None,
        scenario: None,
        requests: 2000,
        load: 0.7,
        seed: 1,
        trace: None,
        svg: None,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words
            .next()
            .ok_or_else(|| format!("{word} wants a value"))?;
        match word.as_str() {
            "--device" => options.device = Some(value),
            "--scenario" => options.scenario = Some(value),
            "--requests" => options.requests = value.parse()?,
            "--load" => options.load = value.parse()?,
            "--seed" => options.seed = value.parse()?,
            "--trace" => options.trace = Some(value),
            "--svg" => options.svg = Some(value),
            other => {
                return Err(
                    format!("{other} is unknown; see the top of bench/src/bin/sim.rs").into(),
                );
            }
        }
    }
    if options.requests == 0 || options.load <= 0.0 {
        return Err("--requests and --load have to be above 0".into());
    }
    Ok(options)
}

fn run(options: &Options) -> Result<()> {
    let wanted =
        |name: &str, asked: &Option<String>| asked.as_ref().is_none_or(|asked| asked == name);
    let trace = match &options.trace {
        Some(path) => Some(arrivals::read(&std::fs::read_to_string(path)?)?),
        None => None,
    };
    let names: Vec<&str> = match &trace {
        Some(_) => vec!["trace"],
        None => SCENARIOS
            .iter()
            .copied()
            .filter(|name| wanted(name, &options.scenario))
            .collect(),
    };
    let devices: Vec<&Device> = DEVICES
        .iter()
        .filter(|d| wanted(d.name, &options.device))
        .collect();
    if names.is_empty() || devices.is_empty() {
        return Err("no such device or scenario; see bench/src/sim".into());
    }
    println!(
        "| device, model | load | steps | tokens/s | first p50 | first p99 | between p50 | between p99 | between max | cached | yielded | refused |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|");
    let mut groups = Vec::new();
    for device in devices {
        let rate = capacity(device, options.seed) * options.load;
        for name in &names {
            let load = match &trace {
                Some(trace) => trace.clone(),
                None => load(name, device, (options.requests, rate), options.seed)
                    .ok_or("an unknown load")?,
            };
            let bars = MIXES.map(|(way, mix)| row(device, name, (way, mix), &load));
            groups.push(Group {
                name: format!("{} {name}", device.name),
                bars: bars.to_vec(),
            });
        }
    }
    if let Some(path) = &options.svg {
        let legend = MIXES.map(|(way, _)| way);
        let title = "Time between two tokens, 99th percentile (roofline predictions)";
        std::fs::write(path, plot::bars(title, &legend, &groups))?;
    }
    Ok(())
}

/// Runs and prints one row; the 99th percentile of the time between tokens.
fn row(device: &Device, name: &str, (way, mix): (&str, Mix), load: &[Request]) -> f64 {
    let mut seen = simulate(limits(device, mix), load, |step| device.cost(step));
    let [first_50, first_99] = [0.5, 0.99].map(|part| percentile(&mut seen.first, part));
    let [between_50, between_99, between_max] =
        [0.5, 0.99, 1.0].map(|part| percentile(&mut seen.between, part));
    let milliseconds = |seconds: f64| format!("{:.1} ms", seconds * 1e3);
    println!(
        "| {}, {} | {name} | {way} | {:.0} | {} | {} | {} | {} | {} | {} | {} | {} |",
        device.name,
        device.shape.name,
        seen.generated as f64 / seen.seconds,
        milliseconds(first_50),
        milliseconds(first_99),
        milliseconds(between_50),
        milliseconds(between_99),
        milliseconds(between_max),
        seen.cached,
        seen.yielded,
        seen.refused,
    );
    between_99
}
