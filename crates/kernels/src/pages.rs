//! Memory for packed weights, in large pages where the system has them.
//!
//! Generated tokens read all weights once each. In pages of 4 KiB finding them then costs up to as much as reading them,
//! most in a virtual machine, whose page tables are looked up in the host's. A matrix is often smaller than a large page
//! (2 MiB), so matrices lie one behind the other in regions that ask for such pages.
#![allow(unsafe_code)] // parts of a region have one owner each, which the compiler cannot see

use std::alloc::{Layout, handle_alloc_error};
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut, Range};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use memmap2::{MmapMut, MmapOptions};

use crate::tiles::{PACKED_ALIGNMENT, Plain};

/// Bytes of a region that several matrices share. What nobody writes to takes no memory, but the last large page that
/// somebody did takes all of it: regions are large, so that there are few.
const REGION_BYTES: usize = 256 << 20;
/// Regions are as long as whole large pages.
const LARGE_PAGE_BYTES: usize = 2 << 20;
/// What is given back to the system begins and ends at such multiples: all its pages are as small or smaller.
const GIVEN_BACK_BYTES: usize = 64 << 10;

/// Mapped memory, zeros at first.
struct Region {
    base: *mut u8,
    map: MmapMut,
}

// SAFETY: nobody touches the bytes but the `Pages` that have them, each its own.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    fn new(bytes: usize) -> Option<Self> {
        let bytes = bytes.next_multiple_of(LARGE_PAGE_BYTES);
        let mut options = MmapOptions::new();
        let mut map = options.len(bytes).no_reserve_swap().map_anon().ok()?;
        // Where the system has none, small ones do.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        Some(Self {
            base: map.as_mut_ptr(),
            map,
        })
    }

    /// Gives back the memory of bytes that nobody has any more.
    fn give_back(&self, range: &Range<usize>) {
        #[cfg(target_os = "linux")]
        {
            let start = range.start.next_multiple_of(GIVEN_BACK_BYTES);
            let end = range.end / GIVEN_BACK_BYTES * GIVEN_BACK_BYTES;
            if start < end {
                // SAFETY: the bytes are within the map and nobody's; they are zeros when they are touched again.
                // Where the system does not want them, they stay until the region goes.
                let _ = unsafe {
                    self.map.unchecked_advise_range(
                        memmap2::UncheckedAdvice::DontNeed,
                        start,
                        end - start,
                    )
                };
            }
        }
        #[cfg(not(target_os = "linux"))]
        let _ = (range, &self.map);
    }
}

/// The region that has room, and how much of it is taken.
struct Open {
    region: Arc<Region>,
    taken: usize,
    /// How many have a part of it.
    parts: usize,
}

static OPEN: Mutex<Option<Open>> = Mutex::new(None);

fn open() -> MutexGuard<'static, Option<Open>> {
    // Nothing panics while the lock is held but where memory is out.
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// So many values, like a `Vec` that does not grow.
pub(crate) struct Pages<T> {
    region: Arc<Region>,
    bytes: Range<usize>,
    of: PhantomData<T>,
}

impl<T: Plain + Copy> Pages<T> {
    /// `count` times `value`.
    ///
    /// # Panics
    /// When there are none.
    pub(crate) fn new(count: usize, value: T) -> Self {
        Self::written(count, |_| value)
    }

    /// The same values once more.
    ///
    /// # Panics
    /// When there are none.
    pub(crate) fn copied(values: &[T]) -> Self {
        Self::written(values.len(), |at| values[at])
    }

    fn written(count: usize, value: impl Fn(usize) -> T) -> Self {
        const { assert!(size_of::<T>() > 0 && align_of::<T>() <= PACKED_ALIGNMENT) };
        let bytes = count.checked_mul(size_of::<T>()).filter(|&bytes| bytes > 0);
        let (region, bytes) = part(bytes.expect("some values, fewer than memory can hold"));
        let place = region.base.wrapping_add(bytes.start).cast::<T>();
        for at in 0..count {
            // SAFETY: `part` gave `count` values' bytes within the region to nobody else.
            unsafe { place.add(at).write(value(at)) };
        }
        Self {
            region,
            bytes,
            of: PhantomData,
        }
    }
}

/// So many bytes of a region that nobody else has, from a multiple of [`PACKED_ALIGNMENT`] on.
fn part(bytes: usize) -> (Arc<Region>, Range<usize>) {
    if bytes <= REGION_BYTES / 2 {
        let mut open = open();
        if open
            .as_ref()
            .is_none_or(|open| open.taken + bytes > REGION_BYTES)
        {
            *open = Region::new(REGION_BYTES).map(|region| Open {
                region: Arc::new(region),
                taken: 0,
                parts: 0,
            });
        }
        if let Some(open) = open.as_mut() {
            let start = open.taken;
            open.parts += 1;
            open.taken = (start + bytes).next_multiple_of(PACKED_ALIGNMENT);
            return (open.region.clone(), start..start + bytes);
        }
    }
    // Too much to share a region, or no room for a whole one.
    let Some(region) = Region::new(bytes) else {
        let layout = Layout::from_size_align(bytes, PACKED_ALIGNMENT);
        handle_alloc_error(layout.unwrap_or(Layout::new::<u8>()));
    };
    (Arc::new(region), 0..bytes)
}

impl<T> Drop for Pages<T> {
    fn drop(&mut self) {
        self.region.give_back(&self.bytes);
        let mut open = open();
        if let Some(open) = open.as_mut()
            && Arc::ptr_eq(&open.region, &self.region)
        {
            open.parts -= 1;
            if open.parts == 0 {
                // What lay between parts goes as well.
                self.region.give_back(&(0..open.taken));
                open.taken = 0;
            }
        }
    }
}

impl<T> Deref for Pages<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        let place = self.region.base.wrapping_add(self.bytes.start).cast::<T>();
        // SAFETY: the bytes are this owner's, within the region, aligned, and were written at the start.
        unsafe { std::slice::from_raw_parts(place, self.bytes.len() / size_of::<T>()) }
    }
}

impl<T> DerefMut for Pages<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        let place = self.region.base.wrapping_add(self.bytes.start).cast::<T>();
        // SAFETY: as above, and the owner is borrowed for writing.
        unsafe { std::slice::from_raw_parts_mut(place, self.bytes.len() / size_of::<T>()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_own_values_and_memory_goes_back() {
        let mut all: Vec<Pages<u64>> = (0..40).map(|at| Pages::new(100_000 + at, 7)).collect();
        for (at, pages) in all.iter_mut().enumerate() {
            assert!(pages.as_ptr().align_offset(PACKED_ALIGNMENT) == 0);
            assert!(pages.iter().all(|value| *value == 7));
            pages.fill(at as u64);
        }
        all.retain(|pages| !pages[0].is_multiple_of(3));
        for at in 0..9_usize {
            all.push(Pages::new(300_000, 1000 + at as u64));
        }
        for pages in &all {
            assert!(pages.iter().all(|value| *value == pages[0]));
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_is_dropped_takes_no_memory_although_its_region_stays() {
        const COUNT: usize = 1 << 20; // 8 MiB
        let region = Arc::new(Region::new(32 << 20).unwrap());
        let of = |at: usize| Pages::<u64> {
            region: region.clone(),
            bytes: at * 8 * COUNT..(at + 1) * 8 * COUNT,
            of: PhantomData,
        };
        let [mut first, mut second, mut third] = [of(0), of(1), of(2)];
        first.fill(1);
        second.fill(2);
        third.fill(3);
        let before = resident_bytes(&region);
        drop((first, third));
        let after = resident_bytes(&region);
        assert!(after + (15 << 20) < before, "{before} bytes, then {after}");
        assert!(second.iter().all(|value| *value == 2));
    }

    /// What the system says of the pages around a region that are in memory.
    #[cfg(target_os = "linux")]
    fn resident_bytes(region: &Region) -> usize {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let place = region.base as usize;
        let is_around = |line: &str| {
            let bounds = line
                .split_once(' ')
                .and_then(|(range, _)| range.split_once('-'));
            let bounds =
                bounds.map(|(from, to)| [from, to].map(|end| usize::from_str_radix(end, 16)));
            matches!(bounds, Some([Ok(from), Ok(to)]) if (from..to).contains(&place))
        };
        let lines = maps.lines().skip_while(|line| !is_around(line));
        let size = lines.skip(1).find_map(|line| line.strip_prefix("Rss:"));
        let kilobytes: usize = size
            .unwrap()
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .unwrap();
        kilobytes << 10
    }
}
