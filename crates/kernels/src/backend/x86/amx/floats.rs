//! Products of bfloat16, added up in float32: the fast mode.
//!
//! Whole numbers would have to become floats behind each block, for its scale, which takes longer than multiplying them.
//! So weights become bfloat16 first, a block of a panel at a time, in half precision: `scale * code + min` times a power
//! of two that keeps the matrix's largest weight below 2^14: what is 2^-28 of it or less becomes zero. A half-precision
//! number whose exponent and first seven bits of fraction move to the places that bfloat16 has for them is itself times
//! 2^-112. Inputs are times 2^48, so that products and sums of numbers as models have them stay normal, and one
//! multiplication puts each sum right in the end.

use std::arch::asm;
use std::arch::x86_64::{
    __m512, __m512h, _CMP_ORD_Q, _MM_FROUND_NO_EXC, _MM_FROUND_TO_NEAREST_INT, _mm512_and_si512,
    _mm512_castph_si512, _mm512_castsi512_ph, _mm512_cmp_ps_mask, _mm512_cvtepu16_epi32,
    _mm512_cvtepu16_ph, _mm512_cvtps_ph, _mm512_fmadd_ph, _mm512_maskz_mov_ps, _mm512_mul_ps,
    _mm512_mulhrs_epi16, _mm512_or_si512, _mm512_set1_epi16, _mm512_set1_ps, _mm512_slli_epi32,
    _mm512_store_si512,
};
use std::cell::RefCell;
use std::ops::Range;

use super::registers::{Configuration, ROWS, load, multiply, release, store, zero};
use super::{Weights, has_amx};
use crate::TILE_OUTPUTS;
use crate::backend::Columns;
use crate::backend::x86::Load512;
use crate::backend::x86::avx512::{LINE_BYTES, fetch};
use crate::backend::x86::bfloats::{Bfloats, INPUT_EXPONENT};
use crate::tile::GROUPS;

/// Rows that are multiplied together: two registers of them.
const ROWS_TOGETHER: usize = 2 * ROWS;
/// Blocks whose weights, of two panels, stay in the first cache beside the rows that pass by.
const CHUNK_BLOCKS: usize = 12;
/// Blocks whose weights are kept where no other rows want them again.
const RING: usize = 4;
/// Bytes of inputs that stay in the second cache, which processors with AMX have 2 MiB of, while the weights pass by.
pub(crate) const NEAR_BYTES: usize = 1 << 20;
/// How much larger a half-precision number is than the bfloat16 that its bits become.
const HALF_EXPONENT: i32 = 112;

/// What a register of sums holds.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct Sums([[f32; TILE_OUTPUTS]; ROWS]);

/// Memory of a thread.
struct Scratch {
    /// `[blocks][panels]`, the blocks of a chunk, or [`RING`].
    weights: Vec<Weights>,
    /// `[rows / 32][4]`, as the registers have them.
    sums: Vec<[Sums; 4]>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = const { RefCell::new(Scratch { weights: Vec::new(), sums: Vec::new() }) };
}

/// Writes the sums of some rows over some panels, of which the first has the first tiles; the first row is a multiple of 16.
/// The weights are times 2 to the power of `exponent` meanwhile.
pub(crate) fn over_rows<T: Load512>(
    tiles: &[T],
    (inputs, rows): (&Bfloats, &Range<usize>),
    (panels, exponent): (Range<usize>, i32),
    out: &Columns<'_>,
) {
    assert!(has_amx());
    assert!(tiles.len() * T::BLOCKS >= panels.len() * inputs.blocks);
    assert!(rows.end <= inputs.rows());
    let (chunk, kept) = if rows.len() <= ROWS_TOGETHER {
        (inputs.blocks, RING)
    } else {
        let chunks = inputs.blocks.div_ceil(CHUNK_BLOCKS);
        let chunk = inputs.blocks.div_ceil(chunks);
        (chunk, chunk)
    };
    SCRATCH.with_borrow_mut(|scratch| {
        if scratch.weights.len() < 2 * kept {
            scratch.weights.resize(2 * kept, Weights::EMPTY);
        }
        let groups = rows.len().div_ceil(ROWS_TOGETHER);
        if scratch.sums.len() < groups {
            let empty = [Sums([[0.0; TILE_OUTPUTS]; ROWS]); 4];
            scratch.sums.resize(groups, empty);
        }
        let mut walk = Walk {
            inputs,
            rows,
            exponent,
            chunk,
            kept,
            configured: 0,
        };
        for panel in panels.clone().step_by(2) {
            let tiles = &tiles[(panel - panels.start) * inputs.blocks / T::BLOCKS..];
            if panel + 1 < panels.end {
                walk.over_panels::<T, 2>(tiles, panel, scratch, out);
            } else {
                walk.over_panels::<T, 1>(tiles, panel, scratch, out);
            }
        }
        // SAFETY: nothing that is in the registers is needed any more.
        unsafe { release() };
    });
}

/// What panels have in common.
struct Walk<'a> {
    inputs: &'a Bfloats,
    rows: &'a Range<usize>,
    exponent: i32,
    /// Blocks that all rows pass by before the next.
    chunk: usize,
    /// Blocks whose weights are kept.
    kept: usize,
    /// Rows that the registers are configured for.
    configured: usize,
}

impl Walk<'_> {
    /// Writes the sums over `P` panels.
    fn over_panels<T: Load512, const P: usize>(
        &mut self,
        tiles: &[T],
        panel: usize,
        Scratch { weights, sums }: &mut Scratch,
        out: &Columns<'_>,
    ) {
        let (inputs, rows) = (self.inputs, self.rows);
        assert!(inputs.blocks.is_multiple_of(T::BLOCKS));
        assert!(tiles.len() * T::BLOCKS >= P * inputs.blocks);
        for first_block in (0..inputs.blocks).step_by(self.chunk) {
            let blocks = first_block..inputs.blocks.min(first_block + self.chunk);
            for (first, sums) in rows.clone().step_by(ROWS_TOGETHER).zip(sums.iter_mut()) {
                let count = (rows.end - first).min(ROWS_TOGETHER);
                if count != self.configured {
                    // Inputs of the first 16 rows and of the others, weights of both panels, the first rows' sums, the others'.
                    let (first, other) = (count.min(ROWS), count.saturating_sub(ROWS).max(1));
                    let rows = [first, other, ROWS, ROWS, first, first, other, other];
                    // SAFETY: the processor has AMX; all sums were stored.
                    unsafe { Configuration::new(rows).set() };
                    self.configured = count;
                }
                let group = Group {
                    tiles,
                    inputs,
                    rows: first..first + count,
                    exponent: self.exponent,
                    kept: self.kept,
                };
                // SAFETY: bounds and instructions were asserted above and by the caller, `weights` has room, registers are
                // configured.
                unsafe {
                    match (first == rows.start, count > ROWS) {
                        (true, true) => group.sums::<P, 2, true>(weights, &blocks, sums),
                        (true, false) => group.sums::<P, 1, true>(weights, &blocks, sums),
                        (false, true) => group.sums::<P, 2, false>(weights, &blocks, sums),
                        (false, false) => group.sums::<P, 1, false>(weights, &blocks, sums),
                    }
                }
            }
        }
        let unit = power(HALF_EXPONENT - INPUT_EXPONENT - self.exponent);
        for (index, row) in rows.clone().enumerate() {
            let sums = &sums[index / ROWS_TOGETHER][index % ROWS_TOGETHER / ROWS * 2..];
            let mut values = [[0.0; TILE_OUTPUTS]; P];
            for (sums, values) in sums.iter().zip(&mut values) {
                for (sum, value) in sums.0[index % ROWS].iter().zip(values) {
                    *value = sum * unit;
                }
            }
            out.set((row, panel * TILE_OUTPUTS), values.as_flattened());
        }
    }
}

/// Rows that are multiplied together.
struct Group<'a, T> {
    tiles: &'a [T],
    inputs: &'a Bfloats,
    rows: Range<usize>,
    exponent: i32,
    /// Blocks that `weights` has.
    kept: usize,
}

impl<T: Load512> Group<'_, T> {
    /// `P` panels against `G` registers of rows, over some blocks; fresh: their weights are not in `weights` yet.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512fp16,f16c")]
    unsafe fn sums<const P: usize, const G: usize, const FRESH: bool>(
        &self,
        weights: &mut [Weights],
        blocks: &Range<usize>,
        sums: &mut [Sums; 4],
    ) {
        let all = self.inputs.blocks;
        let factor = power(self.exponent);
        let first = self.inputs.group(self.rows.start);
        let first_rows = first.len() / all;
        let other = if G > 1 {
            self.inputs.group(self.rows.start + ROWS)
        } else {
            first
        };
        let other_rows = other.len() / all;
        // SAFETY: block < blocks and panel < P, which the tiles, the weights and, for up to 16 * G rows, the inputs have:
        // registers have as many rows as there are. Sums are of 16 rows of 16.
        unsafe {
            if blocks.start == 0 {
                zero!(4);
                zero!(5);
                zero!(6);
                zero!(7);
            } else {
                load!(4, sums[0].0.as_ptr());
                load!(5, sums[1].0.as_ptr());
                if G > 1 {
                    load!(6, sums[2].0.as_ptr());
                    load!(7, sums[3].0.as_ptr());
                }
            }
            for block in blocks.clone() {
                let place = (block - blocks.start) % self.kept * P;
                if FRESH {
                    for panel in 0..P {
                        let tile = self.tiles.get_unchecked((panel * all + block) / T::BLOCKS);
                        if self.rows.start == 0 {
                            let ahead = P * all / T::BLOCKS * size_of::<T>();
                            fetch(tile, block % T::BLOCKS, ahead);
                        }
                        let into = weights.get_unchecked_mut(place + panel);
                        widen(tile, block % T::BLOCKS, factor, into);
                    }
                }
                let of = weights.as_ptr().add(place);
                load!(0, first.as_ptr().add(block * first_rows));
                load!(2, of);
                multiply!("tdpbf16ps", 4, 0, 2);
                if P > 1 {
                    load!(3, of.add(1));
                    multiply!("tdpbf16ps", 5, 0, 3);
                }
                if G > 1 {
                    load!(1, other.as_ptr().add(block * other_rows));
                    multiply!("tdpbf16ps", 6, 1, 2);
                    if P > 1 {
                        multiply!("tdpbf16ps", 7, 1, 3);
                    }
                }
            }
            store!(4, sums[0].0.as_mut_ptr());
            store!(5, sums[1].0.as_mut_ptr());
            if G > 1 {
                store!(6, sums[2].0.as_mut_ptr());
                store!(7, sums[3].0.as_mut_ptr());
            }
        }
    }
}

/// 2 to the power of a number that floats have exponents for.
pub(crate) fn power(exponent: i32) -> f32 {
    debug_assert!((-126..=127).contains(&exponent));
    f32::from_bits(((exponent + 127) as u32) << 23)
}

/// Numbers in half precision, each twice side by side.
#[inline(always)]
unsafe fn twice(values: __m512) -> __m512h {
    // SAFETY: the caller has AVX-512 and its FP16.
    unsafe {
        let halves = _mm512_cvtps_ph::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(values);
        let wide = _mm512_cvtepu16_epi32(halves);
        _mm512_castsi512_ph(_mm512_or_si512(wide, _mm512_slli_epi32::<16>(wide)))
    }
}

/// A block's weights as bfloat16, of four inputs the first and third side by side, and the second and fourth; see
/// [`crate::backend::x86::bfloats`] for the order of the whole.
#[inline(always)]
unsafe fn widen<T: Load512>(tile: &T, block: usize, factor: f32, into: &mut Weights) {
    // SAFETY: pairs, parts and the block are below their numbers; the 16 stores fill the 16 rows; the caller has the
    // instructions.
    unsafe {
        let factor = _mm512_set1_ps(factor);
        let mins = tile.mins(block).map(|mins| _mm512_mul_ps(mins, factor));
        // Its product's upper half, rounded, is an eighth.
        let eighth = _mm512_set1_epi16(1 << 12);
        // The sign is in the upper four bits then.
        let places = _mm512_set1_epi16(0x8FFF_u16.cast_signed());
        let to = into.0.as_mut_ptr();
        for part in 0..T::PARTS {
            let scales = _mm512_mul_ps(tile.scales(block, part), factor);
            let offset = _mm512_set1_ps(-(T::OFFSET as f32));
            let mins = mins.unwrap_or(_mm512_mul_ps(scales, offset));
            let (scales, mins) = (twice(scales), twice(mins));
            let pairs = GROUPS / 2 / T::PARTS;
            for pair in part * pairs..(part + 1) * pairs {
                let words = tile.words(block, pair);
                for (index, codes) in words.into_iter().enumerate() {
                    let codes = _mm512_cvtepu16_ph(codes);
                    let weights = _mm512_castph_si512(_mm512_fmadd_ph(codes, scales, mins));
                    let moved = _mm512_and_si512(_mm512_mulhrs_epi16(weights, eighth), places);
                    _mm512_store_si512(to.add(4 * pair + index).cast(), moved);
                }
            }
        }
    }
}

/// Zeros for what is no number.
#[inline(always)]
pub(crate) unsafe fn numbers(values: __m512) -> __m512 {
    // SAFETY: the caller has AVX-512 F.
    unsafe {
        let are = _mm512_cmp_ps_mask::<_CMP_ORD_Q>(values, values);
        _mm512_maskz_mov_ps(are, values)
    }
}
