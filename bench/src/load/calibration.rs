//! The simulator's CPU, made as fast as the server that was asked: by one stream alone, and by one long prompt alone.

use engine::{Class, Mix};

use crate::sim::arrivals::Request;
use crate::sim::device::{DEVICES, Device};
use crate::sim::run::{Seen, limits, percentile, simulate};

/// Halvings of the interval in which a constant is looked for, and how far it may lie from the device's own.
const HALVINGS: usize = 40;
const FACTOR: f64 = 32.0;

/// What the server did alone.
#[derive(Debug, Clone, Copy)]
pub struct Alone {
    /// Tokens of the prompt of the one stream, and of its answer; seconds between its tokens.
    pub stream: (usize, usize, f64),
    /// Tokens of the long prompt; seconds to its first token.
    pub prompt: (usize, f64),
}

/// The CPU whose bandwidth gives the stream's time between tokens, and whose peak the prompt's time.
#[must_use]
pub fn calibrated(alone: Alone) -> Option<Device> {
    let mut cpu = *DEVICES.iter().find(|device| device.name == "cpu")?;
    // A prompt's time hangs on the peak alone, and so does a stream's on the bandwidth; twice, for what they share.
    for _ in 0..2 {
        let (prompt, seconds) = alone.prompt;
        cpu.peak = found(cpu.peak, seconds, |peak| {
            let seen = ran(&Device { peak, ..cpu }, &one(prompt, 1));
            seen.first.first().copied().unwrap_or(0.0)
        });
        let (prompt, new, seconds) = alone.stream;
        cpu.bandwidth = found(cpu.bandwidth, seconds, |bandwidth| {
            let mut seen = ran(&Device { bandwidth, ..cpu }, &one(prompt, new));
            percentile(&mut seen.between, 0.5)
        });
    }
    Some(cpu)
}

/// A load on a device, with steps as the server makes them.
#[must_use]
pub fn ran(device: &Device, load: &[Request]) -> Seen {
    simulate(limits(device, Mix::Mixed), load, |step| device.cost(step))
}

fn one(prompt: usize, new: usize) -> [Request; 1] {
    [Request {
        at: 0.0,
        tenant: 0,
        class: Class::Default,
        common: (0, 0),
        prompt: prompt.max(1),
        new: new.max(1),
        patience: None,
    }]
}

/// The constant at which the time is the wanted one; time falls as the constant grows.
fn found(own: f64, seconds: f64, time: impl Fn(f64) -> f64) -> f64 {
    let (mut low, mut high) = (own / FACTOR, own * FACTOR);
    for _ in 0..HALVINGS {
        let middle = (low * high).sqrt();
        if time(middle) > seconds {
            low = middle;
        } else {
            high = middle;
        }
    }
    (low * high).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_device_takes_as_long_as_the_server_did() {
        let alone = Alone {
            stream: (40, 64, 0.02),
            prompt: (900, 3.0),
        };
        let cpu = calibrated(alone).expect("a CPU");
        let first = ran(&cpu, &one(900, 1)).first[0];
        let between = percentile(&mut ran(&cpu, &one(40, 64)).between, 0.5);
        assert!((first - 3.0).abs() < 0.03, "{first}");
        assert!((between - 0.02).abs() < 2e-4, "{between}");
    }
}
