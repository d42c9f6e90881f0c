//! AVX2: pairs of bytes are multiplied into 16 bits, where the products of as many groups are added up as fit, all of
//! a block with 4-bit codes; 8-bit codes go through magnitudes and signs, and each pair becomes 32 bits at once.

mod superblocks;

use std::arch::x86_64::{
    __m256, __m256i, _mm_loadu_si128, _mm256_abs_epi8, _mm256_add_epi16, _mm256_add_epi32,
    _mm256_and_si256, _mm256_cmpeq_epi8, _mm256_cvtepi32_ps, _mm256_cvtph_ps, _mm256_fmadd_ps,
    _mm256_loadu_si256, _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_mul_ps, _mm256_or_si256,
    _mm256_set1_epi8, _mm256_set1_epi16, _mm256_set1_epi32, _mm256_set1_ps, _mm256_setzero_ps,
    _mm256_setzero_si256, _mm256_sign_epi8, _mm256_slli_epi32, _mm256_srli_epi16, _mm256_storeu_ps,
    _mm256_xor_si256,
};

use half::f16;

use crate::activations::{Activations, FIRST, Steps};
use crate::backend::{Arithmetic, Backend, Columns, Rows, Sums, outliers, part_owed};
use crate::tile::{Eight, FiveMin, Four, FourMin, GROUP_BYTES, GROUPS, Tile};
use crate::{BLOCK_INPUTS, TILE_OUTPUTS};

/// Outputs in a register.
pub(super) const LANES: usize = TILE_OUTPUTS / 2;

/// Loads of half a tile: outputs 0 to 7 or 8 to 15.
pub(crate) trait Load256: Tile {
    /// The codes of a block's groups `2 * pair` and `2 * pair + 1`, unsigned; `pair` is below 4, `half` below 2, `block`
    /// below [`Tile::BLOCKS`].
    unsafe fn pair(&self, block: usize, pair: usize, half: usize) -> [__m256i; 2];
    /// Of a part of a block; `part` is below [`Tile::PARTS`].
    unsafe fn scales(&self, block: usize, part: usize, half: usize) -> __m256;
    /// `None` for layouts without minima.
    unsafe fn mins(&self, block: usize, half: usize) -> Option<__m256>;
}

#[inline(always)]
unsafe fn load(bytes: &[u8], at: usize) -> __m256i {
    debug_assert!(at + 32 <= bytes.len());
    // SAFETY: the callers' offsets end within the tile's array.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().add(at).cast()) }
}

#[inline(always)]
unsafe fn halves(values: &[f16; TILE_OUTPUTS], half: usize) -> __m256 {
    debug_assert!(half < 2);
    // SAFETY: 16 bytes from offset 0 or 16 of an array of 32 bytes.
    unsafe { _mm256_cvtph_ps(_mm_loadu_si128(values.as_ptr().add(half * LANES).cast())) }
}

#[inline(always)]
unsafe fn nibbles(codes: &[u8], pair: usize, half: usize) -> [__m256i; 2] {
    // SAFETY: pair is below 4 and half below 2: the load ends within 256 bytes; the caller has AVX2.
    unsafe {
        let bytes = load(codes, pair * GROUP_BYTES + half * 32);
        let low = _mm256_set1_epi8(15);
        [
            _mm256_and_si256(bytes, low),
            _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), low),
        ]
    }
}

/// The same with their fifth bits.
#[inline(always)]
unsafe fn fives(codes: &[u8], highs: &[u8; GROUP_BYTES], pair: usize, half: usize) -> [__m256i; 2] {
    // SAFETY: half is below 2, pair below 4; the caller has AVX2.
    unsafe {
        let highs = load(highs, half * 32);
        let [even, odd] = nibbles(codes, pair, half);
        let sixteen = |group: usize| {
            let bit = _mm256_set1_epi8((1_u8 << group) as i8);
            let set = _mm256_cmpeq_epi8(_mm256_and_si256(highs, bit), bit);
            _mm256_and_si256(set, _mm256_set1_epi8(16))
        };
        [
            _mm256_or_si256(even, sixteen(2 * pair)),
            _mm256_or_si256(odd, sixteen(2 * pair + 1)),
        ]
    }
}

macro_rules! halves_of {
    () => {
        #[inline(always)]
        unsafe fn scales(&self, _: usize, _: usize, half: usize) -> __m256 {
            // SAFETY: as the caller promises.
            unsafe { halves(&self.scales, half) }
        }
    };
}

macro_rules! mins_of {
    () => {
        #[inline(always)]
        unsafe fn mins(&self, _: usize, half: usize) -> Option<__m256> {
            // SAFETY: as the caller promises.
            Some(unsafe { halves(&self.mins, half) })
        }
    };
}

macro_rules! no_mins {
    () => {
        #[inline(always)]
        unsafe fn mins(&self, _: usize, _: usize) -> Option<__m256> {
            None
        }
    };
}

macro_rules! four_bits {
    () => {
        #[inline(always)]
        unsafe fn pair(&self, _: usize, pair: usize, half: usize) -> [__m256i; 2] {
            // SAFETY: as the caller promises.
            unsafe { nibbles(&self.codes, pair, half) }
        }
    };
}

impl Load256 for Four {
    four_bits!();
    halves_of!();
    no_mins!();
}

impl Load256 for FourMin {
    four_bits!();
    halves_of!();
    mins_of!();
}

impl Load256 for FiveMin {
    #[inline(always)]
    unsafe fn pair(&self, _: usize, pair: usize, half: usize) -> [__m256i; 2] {
        // SAFETY: as the caller promises.
        unsafe { fives(&self.codes, &self.highs, pair, half) }
    }
    halves_of!();
    mins_of!();
}

impl Load256 for Eight {
    #[inline(always)]
    unsafe fn pair(&self, _: usize, pair: usize, half: usize) -> [__m256i; 2] {
        let first = 2 * pair * GROUP_BYTES + half * 32;
        // SAFETY: pair is below 4 and half below 2: both loads end within 512 bytes.
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

/// The multiplication of the back ends with 256-bit registers. Whoever calls any of this has the back end's
/// instructions.
pub(super) trait Multiply {
    /// What [`Multiply::dots`] takes from every code (the rest of [`Tile::OFFSET`] is left).
    fn taken<T: Tile>() -> i32;
    /// The dot products of `R` rows with a part of a block, for the half beside the tile. `at` is the block, of how many,
    /// and the part; all is within the bounds that the caller of [`half_sums`] asserted.
    unsafe fn dots<T: Load256, const R: usize>(
        tile: (&T, usize),
        inputs: &[i8],
        at: (usize, usize, usize),
    ) -> [__m256i; R];
    /// [`half_sums`], compiled for the back end's instructions.
    unsafe fn half_sums<T: Load256, const R: usize, const P: usize>(
        tiles: &[T],
        rows: &Rows<'_>,
        at: (usize, usize),
        out: &mut Sums<R, P>,
    );
}

pub(crate) struct Avx2;

impl Multiply for Avx2 {
    #[inline(always)]
    fn taken<T: Tile>() -> i32 {
        if T::BITS < 8 { 0 } else { 128 }
    }

    #[inline(always)]
    unsafe fn dots<T: Load256, const R: usize>(
        (tile, half): (&T, usize),
        inputs: &[i8],
        (block, blocks, part): (usize, usize, usize),
    ) -> [__m256i; R] {
        let pairs = GROUPS / 2 / T::PARTS;
        let end = (part + 1) * pairs;
        // SAFETY: as the caller promises.
        unsafe {
            let mut dots = [_mm256_setzero_si256(); R];
            let mut shorts = dots;
            for pair in part * pairs..end {
                let codes = tile.pair(block % T::BLOCKS, pair, half);
                for row in 0..R {
                    let inputs = two_groups(inputs, (row * blocks + block, pair));
                    if T::BITS == 8 {
                        for group in 0..2 {
                            let products = eight_bits(codes[group], inputs[group]);
                            dots[row] = _mm256_add_epi32(dots[row], widened(products));
                        }
                    } else {
                        for group in 0..2 {
                            let products = _mm256_maddubs_epi16(codes[group], inputs[group]);
                            shorts[row] = _mm256_add_epi16(shorts[row], products);
                        }
                    }
                }
                let are_full = (pair + 1).is_multiple_of(const { pairs_together::<T>() });
                if T::BITS < 8 && (are_full || pair + 1 == end) {
                    for row in 0..R {
                        dots[row] = _mm256_add_epi32(dots[row], widened(shorts[row]));
                        shorts[row] = _mm256_setzero_si256();
                    }
                }
            }
            dots
        }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn half_sums<T: Load256, const R: usize, const P: usize>(
        tiles: &[T],
        rows: &Rows<'_>,
        at: (usize, usize),
        out: &mut Sums<R, P>,
    ) {
        // SAFETY: as the caller promises.
        unsafe { half_sums::<Self, T, R, P>(tiles, rows, at, out) }
    }
}

/// Pairs of groups whose products, of codes of less than 8 bits with inputs from -128 to 127, fit 16 bits together.
const fn pairs_together<T: Tile>() -> usize {
    let of_two_inputs = 2 * ((1 << T::BITS) - 1) * 128;
    let pairs = i16::MAX as usize / of_two_inputs / 2;
    assert!(pairs > 0 || T::BITS == 8);
    pairs
}

/// Sums of 16 bits, two neighbours in one of 32 bits.
#[inline(always)]
unsafe fn widened(shorts: __m256i) -> __m256i {
    // SAFETY: the caller has AVX2.
    unsafe { _mm256_madd_epi16(shorts, _mm256_set1_epi16(1)) }
}

/// The products of codes less 128 with inputs.
#[inline(always)]
unsafe fn eight_bits(codes: __m256i, inputs: __m256i) -> __m256i {
    // SAFETY: the caller has AVX2.
    unsafe {
        let signed = _mm256_xor_si256(codes, _mm256_set1_epi8(-128));
        // |-128| fits an unsigned byte, and 2 * 128 * 127 fits 16 bits.
        _mm256_maddubs_epi16(_mm256_abs_epi8(signed), _mm256_sign_epi8(inputs, signed))
    }
}

/// The inputs of two groups in every lane, `at` the number of the block and of the pair.
#[inline(always)]
pub(super) unsafe fn two_groups(inputs: &[i8], (block, pair): (usize, usize)) -> [__m256i; 2] {
    let at = block * BLOCK_INPUTS + pair * 8;
    debug_assert!(at + 8 <= inputs.len());
    // SAFETY: the caller's bounds; it has AVX2.
    unsafe {
        let inputs = inputs.as_ptr().add(at).cast::<i32>();
        [
            _mm256_set1_epi32(inputs.read_unaligned()),
            _mm256_set1_epi32(inputs.add(1).read_unaligned()),
        ]
    }
}

impl<M: Multiply, T: Load256> Arithmetic<T> for M {
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
            for half in 0..2 {
                // SAFETY: the bounds were asserted; Backend chose this because the processor has it.
                unsafe { M::half_sums(tiles, rows, (panel, half), &mut out) };
            }
        }
        outliers::add(Backend::Avx2, tiles, rows, &mut out);
        columns.set_all((first, column), &out);
    }
}

/// What is owed for the rest of the offset in a part of a block; `index` is the block's among those of the rows.
#[inline(always)]
unsafe fn owed<M: Multiply, T: Tile>(rows: &Rows<'_>, index: usize, part: usize) -> __m256i {
    // SAFETY: the caller's index is below the number of blocks; it has AVX2.
    unsafe {
        let owed = [rows.owed, rows.owed_firsts].map(|owed| *owed.get_unchecked(index));
        _mm256_set1_epi32(part_owed::<T>(T::OFFSET - M::taken::<T>(), part, owed))
    }
}

/// Writes the sums of `R` rows over half of a panel, `at` which of `out` and which half; `tiles` are the panel's.
#[inline(always)]
pub(super) unsafe fn half_sums<M: Multiply, T: Load256, const R: usize, const P: usize>(
    tiles: &[T],
    rows: &Rows<'_>,
    (panel, half): (usize, usize),
    out: &mut Sums<R, P>,
) {
    // SAFETY: the caller has AVX.
    let mut acc = [unsafe { _mm256_setzero_ps() }; R];
    let have_seconds = rows.have_seconds();
    for block in 0..rows.blocks {
        let (tile, within) = (&tiles[block / T::BLOCKS], block % T::BLOCKS);
        for part in 0..T::PARTS {
            // SAFETY (the whole block): row < R and block < blocks, within the bounds that the caller
            // asserted; the caller has the back end's instructions.
            unsafe {
                let at = (block, rows.blocks, part);
                let mut dots = M::dots::<T, R>((tile, half), rows.codes, at);
                if have_seconds {
                    let lows = M::dots::<T, R>((tile, half), rows.lows, at);
                    for (dots, lows) in dots.iter_mut().zip(lows) {
                        let firsts = _mm256_slli_epi32::<{ FIRST.ilog2() as i32 }>(*dots);
                        *dots = _mm256_add_epi32(firsts, lows);
                    }
                }
                let scales = tile.scales(within, part, half);
                let mins = tile.mins(within, half).filter(|_| part == 0);
                for row in 0..R {
                    let index = row * rows.blocks + block;
                    if let Some(mins) = mins {
                        let total = _mm256_set1_ps(*rows.totals.get_unchecked(index));
                        acc[row] = _mm256_fmadd_ps(mins, total, acc[row]);
                    }
                    let mut dot = dots[row];
                    if T::OFFSET != M::taken::<T>() {
                        dot = _mm256_add_epi32(dot, owed::<M, T>(rows, index, part));
                    }
                    let dot = _mm256_cvtepi32_ps(dot);
                    let mut scale = scales;
                    if let Steps::OfBlocks(steps) = rows.steps {
                        let step = _mm256_set1_ps(*steps.get_unchecked(index));
                        scale = _mm256_mul_ps(scales, step);
                    }
                    acc[row] = _mm256_fmadd_ps(dot, scale, acc[row]);
                }
            }
        }
    }
    if let Steps::OfRows(steps) = rows.steps {
        for (acc, step) in acc.iter_mut().zip(steps) {
            // SAFETY: the caller has AVX.
            unsafe { *acc = _mm256_mul_ps(*acc, _mm256_set1_ps(*step)) };
        }
    }
    for (out, acc) in out.iter_mut().zip(acc) {
        debug_assert!(half < 2);
        // SAFETY: 8 floats are written from the first or ninth of an array of 16; the caller has AVX.
        unsafe { _mm256_storeu_ps(out[panel].as_mut_ptr().add(half * LANES), acc) };
    }
}
