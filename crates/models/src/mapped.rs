//! A file in memory, read-only, whose pages go back to the system when they have been read.
//!
//! Pages of a mapped file count as memory of the process for as long as they are mapped. Weights are read once, to be
//! packed: without giving them back a load would take the file's size beside that of what is made of it.

use std::fs::File;
use std::ops::{Deref, Range};
use std::time::SystemTime;

use memmap2::Mmap;

/// What Linux maps around a page that is touched, at most, in bytes: a large page; most often 64 KiB
/// (`fault_around_bytes`).
#[cfg(target_os = "linux")]
const AROUND_BYTES: usize = 2 << 20;

/// A mapped file.
#[derive(Debug)]
pub(crate) struct Mapped {
    map: Mmap,
    /// When it was last changed.
    modified: SystemTime,
}

impl Mapped {
    /// Maps a file that is known not to be empty.
    #[allow(unsafe_code)]
    pub(crate) fn open(file: &File) -> std::io::Result<Self> {
        // SAFETY: the map is private to this process and never written. Weights are put in place by
        // renaming finished files and are never changed there, so the bytes stay as they are while
        // they are mapped. Reading weights any other way doubles the memory of every load.
        let map = unsafe { Mmap::map(file) }?;
        let modified = file.metadata()?.modified()?;
        Ok(Self { map, modified })
    }

    /// When the file was last changed, as of when it was mapped.
    pub(crate) fn modified(&self) -> SystemTime {
        self.modified
    }

    /// Some of its bytes, to be read once: their pages are given back when the loan ends.
    ///
    /// # Panics
    /// When they lie outside the file.
    pub(crate) fn lend(&self, range: Range<usize>) -> Lent<'_> {
        assert!(range.start <= range.end && range.end <= self.len());
        Lent { map: self, range }
    }

    #[cfg(target_os = "linux")]
    #[allow(unsafe_code)]
    fn give_back(&self, range: &Range<usize>) {
        use memmap2::UncheckedAdvice::DontNeed;
        let start = range.start.saturating_sub(AROUND_BYTES);
        let end = range.end.saturating_add(AROUND_BYTES).min(self.len());
        // SAFETY: `start..end` lies within the map. It is of a file and never written, so that a page that is
        // dropped is read from the file again, with the same bytes, whenever and by whomever it is touched next.
        let advised = unsafe {
            self.map
                .unchecked_advise_range(DontNeed, start, end - start)
        };
        // Where the system does not want to, the pages stay until the file is closed.
        let _ = advised;
    }

    /// Elsewhere pages stay until the file is closed.
    #[cfg(not(target_os = "linux"))]
    fn give_back(&self, _: &Range<usize>) {}
}

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map
    }
}

/// Bytes of a mapped file, in use.
#[derive(Debug)]
pub(crate) struct Lent<'a> {
    map: &'a Mapped,
    range: Range<usize>,
}

impl Deref for Lent<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map[self.range.clone()]
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        self.map.give_back(&self.range);
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::Write;

    use super::*;

    const BYTES: usize = 24 << 20;

    /// What the system says of the pages of a map that are in memory.
    fn resident_bytes(map: &Mapped) -> usize {
        let maps = std::fs::read_to_string("/proc/self/smaps").expect("maps");
        let begins = format!("{:x}-", map.as_ptr() as usize);
        let own = maps.lines().skip_while(|line| !line.starts_with(&begins));
        let line = own.skip(1).find_map(|line| line.strip_prefix("Rss:"));
        let line = line.expect("the map").trim().trim_end_matches(" kB");
        let kilobytes: usize = line.parse().expect("a number");
        kilobytes << 10
    }

    #[test]
    fn pages_are_given_back_when_they_were_read_and_read_again_when_they_are_wanted() {
        let bytes: Vec<u8> = (0..BYTES).map(|at| (at / 7) as u8).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        let map = Mapped::open(&file).unwrap();
        let third = BYTES / 3;
        for part in [0..third, third..2 * third + 1, 2 * third + 1..BYTES] {
            let lent = map.lend(part.clone());
            assert!(*lent == bytes[part.clone()]);
            let held = resident_bytes(&map);
            assert!(
                held >= part.len() && held < part.len() + 2 * AROUND_BYTES,
                "{held}"
            );
        }
        assert_eq!(resident_bytes(&map), 0);
        let again = map.lend(10..BYTES);
        let inner = map.lend(third..third + 100);
        drop(again);
        assert!(*inner == bytes[third..third + 100]);
    }
}
