//! The output of a product, written by several threads, each in columns of its own.
#![allow(unsafe_code)] // threads write disjoint columns of one slice

use std::marker::PhantomData;

use crate::backend::Sums;
use crate::lanes::{self, LANES, Lanes};

/// Columns from which on lines are asked for before they are written. Stores end in their order, so that all wait for one whose
/// line is in no cache: 16 rows of 49152 sums took 1.4 times as long. Nearer ones would be a hundredth slower for the asking.
const FAR_COLUMNS: usize = 4096;

/// A matrix `[rows, width]` whose columns are divided among threads.
pub(crate) struct Columns<'a> {
    values: *mut f32,
    rows: usize,
    width: usize,
    lent: PhantomData<&'a mut [f32]>,
}

// SAFETY: all that is written is a `part`, of the columns that it names, and each user gives a column of a row to
// one chunk only (`Walk` by groups of panels, `Attention::run` by heads and rows).
unsafe impl Sync for Columns<'_> {}

impl<'a> Columns<'a> {
    /// `values` is whole rows of `width`.
    pub(crate) fn new(values: &'a mut [f32], width: usize) -> Self {
        Self {
            rows: values.len() / width,
            values: values.as_mut_ptr(),
            width,
            lent: PhantomData,
        }
    }

    /// The columns of a row from `(row, column)`, as many as there are of `count`.
    #[allow(clippy::mut_from_ref)] // each caller has columns of its own
    fn part(&self, (row, column): (usize, usize), count: usize) -> &mut [f32] {
        assert!(row < self.rows && column < self.width);
        let count = count.min(self.width - column);
        // SAFETY: the range lies within the row, the row within the slice; nobody else has these
        // columns.
        unsafe { std::slice::from_raw_parts_mut(self.values.add(row * self.width + column), count) }
    }

    /// Has the columns of a row from `(row, column)` written, as many as there are of `count`.
    pub(crate) fn write(&self, at: (usize, usize), count: usize, with: impl FnOnce(&mut [f32])) {
        with(self.part(at, count));
    }

    /// Whether what is written lies far apart: out of the near caches by the time that it is written to again.
    pub(crate) fn are_far(&self) -> bool {
        self.width >= FAR_COLUMNS
    }

    /// Asks for the lines of vectors from `(row, column)` on that will be written soon.
    #[inline]
    pub(crate) fn ask(&self, (row, column): (usize, usize), vectors: usize) {
        let at = self.values.wrapping_add(row * self.width + column);
        for vector in 0..vectors {
            lanes::ask_to_write(at.wrapping_add(vector * LANES));
        }
        // The last one may end in another line.
        lanes::ask_to_write(at.wrapping_add(vectors * LANES - 1));
    }

    /// Writes a vector of sums; those beyond the last column are padding.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))] // AVX-512 writes so
    #[allow(clippy::inline_always)] // part of what computes them
    #[inline(always)]
    pub(crate) fn store<L: Lanes>(&self, at: (usize, usize), sums: L) {
        let part = self.part(at, LANES);
        if let Ok(whole) = part.try_into() {
            return sums.store(whole);
        }
        let mut last = [0.0; LANES];
        sums.store(&mut last);
        part.copy_from_slice(&last[..part.len()]);
    }

    /// Writes the sums of rows from `(row, column)` on.
    pub(crate) fn set_all<const R: usize, const P: usize>(
        &self,
        (row, column): (usize, usize),
        sums: &Sums<R, P>,
    ) {
        for (index, panels) in sums.iter().enumerate() {
            self.set((row + index, column), panels.as_flattened());
        }
    }

    /// Writes sums; those beyond the last column are padding.
    pub(crate) fn set(&self, at: (usize, usize), sums: &[f32]) {
        let part = self.part(at, sums.len());
        // Vector by vector: most calls have one or two, which a call to copy them would cost as much as.
        let (vectors, rest) = part.as_chunks_mut::<LANES>();
        let (sums, last) = sums.as_chunks::<LANES>();
        for (vector, sums) in vectors.iter_mut().zip(sums) {
            *vector = *sums;
        }
        if !rest.is_empty() {
            let last = sums.get(vectors.len()).map_or(last, |sums| sums);
            rest.copy_from_slice(&last[..rest.len()]);
        }
    }
}
