//! Promises of the scheduler that show on a clock, on simulated devices.
#![allow(clippy::unwrap_used)] // helpers of tests panic as tests do

use bench::sim::device::{DEVICES, Device};
use bench::sim::run::{Seen, limits, percentile, simulate};
use bench::sim::scenario::{SCENARIOS, capacity, load};
use engine::{INTER_TOKEN_TARGET, Mix};

fn device(name: &str) -> &'static Device {
    DEVICES.iter().find(|device| device.name == name).unwrap()
}

fn seen(device: &Device, scenario: &str, mix: Mix) -> (Seen, usize) {
    let rate = 0.7 * capacity(device, 1);
    let load = load(scenario, device, (300, rate), 1).unwrap();
    let wanted = load.iter().map(|request| request.new).sum();
    let seen = simulate(limits(device, mix), &load, |step| device.cost(step));
    (seen, wanted)
}

#[test]
fn no_stream_waits_longer_than_twice_the_target_for_anothers_long_prompt() {
    for name in ["cpu", "h100", "h200"] {
        for scenario in SCENARIOS {
            let (mut mixed, wanted) = seen(device(name), scenario, Mix::Mixed);
            let longest = percentile(&mut mixed.between, 1.0);
            let most = 2.0 * INTER_TOKEN_TARGET.as_secs_f64();
            assert!(longest <= most, "{name}, {scenario}: {longest} s");
            let (mut other, _) = seen(device(name), scenario, Mix::PromptsFirst);
            let theirs = percentile(&mut other.between, 1.0);
            assert!(theirs > 3.0 * longest, "{name}, {scenario}: {theirs} s");
            if scenario != "cancel-storm" {
                assert_eq!(
                    mixed.generated, wanted,
                    "{name}, {scenario}: all are answered"
                );
            }
            assert_eq!(mixed.refused, 0);
        }
    }
}

#[test]
fn the_same_load_has_the_same_steps() {
    let run = || {
        let (seen, _) = seen(device("h100"), "gamma-4", Mix::Mixed);
        (seen.steps, seen.cached, seen.first, seen.between)
    };
    assert_eq!(run(), run());
}
