//! Pages that are mapped one by one.
//!
//! Whoever touches a page of a mapped file is given those around it as well, 64 KiB (`fault_around_bytes`), where they are
//! in the system's cache: a program that goes hither and thither in its code soon has all of it, most of it never run.
//! The one thing that has Linux leave them out is that somebody wants to hear of writes to the mapping (`userfaultfd`).
//! Nobody writes to code, so nothing is ever heard; a page costs its own fault, a microsecond or a few, once.
#![allow(unsafe_code)] // system calls that have no safe form

use std::fs::File;
use std::ops::Range;
use std::os::fd::{AsRawFd, FromRawFd};
use std::sync::OnceLock;

use super::segments::Pages;

// From Linux's `userfaultfd.h`.
const API: u64 = 0xAA;
/// Only accesses by programs, not by the system for them: what anybody may ask for.
const USER_MODE_ONLY: libc::c_int = 1;
/// Writes are noted by the system itself and stop nobody (Linux 6.7).
const FEATURE_WP_ASYNC: u64 = 1 << 15;
const REGISTER_MODE_WP: u64 = 2;
const UFFDIO_API: libc::Ioctl = libc::_IOWR::<Api>(0xAA, 0x3F);
const UFFDIO_REGISTER: libc::Ioctl = libc::_IOWR::<Register>(0xAA, 0);

/// `struct uffdio_api`.
#[repr(C)]
struct Api {
    version: u64,
    features: u64,
    ioctls: u64,
}

/// `struct uffdio_register`.
#[repr(C)]
struct Register {
    start: u64,
    bytes: u64,
    mode: u64,
    ioctls: u64,
}

/// Has pages be mapped one by one from now on. Whether the system does so: an older one, one that guards this call, and
/// some sandboxes do not.
pub(super) fn map(pages: &Pages) -> bool {
    map_range(pages.range())
}

fn map_range(range: &Range<usize>) -> bool {
    // It holds for as long as the file is open: until the process ends, which hands it on to none that it starts.
    static LISTENER: OnceLock<Option<File>> = OnceLock::new();
    let Some(listener) = LISTENER.get_or_init(listener) else {
        return false;
    };
    let mut register = Register {
        start: range.start as u64,
        bytes: range.len() as u64,
        mode: REGISTER_MODE_WP,
        ioctls: 0,
    };
    // SAFETY: the call takes and gives a `Register`. Whatever is mapped there, what its owners read and write stays the
    // same: no page is taken, none is protected.
    unsafe { libc::ioctl(listener.as_raw_fd(), UFFDIO_REGISTER, &raw mut register) == 0 }
}

/// Who would hear of writes; `None`: the system has none, or none that would not have to answer.
fn listener() -> Option<File> {
    // A sandbox may end whoever makes a call that it does not know.
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    if !status.lines().any(|line| {
        line.strip_prefix("Seccomp:")
            .is_some_and(|mode| mode.trim() == "0")
    }) {
        return None;
    }
    // SAFETY: it takes no pointer.
    let file = unsafe { libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC | USER_MODE_ONLY) };
    let file = libc::c_int::try_from(file).ok().filter(|&file| file >= 0)?;
    // SAFETY: the call just gave it to nobody else.
    let file = unsafe { File::from_raw_fd(file) };
    let mut api = Api {
        version: API,
        features: FEATURE_WP_ASYNC,
        ioctls: 0,
    };
    // SAFETY: the call takes and gives an `Api`.
    let is_agreed = unsafe { libc::ioctl(file.as_raw_fd(), UFFDIO_API, &raw mut api) == 0 };
    is_agreed.then_some(file)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use memmap2::MmapOptions;

    use super::super::segments::page_bytes;
    use super::*;

    /// Pages of a file, touched far apart.
    const PAGES: usize = 256;
    const APART: usize = 32;

    /// Bytes of a map that are in memory.
    fn resident_bytes(map: &[u8]) -> usize {
        let maps = std::fs::read_to_string("/proc/self/smaps").expect("maps");
        let begins = format!("{:x}-", map.as_ptr() as usize);
        let own = maps.lines().skip_while(|line| !line.starts_with(&begins));
        let line = own.skip(1).find_map(|line| line.strip_prefix("Rss:"));
        let line = line.expect("the map").trim().trim_end_matches(" kB");
        line.parse::<usize>().expect("a number") << 10
    }

    #[test]
    fn a_page_comes_alone_where_the_system_can_do_that_and_has_its_bytes_anyway() {
        let page = page_bytes();
        let bytes: Vec<u8> = (0..PAGES * page).map(|at| (at / 5) as u8).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        // SAFETY: nobody else has the file.
        let mut map = unsafe { MmapOptions::new().map_copy(&file) }.unwrap();
        let place = map.as_ptr() as usize;
        let is_mapped_singly = map_range(&(place..place + map.len()));
        for at in (0..map.len()).step_by(APART * page) {
            assert_eq!(map[at], bytes[at]);
        }
        let touched = PAGES / APART * page;
        let resident = resident_bytes(&map);
        assert!(
            resident >= touched && (resident == touched || !is_mapped_singly),
            "{resident} bytes for {touched}"
        );
        // Who wants to write is not held up.
        map[page] += 1;
        map[0] += 1;
        assert_eq!(map[0], bytes[0] + 1);
        assert!(map[..] != bytes[..] && map[2 * page..] == bytes[2 * page..]);
    }

    #[test]
    fn what_is_not_mapped_is_refused() {
        assert!(!map_range(&(0..page_bytes())));
        assert!(!map_range(&(page_bytes()..page_bytes())));
    }
}
