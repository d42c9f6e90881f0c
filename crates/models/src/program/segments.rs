//! The read-only segments of the program and its libraries, and which of their pages are still the files'.
#![allow(unsafe_code)] // what the dynamic loader tells is behind pointers

use std::ffi::{CStr, c_int, c_void};
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// What `/proc/self/pagemap` says of a page: eight bytes, of which three bits count here.
const ENTRY_BYTES: usize = 8;
/// The page is of a file, or shared.
const OF_FILE: u64 = 1 << 61;
const IN_SWAP: u64 = 1 << 62;
const IN_MEMORY: u64 = 1 << 63;

/// Addresses of whole pages of one segment that its owner may not write. [`each`] lends them, so that all stay mapped
/// meanwhile.
pub(super) struct Pages(Range<usize>);

impl Pages {
    /// Where they lie.
    pub(super) fn range(&self) -> &Range<usize> {
        &self.0
    }
}

/// Calls `with` for every read-only segment of the program and of the libraries that are loaded. No library goes meanwhile.
pub(super) fn each(mut with: impl FnMut(&Pages)) {
    let mut with: &mut dyn FnMut(&Pages) = &mut with;
    // SAFETY: `tell` has the type that is asked for, and gets a pointer to `with`, which outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(tell), (&raw mut with).cast()) };
}

/// Is told of the program and of each library in turn, while none can be loaded or unloaded.
unsafe extern "C" fn tell(info: *mut libc::dl_phdr_info, _: usize, with: *mut c_void) -> c_int {
    // SAFETY: the caller gives what describes a loaded object, and the pointer that `each` gave it, to a function that
    // nobody else has meanwhile.
    let (info, with) = unsafe { (&*info, &mut *with.cast::<&mut dyn FnMut(&Pages)>()) };
    // SAFETY: an object's name is null or a string that lives as long as the object is loaded.
    let name = (!info.dlpi_name.is_null()).then(|| unsafe { CStr::from_ptr(info.dlpi_name) });
    let name = name.unwrap_or_default().to_bytes();
    // The program's own name is empty. What has one that is no path is not of a file: the system's own.
    if !name.is_empty() && !name.contains(&b'/') {
        return 0;
    }
    // SAFETY: so many headers are there, for as long as the object is loaded.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
    let page = page_bytes();
    for header in headers {
        if header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0 {
            // What is mapped is whole pages, and no other segment has a part of them.
            let start = (info.dlpi_addr + header.p_vaddr) as usize;
            let end = (start + header.p_memsz as usize).next_multiple_of(page);
            with(&Pages(start / page * page..end));
        }
    }
    0
}

/// Gives the pages back, but those that were written, by a debugger for one: such a page is not the file's any more.
pub(super) fn give_back(pages: &Pages) {
    let page = page_bytes();
    // Where the system does not tell, they stay.
    for run in told(pages).map_or_else(|_| Vec::new(), |told| unwritten(&told)) {
        let start = pages.range().start + run.start * page;
        // SAFETY: the pages are within a segment that stays mapped meanwhile, from a file that is not written while it is.
        // Its owner may not write them: one that is dropped is read from the file again, with the same bytes, whenever and
        // by whomever it is touched next.
        unsafe { libc::madvise(start as *mut c_void, run.len() * page, libc::MADV_DONTNEED) };
    }
}

/// What the system says of each page, [`ENTRY_BYTES`] in turn.
fn told(pages: &Pages) -> std::io::Result<Vec<u8>> {
    let page = page_bytes();
    let mut told = vec![0; pages.range().len() / page * ENTRY_BYTES];
    let at = pages.range().start / page * ENTRY_BYTES;
    File::open("/proc/self/pagemap")?.read_exact_at(&mut told, at as u64)?;
    Ok(told)
}

/// Runs of pages that are the file's, by what `/proc/self/pagemap` says of all.
fn unwritten(told: &[u8]) -> Vec<Range<usize>> {
    let (entries, _) = told.as_chunks::<ENTRY_BYTES>();
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (page, entry) in entries.iter().enumerate() {
        let entry = u64::from_ne_bytes(*entry);
        if entry & IN_SWAP != 0 || entry & IN_MEMORY != 0 && entry & OF_FILE == 0 {
            continue;
        }
        match runs.last_mut() {
            Some(run) if run.end == page => run.end += 1,
            _ => runs.push(page..page + 1),
        }
    }
    runs
}

/// Bytes of a page.
pub(super) fn page_bytes() -> usize {
    // SAFETY: it takes no pointer.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(bytes).unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_that_were_written_are_kept() {
        let entries = [
            0,
            IN_MEMORY | OF_FILE,
            IN_MEMORY,
            OF_FILE,
            IN_MEMORY | OF_FILE,
            IN_SWAP,
            IN_SWAP | OF_FILE,
        ];
        let told: Vec<u8> = entries.into_iter().flat_map(u64::to_ne_bytes).collect();
        assert_eq!(unwritten(&told), [0..2, 3..5]);
        assert!(unwritten(&IN_MEMORY.to_ne_bytes()).is_empty());
        assert!(unwritten(&[]).is_empty());
    }

    /// How many of the pages are in memory.
    fn resident(pages: &Pages) -> usize {
        let told = told(pages).unwrap();
        let (entries, _) = told.as_chunks::<ENTRY_BYTES>();
        let entries = entries.iter().map(|entry| u64::from_ne_bytes(*entry));
        entries.filter(|entry| entry & IN_MEMORY != 0).count()
    }

    #[test]
    fn code_of_the_program_and_of_its_libraries_goes_and_comes_back() {
        let places = [
            unwritten as *const () as usize,
            libc::sysconf as *const () as usize,
        ];
        let mut counts = Vec::new();
        each(|pages| {
            if !places.iter().any(|place| pages.range().contains(place)) {
                return;
            }
            for page in pages.range().clone().step_by(page_bytes()) {
                // SAFETY: the program and the C library may be read, and are mapped meanwhile.
                let _ = unsafe { (page as *const u8).read_volatile() };
            }
            let before = resident(pages);
            give_back(pages);
            counts.push((pages.range().len() / page_bytes(), before, resident(pages)));
        });
        assert_eq!(counts.len(), 2);
        let (mut whole, mut left) = (0, 0);
        for (all, before, after) in &counts {
            assert_eq!(before, all);
            whole += all;
            left += after;
        }
        // What goes on meanwhile touches some of them.
        assert!(left * 4 < whole * 3, "{counts:?}");
    }
}
