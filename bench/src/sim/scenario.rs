//! Loads that a scheduler has to stand.

use engine::Mix;
use engine::model::BLOCK_TOKENS;

use super::arrivals::{Kind, Request, drawn};
use super::chance::Chance;
use super::device::Device;
use super::run::{FLOODER, limits, simulate};

/// The names of the loads.
pub const SCENARIOS: [&str; 7] = [
    "poisson",
    "gamma-2",
    "gamma-4",
    "bursts",
    "flood",
    "long-prompts",
    "cancel-storm",
];

/// Seconds of a burst, and of the quiet after it.
const BURST_SECONDS: f64 = 10.0;
/// Requests of a flood.
const FLOOD_REQUESTS: usize = 400;
/// One request in so many has a long prompt; in a storm, one in so many stays.
const LONG_EVERY: usize = 200;
const STAYS_EVERY: usize = 3;
/// The longest prompt.
const LONG_TOKENS: usize = 128 * 1024;

/// Lengths as on this device: chats of the size that Azure published in 2023 (medians of about 1000 and 130 tokens) on
/// an accelerator, short ones on a CPU.
#[must_use]
pub fn chats(device: &Device, count: usize, rate: f64, variation: f64) -> Kind {
    let is_small = device.blocks() * BLOCK_TOKENS < 16 * 1024;
    let (prompt, new, common) = if is_small {
        (96.0, 40.0, 64)
    } else {
        (800.0, 130.0, 256)
    };
    Kind {
        count,
        rate,
        variation,
        prompt,
        new,
        beginnings: 50,
        common,
        window: (device.blocks() * BLOCK_TOKENS / 2).min(8192),
    }
}

/// Requests a second that the device can answer when all wait from the start.
#[must_use]
pub fn capacity(device: &Device, seed: u64) -> f64 {
    const COUNT: usize = 400;
    let mut load = drawn(chats(device, COUNT, 1.0, 1.0), &mut Chance::new(seed));
    for request in &mut load {
        request.at = 0.0;
    }
    let seen = simulate(limits(device, Mix::Mixed), &load, |step| device.cost(step));
    COUNT as f64 / seen.seconds
}

/// A load of this name at this rate; `None` for an unknown name.
#[must_use]
pub fn load(
    name: &str,
    device: &Device,
    (count, rate): (usize, f64),
    seed: u64,
) -> Option<Vec<Request>> {
    let mut chance = Chance::new(seed ^ 7);
    let plain = |variation| chats(device, count, rate, variation);
    let mut load = match name {
        "gamma-2" => drawn(plain(2.0), &mut chance),
        "gamma-4" => drawn(plain(4.0), &mut chance),
        "poisson" | "bursts" | "flood" | "long-prompts" | "cancel-storm" => {
            drawn(plain(1.0), &mut chance)
        }
        _ => return None,
    };
    match name {
        // All of a burst and its quiet comes within the burst.
        "bursts" => {
            for request in &mut load {
                let period = 2.0 * BURST_SECONDS;
                let begun = (request.at / period).floor() * period;
                request.at = begun + (request.at - begun) / 2.0;
            }
        }
        // One tenant sends much in an instant, and leaves little of the queue.
        "flood" => {
            let middle = load[load.len() / 2].at;
            let many = FLOOD_REQUESTS.min(count / 2);
            let mut flood = drawn(chats(device, many, rate, 1.0), &mut chance);
            for request in &mut flood {
                request.at = middle;
                request.tenant = FLOODER;
            }
            load.extend(flood);
        }
        "long-prompts" => {
            let longest = LONG_TOKENS.min(device.blocks() * BLOCK_TOKENS / 2);
            for request in load.iter_mut().skip(LONG_EVERY / 2).step_by(LONG_EVERY) {
                request.prompt = longest;
            }
        }
        "cancel-storm" => {
            for (number, request) in load.iter_mut().enumerate() {
                if !number.is_multiple_of(STAYS_EVERY) {
                    request.patience = Some(chance.uniform() * 2.0);
                }
            }
        }
        _ => {}
    }
    load.sort_by(|a, b| a.at.total_cmp(&b.at));
    Some(load)
}
