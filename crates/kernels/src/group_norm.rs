//! Group norm (Wu and He 2018) of pictures, and what opens after it, in two passes over memory.

use crate::backend::{Backend, Columns};
use crate::lanes::{self, Computation, LANES, Lanes, logistic, vectors};
use crate::pool::Pool;

/// A norm of groups of channels.
#[derive(Debug, Clone, Copy)]
pub struct GroupNorm<'a> {
    /// Groups; the channels are a multiple of them.
    pub groups: usize,
    /// Of each channel.
    pub weight: &'a [f32],
    /// Of each channel.
    pub bias: &'a [f32],
    /// Added to the variance.
    pub epsilon: f32,
    /// Whether SiLU (Elfwing et al. 2017) follows.
    pub silu: bool,
}

impl GroupNorm<'_> {
    /// Writes the norm of pictures `[batch, channels, pixels]` into `out`.
    ///
    /// # Panics
    /// When the sizes do not fit each other.
    pub fn run(&self, values: &[f32], pixels: usize, out: &mut [f32], backend: Backend) {
        let channels = self.weight.len();
        assert!(self.bias.len() == channels && channels.is_multiple_of(self.groups));
        assert!(values.len() == out.len() && values.len().is_multiple_of(channels * pixels));
        let each = channels / self.groups;
        let count = values.len() / (each * pixels);
        let out = Columns::new(out, pixels);
        Pool::global().run(count, &|group| {
            let group = Group {
                norm: self,
                values: &values[group * each * pixels..][..each * pixels],
                pixels,
                line: group * each,
                out: &out,
            };
            lanes::run(backend, group);
        });
    }
}

/// One group of one picture.
struct Group<'a> {
    norm: &'a GroupNorm<'a>,
    values: &'a [f32],
    pixels: usize,
    /// The number of the first channel, those of pictures before counted.
    line: usize,
    out: &'a Columns<'a>,
}

impl Computation for Group<'_> {
    type Output = ();

    #[allow(clippy::inline_always)] // as `Computation` asks
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let count = self.values.len() as f32;
        let mean = total::<L>(self.values, 0.0, |value| value) / count;
        let squares = total::<L>(self.values, mean, |value| value.multiply(value));
        let scale = 1.0 / (squares / count + self.norm.epsilon).sqrt();
        let one = L::splat(1.0);
        for (index, values) in self.values.chunks_exact(self.pixels).enumerate() {
            let line = self.line + index;
            let channel = line % self.norm.weight.len();
            let factor = self.norm.weight[channel] * scale;
            let shift = L::splat(self.norm.bias[channel]);
            let (factor, mean) = (L::splat(factor), L::splat(mean));
            let mut column = 0;
            while column < self.pixels {
                let taken = LANES.min(self.pixels - column);
                let mut vector = [0.0; LANES];
                vector[..taken].copy_from_slice(&values[column..column + taken]);
                let normal = L::load(&vector).subtract(mean).multiply_add(factor, shift);
                let open = if self.norm.silu {
                    logistic(normal)
                } else {
                    one
                };
                normal.multiply(open).store(&mut vector);
                self.out.set((line, column), &vector[..taken]);
                column += taken;
            }
        }
    }
}

/// The sum of a function of the distances from a mean; in eight chains, added in one order.
#[allow(clippy::inline_always)] // as `Computation` asks
#[inline(always)]
fn total<L: Lanes>(values: &[f32], mean: f32, of: impl Fn(L) -> L) -> f32 {
    let (whole, rest) = vectors(values);
    let centre = L::splat(mean);
    let mut sums = [L::splat(0.0); 8];
    let (chains, last) = whole.as_chunks::<8>();
    for chain in chains {
        for (sum, vector) in sums.iter_mut().zip(chain) {
            *sum = sum.add(of(L::load(vector).subtract(centre)));
        }
    }
    for (sum, vector) in sums.iter_mut().zip(last) {
        *sum = sum.add(of(L::load(vector).subtract(centre)));
    }
    // What fills the last vector up is at the mean.
    let mut vector = [mean; LANES];
    vector[..rest.len()].copy_from_slice(rest);
    sums[7] = sums[7].add(of(L::load(&vector).subtract(centre)));
    let mut width = sums.len() / 2;
    while width > 0 {
        for index in 0..width {
            sums[index] = sums[index].add(sums[index + width]);
        }
        width /= 2;
    }
    sums[0].sum()
}
