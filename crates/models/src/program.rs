//! The program's own pages in memory: most of what a start or a load reads of it is not read again.

#[cfg_attr(
    not(all(target_os = "linux", target_env = "gnu")),
    allow(unused_imports)
)]
use std::io::{BufRead, BufReader};
use std::ops::Range;

/// Gives back the pages of the program's code and constants. Those that are touched again are mapped again, from the
/// system's cache of the file, or are read again where it needed that memory.
pub fn give_back() {
    // Elsewhere the system takes them when it wants to.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    if let Ok(maps) = std::fs::File::open("/proc/self/smaps") {
        for range in unwritten(BufReader::new(maps), &linux::read_only_segments()) {
            linux::give_back(range);
        }
    }
}

/// The parts of read-only segments of which no page was written, by a debugger for one: such a page is not the file's
/// any more, and may be in swap. `maps` are in the words of `/proc/self/smaps`, and are read little further than the
/// segments go: the system counts pages for every line of them.
#[cfg_attr(not(all(target_os = "linux", target_env = "gnu")), allow(dead_code))]
fn unwritten(maps: impl BufRead, segments: &[Range<usize>]) -> Vec<Range<usize>> {
    let end = segments.iter().map(|segment| segment.end).max();
    let mut ranges = Vec::new();
    let mut current = None;
    let mut is_clean = false;
    for line in maps.lines().map_while(Result::ok) {
        if let Some(map) = mapping(&line) {
            if end.is_none_or(|end| map.start >= end) {
                break;
            }
            current = Some(map);
        } else if let Some(bytes) = line.strip_prefix("Anonymous:") {
            is_clean = bytes.trim() == "0 kB";
        } else if let Some(bytes) = line.strip_prefix("Swap:")
            && is_clean
            && bytes.trim() == "0 kB"
            && let Some(map) = current.take()
        {
            let parts = segments.iter().map(|segment| {
                let (start, end) = (segment.start.max(map.start), segment.end.min(map.end));
                start..end
            });
            ranges.extend(parts.filter(|part| !part.is_empty()));
        }
    }
    ranges
}

/// The first line about a mapping: `55d0-55e0 r-xp 00001000 fe:00 42 /usr/bin/hearth`. `None`: it is another line.
fn mapping(line: &str) -> Option<Range<usize>> {
    let (start, end) = line.split_whitespace().next()?.split_once('-')?;
    let address = |hexadecimal| usize::from_str_radix(hexadecimal, 16).ok();
    Some(address(start)?..address(end)?)
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code)]
mod linux {
    use std::ffi::{c_int, c_void};
    use std::ops::Range;

    /// The program's segments that it may not write, in whole pages.
    pub(super) fn read_only_segments() -> Vec<Range<usize>> {
        let mut segments: Vec<Range<usize>> = Vec::new();
        // SAFETY: `first` has the type that is asked for, and gets a pointer to `segments`, which outlives the call.
        unsafe { libc::dl_iterate_phdr(Some(first), (&raw mut segments).cast()) };
        // SAFETY: it takes no pointer.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        let Ok(page) = usize::try_from(page) else {
            return Vec::new();
        };
        let whole =
            |segment: Range<usize>| segment.start.next_multiple_of(page)..segment.end / page * page;
        segments.into_iter().map(whole).collect()
    }

    /// Is told of the program first, and then wants to hear of no library.
    unsafe extern "C" fn first(
        info: *mut libc::dl_phdr_info,
        _: usize,
        segments: *mut c_void,
    ) -> c_int {
        // SAFETY: the caller gives what describes a loaded object, and the pointer that `read_only_segments` gave it,
        // to a vector that nobody else has meanwhile.
        let (info, segments) = unsafe { (&*info, &mut *segments.cast::<Vec<Range<usize>>>()) };
        // SAFETY: so many headers are there, for as long as the object is loaded.
        let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
        for header in headers {
            if header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0 {
                let start = (info.dlpi_addr + header.p_vaddr) as usize;
                segments.push(start..start + header.p_memsz as usize);
            }
        }
        1
    }

    /// Gives back the pages of a range of whole pages of the program's read-only segments.
    pub(super) fn give_back(range: Range<usize>) {
        // SAFETY: the program's segments stay mapped for as long as it runs, from a file that is not written while it
        // does. It may not write these: a page that is dropped is read from the file again, with the same bytes,
        // whenever and by whomever it is touched next.
        unsafe {
            libc::madvise(range.start as *mut c_void, range.len(), libc::MADV_DONTNEED);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "\
55d000-55e000 r--p 00000000 fe:00 42                         /usr/bin/hearth
Rss:                   4 kB
Anonymous:             0 kB
Swap:                  0 kB
VmFlags: rd mr mw me
55e000-560000 r-xp 00001000 fe:00 42                         /usr/bin/hearth
Rss:                   8 kB
Anonymous:             4 kB
Swap:                  0 kB
560000-561000 r-xp 00003000 fe:00 42                         /usr/bin/hearth
Anonymous:             0 kB
Swap:                  4 kB
561000-564000 r--p 00004000 fe:00 42                         /usr/bin/hearth
Anonymous:             0 kB
Swap:                  0 kB
7ff000-800000 rw-p 00000000 00:00 0
Anonymous:             0 kB
Swap:                  0 kB
";

    #[test]
    fn pages_that_were_written_and_pages_of_others_are_kept() {
        let segments = [
            0x55_d000..0x55_e000,
            0x55_e000..0x56_0000,
            0x56_0000..0x56_1000,
            0x56_1000..0x57_0000,
        ];
        let ranges = unwritten(MAPS.as_bytes(), &segments);
        assert_eq!(ranges, [0x55_d000..0x55_e000, 0x56_1000..0x56_4000]);
    }

    #[test]
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    fn the_program_goes_on_with_its_pages_given_back() {
        let segments = linux::read_only_segments();
        let here = mapping as *const () as usize;
        assert!(
            segments.iter().any(|segment| segment.contains(&here)),
            "{segments:x?}"
        );
        let maps = || BufReader::new(std::fs::File::open("/proc/self/smaps").unwrap());
        let ranges = unwritten(maps(), &segments);
        assert!(
            ranges.iter().any(|range| range.contains(&here)),
            "{ranges:x?}"
        );
        give_back();
        assert_eq!(unwritten(maps(), &segments), ranges);
    }
}
