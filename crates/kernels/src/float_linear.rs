//! A weight matrix of floats, kept as they are, and its product with rows.
//!
//! Each output is one chain of fused multiply-adds over the inputs in order: the bits depend neither
//! on the rows beside it nor on the instructions.

use crate::backend::{Backend, Columns};
use crate::blocks::{Ordered, Plain, product};
use crate::ggml::{Format, FormatError};
use crate::lanes::{self, Computation, LANES, Lanes, Product, in_parts};
use crate::pool::Pool;

/// Rows that are computed together when there are as many; then 4, 2, 1.
const ROWS_TOGETHER: usize = 6;
/// Panels of 16 outputs that are computed together when there are as many; then 1.
const PANELS_TOGETHER: usize = 2;
/// From so many rows on they are multiplied block by block.
const BLOCKED_ROWS: usize = 24;
/// Operations that are worth waking a helper for: about 20 microseconds of one core.
const CHUNK_MIN_OPERATIONS: usize = 1 << 20;

/// Weights `[outputs, inputs]` in panels of 16 outputs, `[outputs / 16][inputs][16]`, padded.
#[derive(Debug)]
pub struct FloatLinear {
    outputs: usize,
    inputs: usize,
    pub(crate) panels: Panels,
}

#[derive(Debug)]
pub(crate) enum Panels {
    Single(Vec<[f32; LANES]>),
    Half(Vec<[u16; LANES]>),
    Bfloat(Vec<[u16; LANES]>),
}

impl FloatLinear {
    /// Packs a tensor `[outputs, inputs]` of little-endian floats; exact.
    ///
    /// # Errors
    /// [`FormatError`] for a format that is no float, and when `bytes` is not that many of them.
    pub fn pack(
        format: Format,
        bytes: &[u8],
        outputs: usize,
        inputs: usize,
    ) -> Result<Self, FormatError> {
        let needed = format
            .row_bytes(inputs)
            .and_then(|row| row.checked_mul(outputs))
            .unwrap_or(0);
        let refused = FormatError {
            format,
            outputs,
            inputs,
            needed,
            given: bytes.len(),
        };
        if needed == 0 || needed != bytes.len() {
            return Err(refused);
        }
        let panels = match format {
            Format::F32 => {
                let (numbers, _) = bytes.as_chunks::<4>();
                Panels::Single(panels(outputs, inputs, |at| {
                    f32::from_le_bytes(numbers[at])
                }))
            }
            Format::F16 | Format::BF16 => {
                let (numbers, _) = bytes.as_chunks::<2>();
                let packed = panels(outputs, inputs, |at| u16::from_le_bytes(numbers[at]));
                if format == Format::F16 {
                    Panels::Half(packed)
                } else {
                    Panels::Bfloat(packed)
                }
            }
            _ => return Err(refused),
        };
        Ok(Self {
            outputs,
            inputs,
            panels,
        })
    }

    /// Packs floats `[outputs, inputs]`.
    ///
    /// # Panics
    /// When `weights` has another size.
    pub fn from_floats(weights: &[f32], outputs: usize, inputs: usize) -> Self {
        assert!(outputs > 0 && inputs > 0 && weights.len() == outputs * inputs);
        Self {
            outputs,
            inputs,
            panels: Panels::Single(panels(outputs, inputs, |at| weights[at])),
        }
    }

    /// Outputs of the layer.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Inputs of the layer.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Bytes that the packed weights take.
    pub fn bytes(&self) -> usize {
        match &self.panels {
            Panels::Single(panels) => size_of_val(panels.as_slice()),
            Panels::Half(panels) | Panels::Bfloat(panels) => size_of_val(panels.as_slice()),
        }
    }

    /// Writes one row of weights into `row`, `[inputs]`.
    ///
    /// # Panics
    /// When `output` or the length of `row` is not of this matrix.
    pub fn row(&self, output: usize, row: &mut [f32]) {
        assert!(output < self.outputs && row.len() == self.inputs);
        let (panel, lane) = (output / LANES * self.inputs, output % LANES);
        for (input, place) in row.iter_mut().enumerate() {
            let at = panel + input;
            *place = match &self.panels {
                Panels::Single(panels) => panels[at][lane],
                Panels::Half(panels) => half::f16::from_bits(panels[at][lane]).to_f32(),
                Panels::Bfloat(panels) => half::bf16::from_bits(panels[at][lane]).to_f32(),
            };
        }
    }

    /// Writes `rows`, `[rows, inputs]`, times the weights into `out`, `[rows, outputs]`.
    ///
    /// # Panics
    /// When the sizes do not fit each other.
    pub fn multiply(&self, rows: &[f32], out: &mut [f32], backend: Backend) {
        let count = rows.len() / self.inputs;
        assert!(rows.len() == count * self.inputs && out.len() == count * self.outputs);
        if count >= BLOCKED_ROWS {
            return self.multiply_blocks(rows, &[], out, backend);
        }
        match &self.panels {
            Panels::Single(panels) => self.product::<Single>(panels, rows, out, backend),
            Panels::Half(panels) => self.product::<Half>(panels, rows, out, backend),
            Panels::Bfloat(panels) => self.product::<Bfloat>(panels, rows, out, backend),
        }
    }

    /// The same plus a bias, `[outputs]`; it has the same bits as [`Self::multiply`] and an addition after it.
    ///
    /// # Panics
    /// When the sizes do not fit each other.
    pub fn multiply_add(&self, rows: &[f32], bias: &[f32], out: &mut [f32], backend: Backend) {
        let count = rows.len() / self.inputs;
        assert!(rows.len() == count * self.inputs && out.len() == count * self.outputs);
        assert!(bias.len() == self.outputs);
        if count >= BLOCKED_ROWS {
            return self.multiply_blocks(rows, bias, out, backend);
        }
        self.multiply(rows, out, backend);
        for row in out.chunks_exact_mut(self.outputs) {
            for (sum, bias) in row.iter_mut().zip(bias) {
                *sum += bias;
            }
        }
    }

    fn multiply_blocks(&self, values: &[f32], bias: &[f32], out: &mut [f32], backend: Backend) {
        let inputs = self.inputs;
        let out = Columns::new(out, self.outputs);
        let rows = Plain { values, inputs };
        let count = values.len() / inputs;
        product(self, &rows, count, &Ordered { out, bias }, backend);
    }

    fn product<S: Stored>(
        &self,
        panels: &[[S::Item; LANES]],
        rows: &[f32],
        out: &mut [f32],
        backend: Backend,
    ) where
        S::Item: Sync,
    {
        let pool = Pool::global();
        let pairs = self.outputs.div_ceil(LANES * PANELS_TOGETHER);
        let chunks = (2 * rows.len() * self.outputs / CHUNK_MIN_OPERATIONS)
            .clamp(1, 4 * pool.threads())
            .min(pairs);
        let out = Columns::new(out, self.outputs);
        pool.run(chunks, &|chunk| {
            let indices = pairs * chunk / chunks..pairs * (chunk + 1) / chunks;
            lanes::run(
                backend,
                Pairs::<S> {
                    panels,
                    inputs: self.inputs,
                    indices,
                    rows,
                    out: &out,
                },
            );
        });
    }
}

/// The panels of a matrix whose numbers are given by index.
fn panels<T: Copy + Default>(
    outputs: usize,
    inputs: usize,
    number: impl Fn(usize) -> T,
) -> Vec<[T; LANES]> {
    let mut panels = Vec::with_capacity(outputs.div_ceil(LANES) * inputs);
    for first in (0..outputs).step_by(LANES) {
        let count = LANES.min(outputs - first);
        for input in 0..inputs {
            let mut line = [T::default(); LANES];
            for (lane, place) in line[..count].iter_mut().enumerate() {
                *place = number((first + lane) * inputs + input);
            }
            panels.push(line);
        }
    }
    panels
}

/// How a weight is stored.
pub(crate) trait Stored {
    type Item: Copy;
    fn load<L: Lanes>(weights: &[Self::Item; LANES]) -> L;
}

pub(crate) struct Single;
pub(crate) struct Half;
pub(crate) struct Bfloat;

impl Stored for Single {
    type Item = f32;

    #[allow(clippy::inline_always)] // as `Computation` asks
    #[inline(always)]
    fn load<L: Lanes>(weights: &[f32; LANES]) -> L {
        L::load(weights)
    }
}

impl Stored for Half {
    type Item = u16;

    #[allow(clippy::inline_always)] // as `Computation` asks
    #[inline(always)]
    fn load<L: Lanes>(weights: &[u16; LANES]) -> L {
        L::load_half(weights)
    }
}

impl Stored for Bfloat {
    type Item = u16;

    #[allow(clippy::inline_always)] // as `Computation` asks
    #[inline(always)]
    fn load<L: Lanes>(weights: &[u16; LANES]) -> L {
        L::load_bfloat(weights)
    }
}

/// Some pairs of panels times all rows.
struct Pairs<'a, S: Stored> {
    panels: &'a [[S::Item; LANES]],
    inputs: usize,
    indices: std::ops::Range<usize>,
    rows: &'a [f32],
    out: &'a Columns<'a>,
}

impl<S: Stored> Computation for Pairs<'_, S> {
    type Output = ();

    #[allow(clippy::inline_always)] // as `Computation` asks
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let all = self.panels.len() / self.inputs;
        for pair in self.indices.clone() {
            let panel = pair * PANELS_TOGETHER;
            if panel + PANELS_TOGETHER <= all {
                self.over_rows::<L, PANELS_TOGETHER>(panel);
            } else {
                self.over_rows::<L, 1>(panel);
            }
        }
    }
}

impl<S: Stored> Pairs<'_, S> {
    #[allow(clippy::inline_always)] // as `Computation` asks
    #[inline(always)]
    fn over_rows<L: Lanes, const P: usize>(&self, panel: usize) {
        let rows = self.rows.len() / self.inputs;
        let mut row = 0;
        macro_rules! together {
            ($count:expr) => {
                #[allow(clippy::int_plus_one)] // reads the same for every count
                while row + $count <= rows {
                    let mut some = SomeRows {
                        of: self,
                        row,
                        panel,
                    };
                    in_parts::<L, { $count }, P>(&mut some);
                    row += $count;
                }
            };
        }
        together!(ROWS_TOGETHER);
        together!(4);
        together!(2);
        together!(1);
    }
}

/// Some panels times some rows.
struct SomeRows<'a, S: Stored> {
    of: &'a Pairs<'a, S>,
    row: usize,
    panel: usize,
}

impl<S: Stored> Product for SomeRows<'_, S> {
    #[allow(clippy::inline_always)] // as `Computation` asks
    #[allow(clippy::needless_range_loop)] // see within
    #[inline(always)]
    fn part<L: Lanes, const R: usize, const P: usize>(&mut self, row: usize, panel: usize) {
        let (row, panel) = (self.row + row, self.panel + panel);
        let inputs = self.of.inputs;
        // Indices, not iterators over arrays: the sums have to stay in registers.
        let mut weights = [&self.of.panels[..0]; P];
        for p in 0..P {
            weights[p] = &self.of.panels[(panel + p) * inputs..][..inputs];
        }
        let mut rows = [&self.of.rows[..0]; R];
        for r in 0..R {
            rows[r] = &self.of.rows[(row + r) * inputs..][..inputs];
        }
        let mut sums = [[L::splat(0.0); P]; R];
        for input in 0..inputs {
            let mut loaded = [L::splat(0.0); P];
            for p in 0..P {
                loaded[p] = S::load(&weights[p][input]);
            }
            for r in 0..R {
                let factor = L::splat(rows[r][input]);
                for p in 0..P {
                    sums[r][p] = loaded[p].multiply_add(factor, sums[r][p]);
                }
            }
        }
        for r in 0..R {
            let mut flat = [[0.0; LANES]; P];
            for p in 0..P {
                sums[r][p].store(&mut flat[p]);
            }
            let place = (row + r, panel * LANES);
            self.of.out.set(place, flat.as_flattened());
        }
    }
}
