//! Usage: cheap to count, on disk soon, by day and model.
#![allow(clippy::unwrap_used)] // helpers of tests panic as tests do

use std::time::{Duration, UNIX_EPOCH};

use ledger::{Ledger, Units};

fn units(requests: u64) -> Units {
    Units {
        requests,
        unpriced: 1,
        neurons: 0.5,
        input_tokens: 10,
        output_tokens: 20,
        seconds: 1.5,
    }
}

#[test]
fn counts_are_added_by_utc_day_and_model_and_are_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    // 2028-02-29, the last second of a leap day.
    let leap = UNIX_EPOCH + Duration::from_secs(1_835_481_599);
    let day_after = leap + Duration::from_secs(1);
    let report = {
        let ledger = Ledger::open(folder.path()).unwrap().ledger;
        for _ in 0..3 {
            ledger.add_at("@cf/test/b", units(1), leap);
        }
        ledger.add_at("@cf/test/a", units(2), leap);
        ledger.flush().unwrap();
        ledger.add_at("@cf/test/a", units(4), leap);
        ledger.add_at("@cf/test/a", units(8), day_after);
        ledger.report().unwrap()
    };
    let told: Vec<_> = report
        .iter()
        .map(|used| (used.day.as_str(), used.model.as_str(), used.units.requests))
        .collect();
    let wanted = [
        ("2028-03-01", "@cf/test/a", 8),
        ("2028-02-29", "@cf/test/a", 6),
        ("2028-02-29", "@cf/test/b", 3),
    ];
    assert_eq!(told, wanted);
    let b = report[2].units;
    assert_eq!((b.unpriced, b.input_tokens, b.output_tokens), (3, 30, 60));
    assert_eq!((b.neurons, b.seconds), (1.5, 4.5));
    let again = Ledger::open(folder.path()).unwrap().ledger;
    assert_eq!(again.report().unwrap(), report);
}

#[test]
fn what_was_counted_is_on_disk_when_the_ledger_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    Ledger::open(folder.path())
        .unwrap()
        .ledger
        .add("@cf/test/a", units(1));
    let ledger = Ledger::open(folder.path()).unwrap().ledger;
    assert_eq!(ledger.report().unwrap().len(), 1);
}

#[test]
fn days_past_their_time_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap().ledger;
    let day = Duration::from_hours(24);
    let now = UNIX_EPOCH + day * 20_000;
    ledger.add_at("@cf/test/a", units(1), now);
    ledger.add_at("@cf/test/a", units(1), now - day * 500);
    assert_eq!(ledger.report().unwrap().len(), 2);
    ledger.sweep(now).unwrap();
    assert_eq!(ledger.report().unwrap().len(), 1);
}
