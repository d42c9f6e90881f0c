//! The machine's memory: how much models may take, and how much this program uses.

use std::path::Path;

/// What is left of the machine's memory for everything else: this program without models, request
/// bodies, and the system. Bytes.
const HEADROOM_BYTES: u64 = 256 * 1024 * 1024;

/// Bytes that models may take together where nobody said: those of this machine, or of the control
/// group that it is in, less the headroom.
pub(crate) fn budget_bytes() -> u64 {
    machine_bytes().saturating_sub(HEADROOM_BYTES)
}

/// Bytes of memory of this machine, or of the control group that it is in.
pub(crate) fn machine_bytes() -> u64 {
    let mut system = sysinfo::System::new();
    system.refresh_memory();
    let whole = system.total_memory();
    let group = system.cgroup_limits().map(|limits| limits.total_memory);
    group
        .filter(|&bytes| bytes > 0)
        .map_or(whole, |bytes| bytes.min(whole))
}

/// Bytes of memory that this process has to itself; files that it maps do not count, as the system
/// takes those back when it wants to. `None` where the system does not say.
pub(crate) fn in_use() -> Option<u64> {
    let status = std::fs::read_to_string(Path::new("/proc/self/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes * 1024)
}

/// Has all threads allocate from one heap, the only one whose free end [`release`] can give back: with
/// one for each thread, as glibc has it otherwise, up to 64 MiB stay behind in each. The few threads
/// here allocate tensors, thousands of times a second, not millions, so that they do not wait for
/// each other. To be called before there are other threads.
pub(crate) fn keep_together() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[allow(unsafe_code)]
    // SAFETY: it takes no pointer; the limit counts for heaps that are made later.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Gives memory that was freed back to the system, and pages of the program that were read to start or to load.
/// glibc keeps much of what was freed for itself otherwise; other allocators give large blocks back by themselves.
pub(crate) fn release() {
    models::program::give_back();
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[allow(unsafe_code)]
    // SAFETY: it takes no pointer, may be called at any time and from any thread, and touches only
    // memory that is free.
    unsafe {
        libc::malloc_trim(0);
    }
}
