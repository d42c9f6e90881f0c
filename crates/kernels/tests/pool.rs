//! Promises of the thread pool.
#![allow(clippy::unwrap_used)] // helpers of tests panic as tests do

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kernels::Pool;

#[test]
fn every_chunk_runs_exactly_once_whatever_the_threads() {
    for threads in [1, 2, 5] {
        let pool = Pool::new(threads);
        for chunks in [0, 1, 2, 7, 100] {
            let counts: Vec<AtomicUsize> = (0..chunks).map(|_| AtomicUsize::new(0)).collect();
            for _ in 0..200 {
                pool.run(chunks, &|chunk| {
                    counts[chunk].fetch_add(1, Ordering::SeqCst);
                });
            }
            assert!(
                counts
                    .iter()
                    .all(|count| count.load(Ordering::SeqCst) == 200)
            );
        }
    }
}

#[test]
fn many_callers_share_a_pool() {
    let pool = Pool::new(3);
    let total = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                for _ in 0..300 {
                    pool.run(5, &|chunk| {
                        total.fetch_add(chunk, Ordering::SeqCst);
                    });
                }
            });
        }
    });
    assert_eq!(total.load(Ordering::SeqCst), 6 * 300 * 10);
}

#[test]
fn a_panic_reaches_the_caller_and_the_pool_goes_on() {
    let pool = Pool::new(2);
    for _ in 0..50 {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            pool.run(8, &|chunk| {
                std::thread::sleep(Duration::from_micros(50));
                assert_ne!(chunk, 3);
            });
        }));
        assert!(result.is_err());
        let done = AtomicUsize::new(0);
        pool.run(4, &|_| {
            done.fetch_add(1, Ordering::SeqCst);
        });
        assert_eq!(done.load(Ordering::SeqCst), 4);
    }
}

/// CPU time of this process, in seconds (utime and stime of /proc/self/stat, 100 ticks a second).
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    ticks / 100.0
}

#[test]
fn an_idle_pool_costs_nothing() {
    let pool = Pool::new(4);
    pool.run(16, &|_| {});
    std::thread::sleep(Duration::from_millis(20));
    // Other tests run beside this one in the same process; the least busy stretch counts.
    let quietest = (0..20)
        .map(|_| {
            let (before, since) = (cpu_seconds(), Instant::now());
            std::thread::sleep(Duration::from_millis(100));
            (cpu_seconds() - before) / since.elapsed().as_secs_f64()
        })
        .fold(f64::INFINITY, f64::min);
    assert!(quietest < 0.005, "{quietest} of a core");
}
