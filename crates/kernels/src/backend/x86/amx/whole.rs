//! Products of whole numbers of 16 bits, added up without rounding: a row's sums are the same to the bit whether it comes
//! alone, through AVX-512 VNNI ([`crate::backend::x86::avx512::whole`]), or with others.
//!
//! A weight is `scale * code + min`. Both become whole numbers first, in units of 2^-e that an output's largest weight has
//! at most 32000 of, and so does the weight; one of eight bits, whose scale has few units, is rounded itself. The upper
//! bytes of 64 inputs of such weights, signed ones, fill a register, and the lower ones, unsigned, another; each is
//! multiplied by the inputs' high bytes and by their low ones.

use std::arch::asm;
use std::arch::x86_64::{
    __m512, _mm256_loadu_si256, _mm512_add_epi16, _mm512_castps256_ps512, _mm512_cvtepi32_pd,
    _mm512_cvtpd_ps, _mm512_fmadd_pd, _mm512_insertf32x8, _mm512_mul_pd, _mm512_mul_ps,
    _mm512_mullo_epi16, _mm512_set1_epi16, _mm512_set1_pd, _mm512_setzero_si512, _mm512_slli_epi16,
    _mm512_srli_epi16, _mm512_store_si512, _mm512_storeu_ps, _mm512_ternarylogic_epi32,
};
use std::cell::RefCell;
use std::ops::Range;

use super::registers::{Configuration, ROWS, load, multiply, release, store, zero};
use super::{Weights, has_amx};
use crate::TILE_OUTPUTS;
use crate::backend::Columns;
use crate::backend::x86::Load512;
use crate::backend::x86::avx512::whole::{
    Units, integers, is_rounded, rounded, rounded_scales, twice,
};
use crate::backend::x86::avx512::{LINE_BYTES, fetch_from};
use crate::backend::x86::wide::Wide;
use crate::linear::WeightRange;
use crate::tile::GROUPS;

/// Pairs of blocks whose weights, of two panels, stay in the first cache beside the rows that pass by.
const CHUNK_PAIRS: usize = 6;
/// Pairs of blocks whose weights are kept where no other rows want them again.
const RING: usize = 2;
/// Bytes of inputs that stay in the second cache while the weights pass by.
pub(crate) const NEAR_BYTES: usize = 1 << 20;

/// The sums of a panel: upper bytes by high ones, lower by high and upper by low, lower by low.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct Sums([[[i32; TILE_OUTPUTS]; ROWS]; 3]);

impl Sums {
    const EMPTY: Self = Self([[[0; TILE_OUTPUTS]; ROWS]; 3]);
}

/// Weights of two blocks.
#[repr(C)]
#[derive(Clone, Copy)]
struct Planes {
    upper: Weights,
    lower: Weights,
}

/// Memory of a thread.
struct Scratch {
    /// `[pairs of blocks][panels]`, the pairs of a chunk, or [`RING`].
    weights: Vec<Planes>,
    /// `[rows / 16][panels]`.
    sums: Vec<[Sums; 2]>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = const { RefCell::new(Scratch { weights: Vec::new(), sums: Vec::new() }) };
}

/// Writes the sums of some rows over some panels, of which the first has the first tiles; the first row is a multiple of 16.
pub(crate) fn over_rows<T: Load512>(
    tiles: &[T],
    (inputs, rows): (&Wide, &Range<usize>),
    (panels, range): (Range<usize>, &WeightRange),
    out: &Columns<'_>,
) {
    assert!(has_amx());
    assert!(tiles.len() * T::BLOCKS >= panels.len() * inputs.blocks);
    assert!(rows.end <= inputs.rows() && !inputs.are_few());
    let pairs = inputs.blocks.div_ceil(2);
    let (chunk, kept) = if rows.len() <= ROWS {
        (pairs, RING)
    } else {
        let chunk = pairs.div_ceil(pairs.div_ceil(CHUNK_PAIRS));
        (chunk, chunk)
    };
    SCRATCH.with_borrow_mut(|scratch| {
        if scratch.weights.len() < 2 * kept {
            let empty = Planes {
                upper: Weights::EMPTY,
                lower: Weights::EMPTY,
            };
            scratch.weights.resize(2 * kept, empty);
        }
        let groups = rows.len().div_ceil(ROWS);
        if scratch.sums.len() < groups {
            scratch.sums.resize(groups, [Sums::EMPTY; 2]);
        }
        let mut walk = Walk {
            inputs,
            rows,
            range,
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
    inputs: &'a Wide,
    rows: &'a Range<usize>,
    range: &'a WeightRange,
    /// Pairs of blocks that all rows pass by before the next.
    chunk: usize,
    /// Pairs of blocks whose weights are kept.
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
        let units: [Units; P] = std::array::from_fn(|index| self.range.units(panel + index));
        let pairs = inputs.blocks.div_ceil(2);
        for first_pair in (0..pairs).step_by(self.chunk) {
            let pairs = first_pair..pairs.min(first_pair + self.chunk);
            for (first, sums) in rows.clone().step_by(ROWS).zip(sums.iter_mut()) {
                let count = (rows.end - first).min(ROWS);
                if count != self.configured {
                    // Six of sums, inputs, weights.
                    let rows = [count, count, count, count, count, count, count, ROWS];
                    // SAFETY: the processor has AMX; all sums were stored.
                    unsafe { Configuration::new(rows).set() };
                    self.configured = count;
                }
                let group = Group {
                    tiles,
                    inputs,
                    first,
                    panel,
                    kept: self.kept,
                };
                // SAFETY: bounds and instructions were asserted above and by the caller, `weights` has room, registers are
                // configured.
                unsafe {
                    if first == rows.start {
                        group.sums::<P, true>((weights, &units), &pairs, sums);
                    } else {
                        group.sums::<P, false>((weights, &units), &pairs, sums);
                    }
                }
            }
        }
        // SAFETY: the processor has the instructions.
        unsafe { finish(sums, (inputs, rows), (panel, &units), out) };
    }
}

/// Writes sums, put together and in their units. Floats of 64 bits hold them without rounding. The units are powers of two.
#[target_feature(enable = "avx512f,avx512dq,avx512vl")]
unsafe fn finish<const P: usize>(
    sums: &[[Sums; 2]],
    (inputs, rows): (&Wide, &Range<usize>),
    (panel, units): (usize, &[Units; P]),
    out: &Columns<'_>,
) {
    let units = units.map(|units| units.units());
    let base = _mm512_set1_pd(256.0);
    for (index, row) in rows.clone().enumerate() {
        let step = _mm512_set1_pd(inputs.steps[row].into());
        let mut values = [[0.0; TILE_OUTPUTS]; P];
        let fill = |to: &mut [f32]| {
            let (to, _) = to.as_chunks_mut::<TILE_OUTPUTS>();
            for (panel, to) in to.iter_mut().enumerate() {
                let sums = &sums[index / ROWS][panel].0;
                let half = |half: usize| {
                    let [upper, middle, lower] = sums.each_ref().map(|sums| {
                        let sums = &sums[index % ROWS][8 * half..];
                        // SAFETY: 32 bytes are read from a half of an array of 64.
                        unsafe { _mm512_cvtepi32_pd(_mm256_loadu_si256(sums.as_ptr().cast())) }
                    });
                    let sum = _mm512_fmadd_pd(_mm512_fmadd_pd(upper, base, middle), base, lower);
                    _mm512_cvtpd_ps(_mm512_mul_pd(sum, step))
                };
                let both = _mm512_insertf32x8::<1>(_mm512_castps256_ps512(half(0)), half(1));
                // SAFETY: 16 floats are written to an array of as many.
                unsafe { _mm512_storeu_ps(to.as_mut_ptr(), _mm512_mul_ps(both, units[panel])) };
            }
        };
        let width = P * TILE_OUTPUTS;
        out.write((row, panel * TILE_OUTPUTS), width, |part| {
            if part.len() == width {
                return fill(part);
            }
            // The last panels may have outputs that are padding.
            fill(values.as_flattened_mut());
            part.copy_from_slice(&values.as_flattened()[..part.len()]);
        });
    }
}

/// Rows that are multiplied together.
struct Group<'a, T> {
    tiles: &'a [T],
    inputs: &'a Wide,
    first: usize,
    /// The first panel's number.
    panel: usize,
    /// Pairs of blocks that `weights` has.
    kept: usize,
}

impl<T: Load512> Group<'_, T> {
    /// Asks for a part of the four panels behind these two and their neighbours, side by side: a core's prefetchers follow
    /// several streams faster than one or two.
    #[inline(always)]
    unsafe fn fetch(&self, block: usize, panel: usize) {
        let blocks = self.inputs.blocks;
        let across = blocks / T::BLOCKS;
        // The second two go on where the first did stop.
        let is_second = self.panel / 2 % 2;
        let step = is_second * blocks + block;
        let ahead = (4 - 2 * is_second + step % 2 * 2 + panel) * across;
        let tile = self
            .tiles
            .as_ptr()
            .wrapping_add(ahead + step / 2 / T::BLOCKS);
        // SAFETY: the caller has AVX-512.
        unsafe { fetch_from(tile, step / 2 % T::BLOCKS) };
    }

    /// `P` panels; fresh: their weights are not in `weights` yet.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,f16c")]
    unsafe fn sums<const P: usize, const FRESH: bool>(
        &self,
        (weights, units): (&mut [Planes], &[Units; P]),
        pairs: &Range<usize>,
        sums: &mut [Sums; 2],
    ) {
        let blocks = self.inputs.blocks;
        let inputs = self.inputs.group(self.first);
        let rows = inputs.len() / (2 * blocks.div_ceil(2));
        let powers = units.map(|units| units.powers());
        let [left, right] = sums;
        // SAFETY: block < blocks and panel < P, which the tiles, the weights and, for the rows that registers have, the
        // inputs have. Sums are of 16 rows of 16.
        unsafe {
            if pairs.start == 0 {
                zero!(0);
                zero!(1);
                zero!(2);
                zero!(3);
                zero!(4);
                zero!(5);
            } else {
                load!(0, left.0[0].as_ptr());
                load!(1, left.0[1].as_ptr());
                load!(2, left.0[2].as_ptr());
                if P > 1 {
                    load!(3, right.0[0].as_ptr());
                    load!(4, right.0[1].as_ptr());
                    load!(5, right.0[2].as_ptr());
                }
            }
            for pair in pairs.clone() {
                let place = (pair - pairs.start) % self.kept * P;
                if FRESH {
                    for block in 2 * pair..blocks.min(2 * pair + 2) {
                        for (panel, &powers) in powers.iter().enumerate() {
                            let tile = self
                                .tiles
                                .get_unchecked((panel * blocks + block) / T::BLOCKS);
                            if self.first == 0 {
                                self.fetch(block, panel);
                            }
                            let into = weights.get_unchecked_mut(place + panel);
                            widen(tile, block % T::BLOCKS, powers, (into, block % 2));
                        }
                    }
                }
                let of = weights.as_ptr().add(place);
                let (upper, lower) = (&raw const (*of).upper, &raw const (*of).lower);
                let from = inputs.as_ptr().add(2 * rows * pair);
                load!(6, from);
                load!(7, upper);
                multiply!("tdpbssd", 0, 6, 7);
                load!(7, lower);
                multiply!("tdpbsud", 1, 6, 7);
                if P > 1 {
                    let of = of.add(1);
                    let (other_upper, other_lower) =
                        (&raw const (*of).upper, &raw const (*of).lower);
                    load!(7, other_lower);
                    multiply!("tdpbsud", 4, 6, 7);
                    load!(7, other_upper);
                    multiply!("tdpbssd", 3, 6, 7);
                    load!(6, from.add(rows));
                    multiply!("tdpbssd", 4, 6, 7);
                    load!(7, other_lower);
                    multiply!("tdpbsud", 5, 6, 7);
                    load!(7, lower);
                } else {
                    load!(6, from.add(rows));
                }
                multiply!("tdpbsud", 2, 6, 7);
                load!(7, upper);
                multiply!("tdpbssd", 1, 6, 7);
            }
            store!(0, left.0[0].as_mut_ptr());
            store!(1, left.0[1].as_mut_ptr());
            store!(2, left.0[2].as_mut_ptr());
            if P > 1 {
                store!(3, right.0[0].as_mut_ptr());
                store!(4, right.0[1].as_mut_ptr());
                store!(5, right.0[2].as_mut_ptr());
            }
        }
    }
}

/// Writes a block's weights as whole numbers: its half of the rows.
#[inline(always)]
unsafe fn widen<T: Load512>(
    tile: &T,
    block: usize,
    powers: __m512,
    (into, half): (&mut Planes, usize),
) {
    const AND_THEN_OR: i32 = 0xEC;
    // SAFETY: pairs, parts and the block are below their numbers; the stores fill half of the 16 rows of each plane; the
    // caller has the instructions.
    unsafe {
        let upper = into.upper.0.as_mut_ptr().add(half * GROUPS);
        let lower = into.lower.0.as_mut_ptr().add(half * GROUPS);
        let [low, high] = [0xFF, 0xFF << 8].map(|mask: u16| _mm512_set1_epi16(mask.cast_signed()));
        for part in 0..T::PARTS {
            let (scales, mins) = if is_rounded::<T>() {
                (rounded_scales(tile, block, powers), _mm512_setzero_si512())
            } else {
                let (scales, mins) = integers(tile, (block, part), powers);
                (twice(scales), twice(mins))
            };
            let pairs = GROUPS / 2 / T::PARTS;
            for pair in part * pairs..(part + 1) * pairs {
                // Of each output, two weights of four.
                let weights = if is_rounded::<T>() {
                    rounded(tile, (block, pair), scales)
                } else {
                    let product = |words| _mm512_mullo_epi16(words, scales);
                    tile.words(block, pair)
                        .map(|words| _mm512_add_epi16(product(words), mins))
                };
                for group in 0..2 {
                    let (even, odd) = (weights[group], weights[group + 2]);
                    let lowers = _mm512_ternarylogic_epi32::<AND_THEN_OR>(
                        even,
                        _mm512_slli_epi16::<8>(odd),
                        low,
                    );
                    let uppers = _mm512_ternarylogic_epi32::<AND_THEN_OR>(
                        odd,
                        _mm512_srli_epi16::<8>(even),
                        high,
                    );
                    _mm512_store_si512(lower.add(2 * pair + group).cast(), lowers);
                    _mm512_store_si512(upper.add(2 * pair + group).cast(), uppers);
                }
            }
        }
    }
}
