//! What the machine is: program, device, processor, memory.

use models::device::{self, DeviceChoice};

use super::Finding;
use crate::output::megabytes;

/// Memory under which not even the smallest chat model and its cache are comfortable, in bytes.
const MEMORY_COMFORTABLE_BYTES: u64 = 2_000_000_000;

pub(super) fn version() -> Finding {
    let (version, system, processor) = (
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        std::env::consts::ARCH,
    );
    Finding::ok("hearth", format!("{version} for {system} on {processor}"))
}

/// What `--device` gives; on the CPU also why no GPU.
pub(super) fn device(choice: DeviceChoice) -> Vec<Finding> {
    let (opened, note) = match device::open(choice) {
        Ok(opened) => opened,
        Err(error) => {
            return vec![Finding::fail(
                "device",
                error.to_string(),
                "choose --device auto or --device cpu",
            )];
        }
    };
    let gives = |word: &str| format!("--device {choice} gives {word}");
    if !opened.is_cpu() {
        return vec![Finding::ok("device", gives("the GPU"))];
    }
    let cpu = match note {
        Some(note) => Finding::warn(
            "device",
            format!("{}: {note}", gives("the CPU")),
            "mend the driver, or say --device cpu",
        ),
        None => Finding::ok("device", gives("the CPU")),
    };
    let mut findings = vec![cpu];
    if choice == DeviceChoice::Auto {
        for gpu in [DeviceChoice::Cuda(0), DeviceChoice::Metal] {
            if let Err(error) = device::open(gpu) {
                findings.push(Finding::ok("device", format!("not {gpu}: {error}")));
            }
        }
    }
    findings
}

pub(super) fn processor() -> Finding {
    Finding::ok("processor", models::cpu())
}

pub(super) fn threads(count: usize) -> Finding {
    let cores =
        sysinfo::System::physical_core_count().map_or("unknown".to_owned(), |n| n.to_string());
    match std::thread::available_parallelism() {
        Ok(usable) if count > usable.get() => Finding::warn(
            "threads",
            format!("{count} compute, on {usable} processors that this process may use"),
            "say no more --threads than there are processors: they wait for each other",
        ),
        Ok(usable) => Finding::ok(
            "threads",
            format!("{count} compute; usable processors: {usable}, physical cores: {cores}"),
        ),
        Err(error) => Finding::warn(
            "threads",
            format!(
                "{count} compute; usable processors: unknown ({error}), physical cores: {cores}"
            ),
            "say how many with --threads",
        ),
    }
}

pub(super) fn memory() -> Finding {
    let mut system = sysinfo::System::new();
    system.refresh_memory();
    let mut available = system.available_memory();
    let limit = match system.cgroup_limits() {
        Some(group) if group.total_memory > 0 && group.total_memory < system.total_memory() => {
            available = available.min(group.free_memory);
            let (limit, free) = (megabytes(group.total_memory), megabytes(group.free_memory));
            format!("the control group allows {limit}, of which {free} are free")
        }
        _ => "no limit of a control group".to_owned(),
    };
    let found = format!(
        "{} in all, {} available; {limit}",
        megabytes(system.total_memory()),
        megabytes(system.available_memory())
    );
    if available < MEMORY_COMFORTABLE_BYTES {
        let advice = format!(
            "free some: {} let a small chat model work",
            megabytes(MEMORY_COMFORTABLE_BYTES)
        );
        return Finding::warn("memory", found, advice);
    }
    Finding::ok("memory", found)
}
