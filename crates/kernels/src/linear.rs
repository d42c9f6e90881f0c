//! A weight matrix, packed once at load, and its product with rows of activations.

use std::ops::Range;
use std::sync::{Mutex, OnceLock, PoisonError};

use half::f16;
use zerocopy::IntoBytes;

use crate::activations::{Activations, Form};
#[cfg(target_arch = "x86_64")]
use crate::backend::whole::Units;
use crate::backend::{Backend, NEAR_MIN_ROWS};
use crate::ggml::{Block, Format, FormatError};
use crate::lanes::{self, Computation, LANES, Lanes};
use crate::pages::Pages;
use crate::pool::Pool;
use crate::tile::{Eight, FiveK, FiveMin, Four, FourK, FourMin, SixK, Tile};
use crate::tiles::{LentError, Packing, Plain, SharedBytes, Tiles};
use crate::{BLOCK_INPUTS, TILE_OUTPUTS};

/// Rows of a product that are computed together when there are as many; then 4, 2, 1 ([`rows_together`]).
pub(crate) const ROWS_TOGETHER: usize = 6;

/// How many of so many rows are computed together from one on. Eight are two times four: two alone hardly pay for taking weights
/// apart.
pub(crate) const fn rows_together(rows: usize, first: usize) -> usize {
    match rows - first {
        // Where more rows are walked over in parts, these are whole groups of the most.
        8 if rows < NEAR_MIN_ROWS => 4,
        ROWS_TOGETHER.. => ROWS_TOGETHER,
        4.. => 4,
        2.. => 2,
        left => left,
    }
}

/// Weights `[outputs, inputs]` in tiles of 16 by 32, `[outputs / 16][inputs / 32]`, both padded, or of 16 by 256.
#[derive(Debug)]
pub struct PackedLinear {
    outputs: usize,
    inputs: usize,
    tiles: Packed,
    /// Found when it is first wanted.
    range: OnceLock<WeightRange>,
}

#[derive(Debug)]
enum Packed {
    FourMin(Tiles<FourMin>),
    Four(Tiles<Four>),
    FiveMin(Tiles<FiveMin>),
    Eight(Tiles<Eight>),
    FourK(Tiles<FourK>),
    FiveK(Tiles<FiveK>),
    SixK(Tiles<SixK>),
}

/// Evaluates an expression for tiles of whichever packing.
macro_rules! each {
    ($packed:expr, $tiles:ident => $value:expr) => {
        match $packed {
            Packed::FourMin($tiles) => $value,
            Packed::Four($tiles) => $value,
            Packed::FiveMin($tiles) => $value,
            Packed::Eight($tiles) => $value,
            Packed::FourK($tiles) => $value,
            Packed::FiveK($tiles) => $value,
            Packed::SixK($tiles) => $value,
        }
    };
}

impl PackedLinear {
    /// Packs a tensor as it lies in a GGUF file. Codes stay as they are, and so do scales but those of IQ4_XS and
    /// MXFP4, which are rounded to half precision; floats and Q2_K are rounded to 8 bits with a scale for 32 of them.
    ///
    /// # Errors
    /// [`FormatError`] when `bytes` is not `outputs * inputs` weights of the format.
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
        if needed == 0 || needed != bytes.len() {
            return Err(FormatError {
                format,
                outputs,
                inputs,
                needed,
                given: bytes.len(),
            });
        }
        let row = |output: usize| &bytes[output * (needed / outputs)..][..needed / outputs];
        let blocks = |output| format.blocks(row(output));
        let superblocks = |output| format.superblocks(row(output));
        let tiles = match (format.packing(), format) {
            (Packing::Four, _) => Packed::Four(tiles(outputs, inputs, blocks)),
            (Packing::FourMin, _) => Packed::FourMin(tiles(outputs, inputs, blocks)),
            (Packing::FiveMin, _) => Packed::FiveMin(tiles(outputs, inputs, blocks)),
            (Packing::FourK, _) => Packed::FourK(tiles(outputs, inputs, superblocks)),
            (Packing::FiveK, _) => Packed::FiveK(tiles(outputs, inputs, superblocks)),
            (Packing::SixK, _) => Packed::SixK(tiles(outputs, inputs, superblocks)),
            (Packing::Eight, Format::Q8_0 | Format::IQ4_NL | Format::IQ4_XS) => {
                Packed::Eight(tiles(outputs, inputs, blocks))
            }
            (Packing::Eight, _) => Packed::Eight(tiles(outputs, inputs, |output| {
                eight_bits(&format.floats(row(output))).into_iter()
            })),
        };
        Ok(Self {
            outputs,
            inputs,
            tiles,
            range: OnceLock::new(),
        })
    }

    /// Packs floats `[outputs, inputs]`, rounded to 8 bits with a scale for 32 of them.
    ///
    /// # Panics
    /// When `weights` has another size.
    pub fn from_floats(weights: &[f32], outputs: usize, inputs: usize) -> Self {
        assert!(outputs > 0 && inputs > 0 && weights.len() == outputs * inputs);
        let row = |output: usize| eight_bits(&weights[output * inputs..][..inputs]).into_iter();
        Self {
            outputs,
            inputs,
            tiles: Packed::Eight(tiles(outputs, inputs, row)),
            range: OnceLock::new(),
        }
    }

    /// Takes weights that were packed before, [`Self::as_bytes`], where they lie.
    ///
    /// # Errors
    /// [`LentError`] when they are not of this shape, or lie so that they cannot be read in place.
    pub fn lent(
        packing: Packing,
        outputs: usize,
        inputs: usize,
        bytes: SharedBytes,
        range: Range<usize>,
    ) -> Result<Self, LentError> {
        let given = range.len();
        let fits = given > 0 && packing.bytes(outputs, inputs) == Some(given);
        let lent = fits.then(|| match packing {
            Packing::FourMin => Tiles::lent(bytes, range).map(Packed::FourMin),
            Packing::Four => Tiles::lent(bytes, range).map(Packed::Four),
            Packing::FiveMin => Tiles::lent(bytes, range).map(Packed::FiveMin),
            Packing::Eight => Tiles::lent(bytes, range).map(Packed::Eight),
            Packing::FourK => Tiles::lent(bytes, range).map(Packed::FourK),
            Packing::FiveK => Tiles::lent(bytes, range).map(Packed::FiveK),
            Packing::SixK => Tiles::lent(bytes, range).map(Packed::SixK),
        });
        let tiles = lent.flatten().ok_or(LentError {
            packing,
            outputs,
            inputs,
            given,
        })?;
        Ok(Self {
            outputs,
            inputs,
            tiles,
            range: OnceLock::new(),
        })
    }

    /// The same weights in memory of their own, in large pages where the system has them: a mapped file is in small ones,
    /// which are slower to read.
    #[must_use]
    pub fn owned(self) -> Self {
        let tiles = match self.tiles {
            Packed::FourMin(tiles) => Packed::FourMin(tiles.owned()),
            Packed::Four(tiles) => Packed::Four(tiles.owned()),
            Packed::FiveMin(tiles) => Packed::FiveMin(tiles.owned()),
            Packed::Eight(tiles) => Packed::Eight(tiles.owned()),
            Packed::FourK(tiles) => Packed::FourK(tiles.owned()),
            Packed::FiveK(tiles) => Packed::FiveK(tiles.owned()),
            Packed::SixK(tiles) => Packed::SixK(tiles.owned()),
        };
        Self { tiles, ..self }
    }

    /// The packed weights as they lie in memory, in this machine's byte order.
    pub fn as_bytes(&self) -> &[u8] {
        each!(&self.tiles, tiles => tiles.as_bytes())
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
        self.as_bytes().len()
    }

    /// Writes one row of weights as floats into `row`, `[inputs]`.
    ///
    /// # Panics
    /// When `output` or the length of `row` is not of this matrix.
    pub fn row(&self, output: usize, row: &mut [f32]) {
        assert!(output < self.outputs && row.len() == self.inputs);
        each!(&self.tiles, tiles => dequantise(tiles, output, row));
    }

    /// `out[r][o] = sum over i of activations[r][i] * weights[o][i]`; `out` is `[rows, outputs]`.
    /// A row's result does not depend on how many others there are, where weights are finite.
    ///
    /// # Panics
    /// When the activations have another number of inputs or were quantised for another back end, or `out` has another
    /// size.
    pub fn multiply(&self, activations: &Activations, out: &mut [f32], backend: Backend) {
        assert_eq!(
            activations.blocks,
            self.inputs.div_ceil(BLOCK_INPUTS),
            "inputs of the layer"
        );
        assert_eq!(
            out.len(),
            activations.rows() * self.outputs,
            "rows by outputs"
        );
        assert!(
            backend == Backend::Amx || activations.form == Form::Bytes,
            "inputs of another back end"
        );
        let range = || {
            self.range
                .get_or_init(|| each!(&self.tiles, tiles => range(tiles, self.outputs)))
        };
        each!(&self.tiles, tiles => backend.multiply(tiles, activations, self.outputs, out, range));
    }
}

/// Packs rows, each given by its output, into tiles, `[outputs / 16][inputs of a tile]`. The threads of the pool share
/// the work.
fn tiles<T: Tile + Plain, R: Iterator<Item = T::Weights>>(
    outputs: usize,
    inputs: usize,
    row: impl Fn(usize) -> R + Sync,
) -> Tiles<T> {
    let across = inputs.div_ceil(T::BLOCKS * BLOCK_INPUTS);
    let panels = outputs.div_ceil(TILE_OUTPUTS);
    let mut tiles = Pages::new(panels * across, T::EMPTY);
    let left = Mutex::new(tiles.chunks_exact_mut(across).enumerate());
    Pool::global().run(panels, &|_| {
        // Nothing panics while the lock is held.
        let next = left.lock().unwrap_or_else(PoisonError::into_inner).next();
        let Some((panel, tiles)) = next else {
            return;
        };
        let first = panel * TILE_OUTPUTS;
        for output in first..outputs.min(first + TILE_OUTPUTS) {
            for (tile, weights) in tiles.iter_mut().zip(row(output)) {
                tile.set(output - first, &weights);
            }
        }
    });
    Tiles::Owned(tiles)
}

/// Rounds floats to 8 bits, a half-precision scale for 32 of them (as ggml's Q8_0 does).
fn eight_bits(row: &[f32]) -> Vec<Block> {
    lanes::run(Backend::best(), EightBits(row))
}

struct EightBits<'a>(&'a [f32]);

impl Computation for EightBits<'_> {
    type Output = Vec<Block>;

    /// The same Rust on every back end, compiled for its registers.
    #[allow(clippy::inline_always)] // as `Computation` asks
    #[inline(always)]
    fn run<L: Lanes>(self) -> Vec<Block> {
        let mut blocks = Vec::with_capacity(self.0.len().div_ceil(BLOCK_INPUTS));
        for part in self.0.chunks(BLOCK_INPUTS) {
            let mut values = [0.0; BLOCK_INPUTS];
            values[..part.len()].copy_from_slice(part);
            let mut most = [0.0_f32; LANES];
            for half in values.as_chunks::<LANES>().0 {
                for (most, value) in most.iter_mut().zip(half) {
                    *most = if value.abs() > *most {
                        value.abs()
                    } else {
                        *most
                    };
                }
            }
            let mut largest = 0.0_f32;
            for most in most {
                largest = if most > largest { most } else { largest };
            }
            let scale = f16::from_f32(largest / 127.0).to_f32();
            let inverse = if scale > 0.0 { scale.recip() } else { 0.0 };
            let mut codes = [128; BLOCK_INPUTS];
            for (code, value) in codes.iter_mut().zip(values) {
                // To the nearest, halves away from zero; without a call of the mathematics library.
                let steps = (value * inverse).clamp(-127.0, 127.0);
                *code = ((steps + 0.5_f32.copysign(steps)) as i32 + 128) as u8;
            }
            blocks.push(Block {
                scale,
                min: -128.0 * scale,
                codes,
            });
        }
        blocks
    }
}

fn dequantise<T: Tile>(tiles: &[T], output: usize, row: &mut [f32]) {
    let across = row.len().div_ceil(T::BLOCKS * BLOCK_INPUTS);
    let lane = output % TILE_OUTPUTS;
    let tiles = &tiles[output / TILE_OUTPUTS * across..];
    let part_inputs = BLOCK_INPUTS / T::PARTS;
    for (index, values) in row.chunks_mut(part_inputs).enumerate() {
        let (block, part) = (index / T::PARTS, index % T::PARTS);
        let (tile, block) = (&tiles[block / T::BLOCKS], block % T::BLOCKS);
        let scale = tile.scale(lane, block, part);
        let min = tile.min(lane, block).unwrap_or(0.0);
        let first = block * BLOCK_INPUTS + part * part_inputs;
        for (input, value) in values.iter_mut().enumerate() {
            let code = i32::from(tile.code(lane, first + input)) - T::OFFSET;
            *value = code as f32 * scale + min;
        }
    }
}

/// What AMX has to know of a matrix.
#[derive(Debug)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))] // AMX reads it
pub(crate) struct WeightRange {
    /// 2 to the power of it brings the largest weight there could be, by its scale, to 2^13 or above and below 2^14, which
    /// half precision holds.
    pub(crate) exponent: i32,
    /// `[outputs]`, padded to whole panels: 2 to the power of it brings an output's largest weight above 16000 and to 32000
    /// at most.
    exponents: Vec<i8>,
    /// Outputs with scales or minima that are no finite numbers.
    lost: Vec<usize>,
}

impl WeightRange {
    /// Those of a panel.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn units(&self, panel: usize) -> Units {
        Units(self.exponents.as_chunks().0[panel])
    }

    /// Says that the sums of lost outputs are no numbers.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn mark_lost(&self, out: &mut [f32], outputs: usize) {
        for row in out.chunks_exact_mut(outputs) {
            for &output in &self.lost {
                row[output] = f32::NAN;
            }
        }
    }
}

/// What an output's largest weight becomes at most, in units: with the rounding of its scale and minimum it stays below 2^15.
const LARGEST_UNITS: f32 = 32000.0;

fn range<T: Tile>(tiles: &[T], outputs: usize) -> WeightRange {
    let across = tiles.len() / outputs.div_ceil(TILE_OUTPUTS);
    let mut most = vec![[0.0_f32; TILE_OUTPUTS]; tiles.len() / across];
    let panels = Mutex::new(most.iter_mut().zip(tiles.chunks_exact(across)));
    let count = tiles.len() / across;
    Pool::global().run(count, &|_| {
        // Nothing panics while the lock is held.
        let next = panels.lock().unwrap_or_else(PoisonError::into_inner).next();
        if let Some((most, tiles)) = next {
            largest(tiles, most);
        }
    });
    let most = most.as_flattened();
    let lost = (0..outputs).filter(|&output| !most[output].is_finite());
    let all = most.iter().filter(|most| most.is_finite());
    let all = all.fold(0.0_f32, |all, most| all.max(*most));
    let exponents = most.iter().map(|&most| {
        if most > 0.0 && most.is_finite() {
            // Never above: the logarithm may be rounded up.
            let exponent = ((LARGEST_UNITS / most).log2().floor() as i32).min(EXPONENT_MAX);
            let is_above = most * 2.0_f32.powi(exponent) > LARGEST_UNITS;
            (exponent - i32::from(is_above)) as i8
        } else {
            0
        }
    });
    WeightRange {
        exponent: if all > 0.0 {
            13 - all.log2().floor() as i32
        } else {
            0
        },
        exponents: exponents.collect(),
        lost: lost.collect(),
    }
}

/// Powers of two that are normal numbers, and so are their inverses.
const EXPONENT_MAX: i32 = 120;

/// The largest magnitude that each output's weights could have, by their scales; infinite where one is no finite number.
fn largest<T: Tile>(tiles: &[T], most: &mut [f32; TILE_OUTPUTS]) {
    let code = T::OFFSET.max((1 << T::BITS) - 1 - T::OFFSET) as f32;
    for tile in tiles {
        for block in 0..T::BLOCKS {
            for part in 0..T::PARTS {
                for (lane, most) in most.iter_mut().enumerate() {
                    let min = tile.min(lane, block).unwrap_or(0.0);
                    let largest = tile.scale(lane, block, part).abs() * code + min.abs();
                    *most = if largest.is_finite() {
                        most.max(largest)
                    } else {
                        f32::INFINITY
                    };
                }
            }
        }
    }
}
