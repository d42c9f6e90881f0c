//! Loads of tiles into registers of 128 bits, and the loops around what multiplies.

use std::marker::PhantomData;

use half::f16;

use crate::TILE_OUTPUTS;
use crate::activations::{Activations, FIRST, Steps};
use crate::backend::{Arithmetic, Backend, Columns, Rows, outliers, part_owed};
use crate::neon::{
    float32x4_t, int32x4_t, uint8x16_t, vaddq_s32, vandq_u8, vcvt_f32_f16, vcvtq_f32_s32,
    vdupq_n_f32, vdupq_n_s8, vdupq_n_s32, vdupq_n_u8, vfmaq_f32, vfmaq_n_f32, vld1_u16, vld1q_u8,
    vmulq_n_f32, vorrq_u8, vreinterpret_f16_u16, vshlq_n_s32, vshlq_u8, vshrq_n_u8, vst1q_f32,
};
use crate::tile::{Eight, FiveMin, Four, FourMin, GROUP_BYTES, Tile};

/// Outputs in a register.
pub(super) const LANES: usize = 4;
/// Registers for the outputs of a tile.
const QUARTERS: usize = TILE_OUTPUTS / LANES;
/// Bytes of a group in a register.
pub(super) const QUARTER_BYTES: usize = GROUP_BYTES / QUARTERS;

/// Loads of a quarter of a tile: outputs `4 * quarter` to `4 * quarter + 3`, `quarter` below 4.
pub(crate) trait Load128: Tile {
    /// The codes of a block's groups `2 * pair` and `2 * pair + 1`, unsigned; `pair` is below 4, `block` below
    /// [`Tile::BLOCKS`].
    unsafe fn pair(&self, block: usize, pair: usize, quarter: usize) -> [uint8x16_t; 2];
    /// Of a part of a block; `part` is below [`Tile::PARTS`].
    unsafe fn scales(&self, block: usize, part: usize, quarter: usize) -> float32x4_t;
    /// `None` for layouts without minima.
    unsafe fn mins(&self, block: usize, quarter: usize) -> Option<float32x4_t>;
}

#[inline(always)]
pub(super) unsafe fn load(bytes: &[u8], at: usize) -> uint8x16_t {
    debug_assert!(at + 16 <= bytes.len());
    // SAFETY: the callers' offsets end within the tile's array.
    unsafe { vld1q_u8(bytes.as_ptr().add(at)) }
}

#[inline(always)]
pub(super) unsafe fn halves(values: &[f16; TILE_OUTPUTS], quarter: usize) -> float32x4_t {
    debug_assert!(quarter < QUARTERS);
    // SAFETY: four of 16 numbers, which are bits of 16, from the 12th at most.
    unsafe {
        let bits = vld1_u16(values.as_ptr().add(quarter * LANES).cast());
        vcvt_f32_f16(vreinterpret_f16_u16(bits))
    }
}

#[inline(always)]
pub(super) unsafe fn nibbles(codes: &[u8], pair: usize, quarter: usize) -> [uint8x16_t; 2] {
    // SAFETY: pair and quarter are below 4: the load ends within 256 bytes; the caller has NEON.
    unsafe {
        let bytes = load(codes, pair * GROUP_BYTES + quarter * QUARTER_BYTES);
        [vandq_u8(bytes, vdupq_n_u8(15)), vshrq_n_u8::<4>(bytes)]
    }
}

/// The same with their fifth bits.
#[inline(always)]
pub(super) unsafe fn fives(
    codes: &[u8],
    highs: &[u8],
    pair: usize,
    quarter: usize,
) -> [uint8x16_t; 2] {
    // SAFETY: pair and quarter are below 4: the load ends within 64 bytes; the caller has NEON.
    unsafe {
        let highs = load(highs, quarter * QUARTER_BYTES);
        let [even, odd] = nibbles(codes, pair, quarter);
        // A negative shift goes to the right.
        let sixteen = |group: usize| {
            let places = vdupq_n_s8(4 - group as i8);
            vandq_u8(vshlq_u8(highs, places), vdupq_n_u8(16))
        };
        [
            vorrq_u8(even, sixteen(2 * pair)),
            vorrq_u8(odd, sixteen(2 * pair + 1)),
        ]
    }
}

macro_rules! halves_of {
    () => {
        #[inline(always)]
        unsafe fn scales(&self, _: usize, _: usize, quarter: usize) -> float32x4_t {
            // SAFETY: as the caller promises.
            unsafe { halves(&self.scales, quarter) }
        }
    };
}

macro_rules! mins_of {
    () => {
        #[inline(always)]
        unsafe fn mins(&self, _: usize, quarter: usize) -> Option<float32x4_t> {
            // SAFETY: as the caller promises.
            Some(unsafe { halves(&self.mins, quarter) })
        }
    };
}

macro_rules! no_mins {
    () => {
        #[inline(always)]
        unsafe fn mins(&self, _: usize, _: usize) -> Option<float32x4_t> {
            None
        }
    };
}

macro_rules! four_bits {
    () => {
        #[inline(always)]
        unsafe fn pair(&self, _: usize, pair: usize, quarter: usize) -> [uint8x16_t; 2] {
            // SAFETY: as the caller promises.
            unsafe { nibbles(&self.codes, pair, quarter) }
        }
    };
}

impl Load128 for Four {
    four_bits!();
    halves_of!();
    no_mins!();
}

impl Load128 for FourMin {
    four_bits!();
    halves_of!();
    mins_of!();
}

impl Load128 for FiveMin {
    #[inline(always)]
    unsafe fn pair(&self, _: usize, pair: usize, quarter: usize) -> [uint8x16_t; 2] {
        // SAFETY: as the caller promises.
        unsafe { fives(&self.codes, &self.highs, pair, quarter) }
    }
    halves_of!();
    mins_of!();
}

impl Load128 for Eight {
    #[inline(always)]
    unsafe fn pair(&self, _: usize, pair: usize, quarter: usize) -> [uint8x16_t; 2] {
        let first = 2 * pair * GROUP_BYTES + quarter * QUARTER_BYTES;
        // SAFETY: pair and quarter are below 4: both loads end within 512 bytes.
        unsafe {
            [
                load(&self.codes, first),
                load(&self.codes, first + GROUP_BYTES),
            ]
        }
    }
    halves_of!();
    no_mins!();
}

/// The multiplication of a back end. Whoever calls any of this has the back end's instructions.
pub(crate) trait Multiply {
    const BACKEND: Backend;
    /// What is taken from every code before it is multiplied (the rest of [`Tile::OFFSET`] is left).
    fn taken<T: Tile>() -> i32;
    /// Adds the dot products of `inputs` with quarters of a part of a block, from the one beside the tile on. `at` is
    /// the block, of how many, and the part. How the sums lie is the back end's own, until [`Multiply::ordered`].
    unsafe fn add_dots<T: Load128, const R: usize, const Q: usize>(
        dots: &mut [[int32x4_t; Q]; R],
        tile: (&T, usize),
        inputs: &[i8],
        at: (usize, usize, usize),
    );
    /// The sums by rows and quarters.
    unsafe fn ordered<const R: usize, const Q: usize>(
        dots: [[int32x4_t; Q]; R],
    ) -> [[int32x4_t; Q]; R];
    /// [`part_sums`], compiled for the back end's instructions.
    unsafe fn part_sums<T: Load128, const R: usize, const Q: usize>(
        tiles: &[T],
        rows: &Rows<'_>,
        first: usize,
    ) -> [[[f32; LANES]; Q]; R];
}

/// The back end that multiplies so.
pub(crate) struct Neon<M>(PhantomData<M>);

impl<M: Multiply, T: Load128> Arithmetic<T> for Neon<M> {
    #[inline]
    fn sums<const R: usize, const P: usize>(
        tiles: &[T],
        (activations, first): (&Activations, usize),
        (columns, column): (&Columns<'_>, usize),
    ) {
        let rows = &Rows::of::<T, R, P>(tiles, (activations, first));
        let mut out = [[[0.0; TILE_OUTPUTS]; P]; R];
        for panel in 0..P {
            let across = rows.blocks / T::BLOCKS;
            let tiles = &tiles[panel * across..][..across];
            let mut panels = out.each_mut().map(|panels| &mut panels[panel]);
            // With few rows there are registers for the sums of a whole panel, and with them chains of
            // additions that hide the latency of one.
            if R <= 2 {
                fill::<M, T, R, QUARTERS>(tiles, rows, &mut panels);
            } else {
                fill::<M, T, R, { QUARTERS / 2 }>(tiles, rows, &mut panels);
            }
        }
        outliers::add(M::BACKEND, tiles, rows, &mut out);
        columns.set_all((first, column), &out);
    }
}

/// Writes the sums of `R` rows over a panel, `Q` quarters at a time; the bounds were asserted.
#[inline(always)]
fn fill<M: Multiply, T: Load128, const R: usize, const Q: usize>(
    tiles: &[T],
    rows: &Rows<'_>,
    out: &mut [&mut [f32; TILE_OUTPUTS]; R],
) {
    for first in (0..QUARTERS).step_by(Q) {
        // SAFETY: the bounds were asserted; Backend chose this because the processor has it.
        let sums = unsafe { M::part_sums::<T, R, Q>(tiles, rows, first) };
        for (out, sums) in out.iter_mut().zip(&sums) {
            out[first * LANES..][..Q * LANES].copy_from_slice(sums.as_flattened());
        }
    }
}

/// The sums of `R` rows over `Q` quarters of a panel, from `first` on.
#[inline(always)]
pub(super) unsafe fn part_sums<M: Multiply, T: Load128, const R: usize, const Q: usize>(
    tiles: &[T],
    rows: &Rows<'_>,
    first: usize,
) -> [[[f32; LANES]; Q]; R] {
    // SAFETY: the caller has NEON.
    let mut acc = unsafe { [[vdupq_n_f32(0.0); Q]; R] };
    let have_seconds = rows.have_seconds();
    for block in 0..rows.blocks {
        let (tile, within) = (&tiles[block / T::BLOCKS], block % T::BLOCKS);
        for part in 0..T::PARTS {
            // SAFETY (the whole block): row < R and block < blocks, within the bounds that the caller
            // asserted; first + Q is at most 4; the caller has the back end's instructions.
            unsafe {
                let mut dots = [[vdupq_n_s32(0); Q]; R];
                let at = (block, rows.blocks, part);
                M::add_dots::<T, R, Q>(&mut dots, (tile, first), rows.codes, at);
                if have_seconds {
                    for dots in dots.as_flattened_mut() {
                        *dots = vshlq_n_s32::<{ FIRST.ilog2() as i32 }>(*dots);
                    }
                    M::add_dots::<T, R, Q>(&mut dots, (tile, first), rows.lows, at);
                }
                let dots = M::ordered(dots);
                for quarter in 0..Q {
                    let scales = tile.scales(within, part, first + quarter);
                    let mins = tile.mins(within, first + quarter).filter(|_| part == 0);
                    for row in 0..R {
                        let index = row * rows.blocks + block;
                        let acc = &mut acc[row][quarter];
                        if let Some(mins) = mins {
                            *acc = vfmaq_n_f32(*acc, mins, *rows.totals.get_unchecked(index));
                        }
                        let owed =
                            [rows.owed, rows.owed_firsts].map(|owed| *owed.get_unchecked(index));
                        let owed = part_owed::<T>(T::OFFSET - M::taken::<T>(), part, owed);
                        let dot = vcvtq_f32_s32(vaddq_s32(dots[row][quarter], vdupq_n_s32(owed)));
                        let mut scale = scales;
                        if let Steps::OfBlocks(steps) = rows.steps {
                            scale = vmulq_n_f32(scales, *steps.get_unchecked(index));
                        }
                        *acc = vfmaq_f32(*acc, dot, scale);
                    }
                }
            }
        }
    }
    if let Steps::OfRows(steps) = rows.steps {
        for (acc, step) in acc.iter_mut().zip(steps) {
            for acc in acc {
                // SAFETY: the caller has NEON.
                unsafe { *acc = vmulq_n_f32(*acc, *step) };
            }
        }
    }
    let mut out = [[[0.0; LANES]; Q]; R];
    for (values, acc) in out.as_flattened_mut().iter_mut().zip(acc.as_flattened()) {
        // SAFETY: 4 floats are written to an array of 4; the caller has NEON.
        unsafe { vst1q_f32(values.as_mut_ptr(), *acc) };
    }
    out
}
