//! AVX-512 VNNI: one instruction multiplies a group's 64 codes and adds them up for 16 outputs.

mod spread;
mod superblocks;
pub(crate) mod whole;

use std::arch::x86_64::{
    __m512, __m512i, _MM_HINT_T0, _MM_HINT_T1, _mm_prefetch, _mm256_loadu_si256, _mm512_add_epi32,
    _mm512_and_si512, _mm512_cvtepi32_ps, _mm512_cvtph_ps, _mm512_dpbusd_epi32, _mm512_fmadd_ps,
    _mm512_loadu_si512, _mm512_mask_add_epi8, _mm512_mul_ps, _mm512_set1_epi8, _mm512_set1_epi16,
    _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps, _mm512_setzero_si512, _mm512_slli_epi32,
    _mm512_srli_epi16, _mm512_test_epi8_mask,
};

use std::ops::Range;
use std::sync::atomic::{Ordering, compiler_fence};

use half::f16;

use crate::activations::{Activations, FIRST, Steps};
use crate::backend::x86::panels_together;
use crate::backend::{Arithmetic, Columns, Rows, outliers, over_rows, part_owed};
use crate::lanes::{Lanes, Zmm};
use crate::tile::{Eight, FiveMin, Four, FourMin, GROUP_BYTES, GROUPS, Tile};
use crate::{BLOCK_INPUTS, TILE_OUTPUTS};

/// Bytes that are fetched from memory at once.
pub(super) const LINE_BYTES: usize = 64;

/// How far ahead of one stream of weights a processor is asked for them: enough for what it computes until they are there, and
/// little beside its nearest cache.
const AHEAD_BYTES: usize = 8 << 10;

/// Loads of a tile. Two groups at once, because four-bit codes hold two in a byte.
pub(crate) trait Load512: Tile {
    /// Whether `mins` gives any.
    const HAS_MINS: bool;
    /// Rows from which on [`spread`] pays.
    const SPREAD_ROWS: usize = usize::MAX;
    /// Asks for halves of what lies as far behind a block's share as is multiplied meanwhile: in one stream a few KiB, else the
    /// panels that this one is of, so many bytes.
    #[inline(always)]
    unsafe fn ask<const P: usize>(&self, block: usize, halves: [bool; 2], panels_bytes: usize) {
        let at = &raw const *self;
        // SAFETY: as the caller promises.
        unsafe {
            if P == 1 {
                fetch_halves::<Self, _MM_HINT_T0>(at.wrapping_byte_add(AHEAD_BYTES), block, halves);
            } else {
                fetch_halves::<Self, _MM_HINT_T1>(
                    at.wrapping_byte_add(panels_bytes),
                    block,
                    halves,
                );
            }
        }
    }
    /// The codes of a block's groups `2 * pair` and `2 * pair + 1`; `pair` is below 4, `block` below [`Tile::BLOCKS`].
    unsafe fn pair(&self, block: usize, pair: usize) -> [__m512i; 2];
    /// The same codes as words: the first and third input of the even group, of the odd one, the second and fourth of both.
    #[inline(always)]
    unsafe fn words(&self, block: usize, pair: usize) -> [__m512i; 4] {
        // SAFETY: as the caller promises; it has AVX-512 BW.
        unsafe {
            let [even, odd] = self.pair(block, pair);
            let low = _mm512_set1_epi16(0xFF);
            [
                _mm512_and_si512(even, low),
                _mm512_and_si512(odd, low),
                _mm512_srli_epi16::<8>(even),
                _mm512_srli_epi16::<8>(odd),
            ]
        }
    }
    /// Of a part of a block; `part` is below [`Tile::PARTS`].
    unsafe fn scales(&self, block: usize, part: usize) -> __m512;
    /// `None` for layouts without minima.
    unsafe fn mins(&self, block: usize) -> Option<__m512>;
}

#[inline(always)]
unsafe fn halves(values: &[f16; TILE_OUTPUTS]) -> __m512 {
    // SAFETY: 32 bytes are read from an array of 32 bytes.
    unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(values.as_ptr().cast())) }
}

#[inline(always)]
unsafe fn nibbles(codes: &[u8; GROUP_BYTES * GROUPS / 2], pair: usize) -> [__m512i; 2] {
    debug_assert!(pair < GROUPS / 2);
    // SAFETY: pair is below 4, so the 64 bytes end within the array's 256.
    let bytes = unsafe { _mm512_loadu_si512(codes.as_ptr().add(pair * GROUP_BYTES).cast()) };
    // SAFETY: the caller has AVX-512 BW.
    unsafe {
        let low = _mm512_set1_epi8(15);
        [
            _mm512_and_si512(bytes, low),
            _mm512_and_si512(_mm512_srli_epi16::<4>(bytes), low),
        ]
    }
}

/// [`Load512::words`] of four-bit codes.
#[inline(always)]
unsafe fn nibble_words(codes: &[u8; GROUP_BYTES * GROUPS / 2], pair: usize) -> [__m512i; 4] {
    debug_assert!(pair < GROUPS / 2);
    // SAFETY: pair is below 4, so the 64 bytes end within the array's 256; the caller has AVX-512 BW.
    unsafe {
        let words = _mm512_loadu_si512(codes.as_ptr().add(pair * GROUP_BYTES).cast());
        let low = _mm512_set1_epi16(15);
        [
            _mm512_and_si512(words, low),
            _mm512_and_si512(_mm512_srli_epi16::<4>(words), low),
            _mm512_and_si512(_mm512_srli_epi16::<8>(words), low),
            _mm512_srli_epi16::<12>(words),
        ]
    }
}

/// The same with their fifth bits.
#[inline(always)]
unsafe fn fives(
    codes: &[u8; GROUP_BYTES * GROUPS / 2],
    highs: &[u8; GROUP_BYTES],
    pair: usize,
) -> [__m512i; 2] {
    // SAFETY: 64 bytes are read from an array of 64; pair is below 4; the caller has AVX-512 BW.
    unsafe {
        let highs = _mm512_loadu_si512(highs.as_ptr().cast());
        let [even, odd] = nibbles(codes, pair);
        let bit =
            |group: usize| _mm512_test_epi8_mask(highs, _mm512_set1_epi8((1_u8 << group) as i8));
        let sixteen = _mm512_set1_epi8(16);
        [
            _mm512_mask_add_epi8(even, bit(2 * pair), even, sixteen),
            _mm512_mask_add_epi8(odd, bit(2 * pair + 1), odd, sixteen),
        ]
    }
}

macro_rules! halves_of {
    () => {
        #[inline(always)]
        unsafe fn scales(&self, _: usize, _: usize) -> __m512 {
            // SAFETY: the caller has AVX-512 F.
            unsafe { halves(&self.scales) }
        }
    };
}

macro_rules! mins_of {
    () => {
        const HAS_MINS: bool = true;
        #[inline(always)]
        unsafe fn mins(&self, _: usize) -> Option<__m512> {
            // SAFETY: the caller has AVX-512 F.
            Some(unsafe { halves(&self.mins) })
        }
    };
}

macro_rules! no_mins {
    () => {
        const HAS_MINS: bool = false;
        #[inline(always)]
        unsafe fn mins(&self, _: usize) -> Option<__m512> {
            None
        }
    };
}

macro_rules! four_bits {
    () => {
        #[inline(always)]
        unsafe fn pair(&self, _: usize, pair: usize) -> [__m512i; 2] {
            // SAFETY: as the caller promises.
            unsafe { nibbles(&self.codes, pair) }
        }

        #[inline(always)]
        unsafe fn words(&self, _: usize, pair: usize) -> [__m512i; 4] {
            // SAFETY: as the caller promises.
            unsafe { nibble_words(&self.codes, pair) }
        }
    };
}

impl Load512 for Four {
    four_bits!();
    halves_of!();
    no_mins!();
}

impl Load512 for FourMin {
    four_bits!();
    halves_of!();
    mins_of!();
}

impl Load512 for FiveMin {
    #[inline(always)]
    unsafe fn pair(&self, _: usize, pair: usize) -> [__m512i; 2] {
        // SAFETY: as the caller promises.
        unsafe { fives(&self.codes, &self.highs, pair) }
    }
    halves_of!();
    mins_of!();
}

impl Load512 for Eight {
    #[inline(always)]
    unsafe fn pair(&self, _: usize, pair: usize) -> [__m512i; 2] {
        debug_assert!(pair < GROUPS / 2);
        // SAFETY: pair is below 4, so both loads end within the array's 512 bytes.
        unsafe {
            let first = self.codes.as_ptr().add(2 * pair * GROUP_BYTES);
            [
                _mm512_loadu_si512(first.cast()),
                _mm512_loadu_si512(first.add(GROUP_BYTES).cast()),
            ]
        }
    }
    halves_of!();
    no_mins!();
}

pub(crate) struct Avx512Vnni;

impl<T: Load512> Arithmetic<T> for Avx512Vnni {
    fn panels_together(rows: usize) -> usize {
        panels_together(rows)
    }

    fn over_rows<const P: usize>(
        tiles: &[T],
        (activations, rows): (&Activations, &Range<usize>),
        panel: usize,
        out: &Columns<'_>,
    ) {
        if rows.len() < T::SPREAD_ROWS {
            return over_rows::<T, Self, P>(tiles, (activations, rows), panel, out);
        }
        let tiles = &tiles[..P * activations.blocks / T::BLOCKS];
        // SAFETY: Backend chose this because the processor has the instructions.
        unsafe {
            spread::with(tiles, |tiles| {
                over_rows::<spread::Spread<T>, Self, P>(tiles, (activations, rows), panel, out);
            });
        }
    }

    #[inline]
    fn sums<const R: usize, const P: usize>(
        tiles: &[T],
        rows: (&Activations, usize),
        out: (&Columns<'_>, usize),
    ) {
        if R * P > 8 {
            sums_of_kind::<T, R, P, 1>(tiles, rows, out);
        } else {
            // Two chains of additions hide the latency of one.
            sums_of_kind::<T, R, P, 2>(tiles, rows, out);
        }
    }
}

/// A function for each kind of steps: in one for both, sums would not stay in registers.
#[inline]
fn sums_of_kind<T: Load512, const R: usize, const P: usize, const C: usize>(
    tiles: &[T],
    (activations, first): (&Activations, usize),
    out: (&Columns<'_>, usize),
) {
    // SAFETY: Backend chose this because the processor has it.
    unsafe {
        if activations.has_row_steps() {
            sums::<T, R, P, C, true>(tiles, (activations, first), out);
        } else {
            sums::<T, R, P, C, false>(tiles, (activations, first), out);
        }
    }
}

/// Four codes of a row in every lane.
#[inline(always)]
unsafe fn broadcast(codes: &[i8], at: usize) -> __m512i {
    debug_assert!(at + 4 <= codes.len());
    // SAFETY: `at + 4` is within the codes, as the caller promises.
    unsafe { _mm512_set1_epi32(codes.as_ptr().add(at).cast::<i32>().read_unaligned()) }
}

/// What a row owes for the codes' offset in a part of a block.
#[inline(always)]
unsafe fn owed<T: Tile>(
    rows: &Rows<'_>,
    row: usize,
    (block, blocks, part): (usize, usize, usize),
) -> __m512i {
    let index = row * blocks + block;
    // SAFETY: row < R and block < blocks, within the bounds that `Rows::of` asserted; it has AVX-512 F.
    unsafe {
        let owed = [rows.owed, rows.owed_firsts].map(|owed| *owed.get_unchecked(index));
        _mm512_set1_epi32(part_owed::<T>(T::OFFSET, part, owed))
    }
}

/// Asks for a block's share of what lies so many bytes ahead of a tile.
#[inline(always)]
pub(super) unsafe fn fetch<T: Tile>(tile: &T, block: usize, ahead: usize) {
    // SAFETY: as the caller promises.
    unsafe { fetch_from((&raw const *tile).wrapping_byte_add(ahead), block) };
}

/// Asks for a block's share of a tile, or of what would be one, to be in the second cache.
#[inline(always)]
pub(super) unsafe fn fetch_from<T: Tile>(tile: *const T, block: usize) {
    // SAFETY: as the caller promises.
    unsafe { fetch_halves::<T, _MM_HINT_T1>(tile, block, [true; 2]) };
}

/// Bytes of a block's share of a tile, in whole lines.
const fn share_bytes<T: Tile>() -> usize {
    size_of::<T>().div_ceil(LINE_BYTES).div_ceil(T::BLOCKS) * LINE_BYTES
}

/// Asks for halves of the same, to be as near as `HINT` says.
#[inline(always)]
unsafe fn fetch_halves<T: Tile, const HINT: i32>(
    tile: *const T,
    block: usize,
    [first, second]: [bool; 2],
) {
    let lines = const { share_bytes::<T>() / LINE_BYTES };
    let at = tile.cast::<i8>().wrapping_add(block * share_bytes::<T>());
    // Loops over constants: straight code.
    if first {
        for line in 0..lines.div_ceil(2) {
            // SAFETY: no bytes are read: any address will do.
            unsafe { _mm_prefetch::<HINT>(at.wrapping_add(line * LINE_BYTES)) };
        }
    }
    if second {
        for line in lines.div_ceil(2)..lines {
            // SAFETY: as above.
            unsafe { _mm_prefetch::<HINT>(at.wrapping_add(line * LINE_BYTES)) };
        }
    }
}

/// Adds the dot products of `inputs` with a part of a block of each panel.
#[inline(always)]
unsafe fn add_dots<T: Load512, const R: usize, const P: usize, const C: usize>(
    dots: &mut [[[__m512i; C]; P]; R],
    (tiles, inputs): (&[T], &[i8]),
    (block, blocks, part): (usize, usize, usize),
) {
    let pairs = GROUPS / 2 / T::PARTS;
    // SAFETY: tile and row indices are below the bounds that `Rows::of` asserted: block < blocks,
    // panel < P, row < R.
    unsafe {
        for pair in part * pairs..(part + 1) * pairs {
            let mut codes = [[_mm512_setzero_si512(); 2]; P];
            for (panel, codes) in codes.iter_mut().enumerate() {
                let tile = tiles.get_unchecked((panel * blocks + block) / T::BLOCKS);
                *codes = tile.pair(block % T::BLOCKS, pair);
            }
            // An iterator's steps would keep the sums out of registers.
            #[allow(clippy::needless_range_loop)]
            for row in 0..R {
                let at = (row * blocks + block) * BLOCK_INPUTS + pair * 8;
                let first = broadcast(inputs, at);
                let second = broadcast(inputs, at + 4);
                for panel in 0..P {
                    let chains = &mut dots[row][panel];
                    chains[0] = _mm512_dpbusd_epi32(chains[0], codes[panel][0], first);
                    chains[C - 1] = _mm512_dpbusd_epi32(chains[C - 1], codes[panel][1], second);
                }
            }
            // Loads of the next pairs made early would push the sums out of registers.
            compiler_fence(Ordering::SeqCst);
        }
    }
}

/// Adds what a part of a block adds to the sums, but for rows' steps.
#[inline(always)]
unsafe fn add_part<
    T: Load512,
    const R: usize,
    const P: usize,
    const C: usize,
    const ROW_STEPS: bool,
>(
    acc: &mut [[__m512; P]; R],
    (tiles, rows, steps): (&[T], &Rows<'_>, &[f32]),
    (block, part): (usize, usize),
) {
    // SAFETY: tile and row indices are below the bounds that `Rows::of` asserted: block < blocks,
    // panel < P, row < R.
    unsafe {
        let mut dots = [[[_mm512_setzero_si512(); C]; P]; R];
        let at = (block, rows.blocks, part);
        let have_seconds = !ROW_STEPS && rows.have_seconds();
        if T::OFFSET != 0 && !have_seconds {
            // What was added to the codes is owed from the start: no addition afterwards.
            for (row, dots) in dots.iter_mut().enumerate() {
                let owed = owed::<T>(rows, row, at);
                for dots in dots {
                    dots[0] = owed;
                }
            }
        }
        add_dots(&mut dots, (tiles, rows.codes), at);
        if have_seconds {
            // Plain loops over constants: the sums stay in registers.
            for row in 0..R {
                let mut more = _mm512_setzero_si512();
                if T::OFFSET != 0 {
                    more = owed::<T>(rows, row, at);
                }
                for panel in 0..P {
                    for chain in 0..C {
                        let dots = &mut dots[row][panel][chain];
                        *dots = _mm512_slli_epi32::<{ FIRST.ilog2() }>(*dots);
                    }
                    let dots = &mut dots[row][panel][0];
                    *dots = _mm512_add_epi32(*dots, more);
                }
            }
            add_dots(&mut dots, (tiles, rows.lows), at);
        }
        let mut scales = [_mm512_setzero_ps(); P];
        let mut mins = [None; P];
        for panel in 0..P {
            let tile = tiles.get_unchecked((panel * rows.blocks + block) / T::BLOCKS);
            scales[panel] = tile.scales(block % T::BLOCKS, part);
            if part == 0 {
                mins[panel] = tile.mins(block % T::BLOCKS);
            }
        }
        for row in 0..R {
            let index = row * rows.blocks + block;
            let mut step = _mm512_set1_ps(1.0);
            if !ROW_STEPS {
                step = _mm512_set1_ps(*steps.get_unchecked(index));
            }
            let total = _mm512_set1_ps(*rows.totals.get_unchecked(index));
            for panel in 0..P {
                let acc = &mut acc[row][panel];
                if let Some(mins) = mins[panel] {
                    *acc = _mm512_fmadd_ps(mins, total, *acc);
                }
                let chains = dots[row][panel];
                let mut dot = chains[0];
                if C > 1 {
                    dot = _mm512_add_epi32(dot, chains[C - 1]);
                }
                let mut scale = scales[panel];
                if !ROW_STEPS {
                    scale = _mm512_mul_ps(scale, step);
                }
                *acc = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), scale, *acc);
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,f16c")]
unsafe fn sums<
    T: Load512,
    const R: usize,
    const P: usize,
    const C: usize,
    const ROW_STEPS: bool,
>(
    tiles: &[T],
    (activations, first): (&Activations, usize),
    (columns, column): (&Columns<'_>, usize),
) {
    let rows = &Rows::of::<T, R, P>(tiles, (activations, first));
    let steps = match rows.steps {
        Steps::OfRows(steps) if ROW_STEPS => steps,
        Steps::OfBlocks(steps) if !ROW_STEPS => steps,
        _ => unreachable!("steps of another kind"),
    };
    let mut acc = [[_mm512_setzero_ps(); P]; R];
    let panels_bytes = P * rows.blocks / T::BLOCKS * size_of::<T>();
    for block in 0..rows.blocks {
        for panel in 0..P {
            // SAFETY: block < blocks and panel < P, within the bounds that `Rows::of` asserted; the processor has AVX-512.
            unsafe {
                let tile = tiles.get_unchecked((panel * rows.blocks + block) / T::BLOCKS);
                tile.ask::<P>(block % T::BLOCKS, rows.asking, panels_bytes);
            }
        }
        // SAFETY: block < blocks.
        unsafe {
            // A loop would not become straight code.
            let of = (tiles, rows, steps);
            add_part::<T, R, P, C, ROW_STEPS>(&mut acc, of, (block, 0));
            if T::PARTS > 1 {
                add_part::<T, R, P, C, ROW_STEPS>(&mut acc, of, (block, 1));
            }
        }
    }
    if ROW_STEPS {
        for (acc, step) in acc.iter_mut().zip(steps) {
            for acc in acc {
                *acc = _mm512_mul_ps(*acc, _mm512_set1_ps(*step));
            }
        }
    }
    let mut lanes = [[Zmm::splat(0.0); P]; R];
    for row in 0..R {
        for panel in 0..P {
            lanes[row][panel] = Zmm(acc[row][panel]);
        }
    }
    let across = rows.blocks / T::BLOCKS;
    outliers::add_to(&mut lanes, (tiles, across), (rows.outliers, 0));
    for (row, lanes) in lanes.iter().enumerate() {
        for (panel, lanes) in lanes.iter().enumerate() {
            columns.store((first + row, column + panel * TILE_OUTPUTS), *lanes);
        }
    }
}
