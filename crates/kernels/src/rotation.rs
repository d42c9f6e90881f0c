//! Rotary positions (Su et al. 2021) on flat rows, halves of a head paired.

use crate::backend::Backend;
use crate::lanes::{self, Computation, LANES, Lanes};

/// Turns the first dimensions of each head of `rows`, `[positions, heads * size]`, in place: dimension `i` and
/// `i + turned / 2` by the angle whose sine and cosine are at `i` of `[positions, turned / 2]`.
///
/// # Panics
/// When the sizes do not fit each other.
pub fn rotate(
    rows: &mut [f32],
    (heads, size): (usize, usize),
    (sines, cosines): (&[f32], &[f32]),
    backend: Backend,
) {
    let width = heads * size;
    assert!(width > 0 && rows.len().is_multiple_of(width));
    let positions = rows.len() / width;
    assert!(sines.len() == cosines.len());
    if positions == 0 || sines.is_empty() {
        return;
    }
    assert!(sines.len().is_multiple_of(positions));
    let half = sines.len() / positions;
    assert!(2 * half <= size);
    let turning = Turning {
        rows,
        width,
        size,
        half,
        sines,
        cosines,
    };
    lanes::run(backend, turning);
}

struct Turning<'a> {
    rows: &'a mut [f32],
    width: usize,
    size: usize,
    half: usize,
    sines: &'a [f32],
    cosines: &'a [f32],
}

impl Computation for Turning<'_> {
    type Output = ();

    #[allow(clippy::inline_always)] // as `Computation` asks
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let turns = self.sines.chunks_exact(self.half);
        let turns = turns.zip(self.cosines.chunks_exact(self.half));
        for (row, (sines, cosines)) in self.rows.chunks_exact_mut(self.width).zip(turns) {
            for head in row.chunks_exact_mut(self.size) {
                let (left, right) = head[..2 * self.half].split_at_mut(self.half);
                let (lefts, left_rest) = left.as_chunks_mut::<LANES>();
                let (rights, right_rest) = right.as_chunks_mut::<LANES>();
                let (sine_vectors, sine_rest) = sines.as_chunks::<LANES>();
                let (cosine_vectors, cosine_rest) = cosines.as_chunks::<LANES>();
                let turns = sine_vectors.iter().zip(cosine_vectors);
                for ((left, right), (sine, cosine)) in lefts.iter_mut().zip(rights).zip(turns) {
                    let (a, b) = (L::load(left), L::load(right));
                    let (sine, cosine) = (L::load(sine), L::load(cosine));
                    a.multiply(cosine).subtract(b.multiply(sine)).store(left);
                    a.multiply(sine).add(b.multiply(cosine)).store(right);
                }
                let turns = sine_rest.iter().zip(cosine_rest);
                for ((left, right), (sine, cosine)) in
                    left_rest.iter_mut().zip(right_rest).zip(turns)
                {
                    let (a, b) = (*left, *right);
                    *left = a * cosine - b * sine;
                    *right = a * sine + b * cosine;
                }
            }
        }
    }
}
