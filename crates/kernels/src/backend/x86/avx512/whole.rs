//! Few rows by weights in whole numbers, added up without rounding: what [`crate::backend::x86::amx::whole`] computes for
//! many, from the codes themselves. A block's codes are multiplied first, and their sum by the scale then.

use std::arch::x86_64::{
    __m128i, __m512, __m512i, _mm_loadu_si128, _mm512_add_epi32, _mm512_add_epi64,
    _mm512_and_si512, _mm512_castps256_ps512, _mm512_castsi512_ps, _mm512_cvtepi8_epi32,
    _mm512_cvtepi64_pd, _mm512_cvtpd_ps, _mm512_cvtps_epi32, _mm512_dpbusd_epi32,
    _mm512_dpwssd_epi32, _mm512_insertf32x8, _mm512_mul_epi32, _mm512_mul_pd, _mm512_mul_ps,
    _mm512_mulhrs_epi16, _mm512_mullo_epi32, _mm512_or_si512, _mm512_permutexvar_ps,
    _mm512_set1_epi16, _mm512_set1_epi32, _mm512_set1_epi64, _mm512_set1_pd, _mm512_set1_ps,
    _mm512_setr_epi32, _mm512_setzero_si512, _mm512_slli_epi16, _mm512_slli_epi32,
    _mm512_srli_epi64, _mm512_storeu_ps, _mm512_ternarylogic_epi32, _mm512_xor_si512,
};
use std::ops::Range;

use super::{Load512, broadcast, fetch};
use crate::backend::Columns;
use crate::backend::x86::wide::Wide;
use crate::linear::WeightRange;
use crate::tile::{GROUPS, Tile};
use crate::{BLOCK_INPUTS, TILE_OUTPUTS};

/// The units of a panel's outputs: 2 to the power of minus these.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Units(pub(crate) [i8; TILE_OUTPUTS]);

impl Units {
    /// What weights are multiplied by.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(crate) fn powers(self) -> __m512 {
        self.signed(1)
    }

    /// The units themselves.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(crate) fn units(self) -> __m512 {
        self.signed(-1)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn signed(self, sign: i32) -> __m512 {
        // SAFETY: 16 bytes are read from an array of 16.
        let exponents: __m128i = unsafe { _mm_loadu_si128(self.0.as_ptr().cast()) };
        let exponents =
            _mm512_mullo_epi32(_mm512_cvtepi8_epi32(exponents), _mm512_set1_epi32(sign));
        let biased = _mm512_add_epi32(exponents, _mm512_set1_epi32(127));
        _mm512_castsi512_ps(_mm512_slli_epi32::<23>(biased))
    }
}

/// Bits of codes whose weights are rounded themselves: their scales have too few units to be rounded.
const ROUNDED_BITS: u32 = 8;

/// Whether the weights of a layout are rounded themselves, by [`rounded`], and not made of their rounded scales and minima.
pub(crate) const fn is_rounded<T: Tile>() -> bool {
    T::BITS >= ROUNDED_BITS
}

/// A pair of groups' weights in units, as words in the order of [`Load512::words`], of codes of eight bits with an offset of
/// 128: `scales` are words, each twice side by side, 128 times what [`integers`] would round.
#[inline(always)]
pub(crate) unsafe fn rounded<T: Load512>(
    tile: &T,
    (block, pair): (usize, usize),
    scales: __m512i,
) -> [__m512i; 4] {
    const AND_THEN_XOR: i32 = 0x78;
    debug_assert!(T::OFFSET == 128);
    // SAFETY: as the caller promises.
    unsafe {
        let [even, odd] = tile.pair(block, pair);
        let (high, sign) = (
            _mm512_set1_epi16(0xFF00_u16.cast_signed()),
            _mm512_set1_epi16(i16::MIN),
        );
        // 256 times the code without its offset.
        let first = |codes| _mm512_xor_si512(_mm512_slli_epi16::<8>(codes), sign);
        let second = |codes| _mm512_ternarylogic_epi32::<AND_THEN_XOR>(sign, codes, high);
        [first(even), first(odd), second(even), second(odd)]
            .map(|codes| _mm512_mulhrs_epi16(codes, scales))
    }
}

/// 128 times the scales of a block in units, for [`rounded`], each twice side by side.
#[inline(always)]
pub(crate) unsafe fn rounded_scales<T: Load512>(tile: &T, block: usize, powers: __m512) -> __m512i {
    // SAFETY: as the caller promises.
    unsafe {
        let powers = _mm512_mul_ps(powers, _mm512_set1_ps(128.0));
        twice(_mm512_cvtps_epi32(_mm512_mul_ps(
            tile.scales(block, 0),
            powers,
        )))
    }
}

/// Numbers that 16 bits hold, each twice side by side.
#[inline(always)]
pub(crate) unsafe fn twice(values: __m512i) -> __m512i {
    // SAFETY: the caller has AVX-512 BW.
    unsafe {
        let low = _mm512_and_si512(values, _mm512_set1_epi32(0xFFFF));
        _mm512_or_si512(low, _mm512_slli_epi32::<16>(values))
    }
}

/// The scales of a part of a block and what is added to its weights, in units.
#[inline(always)]
pub(crate) unsafe fn integers<T: Load512>(
    tile: &T,
    (block, part): (usize, usize),
    powers: __m512,
) -> (__m512i, __m512i) {
    // SAFETY: as the caller promises.
    unsafe {
        let scales = _mm512_cvtps_epi32(_mm512_mul_ps(tile.scales(block, part), powers));
        let mins = match tile.mins(block) {
            Some(mins) => _mm512_cvtps_epi32(_mm512_mul_ps(mins, powers)),
            None => _mm512_mullo_epi32(scales, _mm512_set1_epi32(-T::OFFSET)),
        };
        (scales, mins)
    }
}

/// Panels that are read side by side at most: a core's prefetchers follow several streams faster than one.
pub(crate) const PANELS_TOGETHER: usize = 4;

/// Writes the sums of some rows over some panels, of which the first has the first tiles.
pub(crate) fn over_rows<T: Load512>(
    tiles: &[T],
    (inputs, rows): (&Wide, &Range<usize>),
    (panels, range): (Range<usize>, &WeightRange),
    out: &Columns<'_>,
) {
    let mut first = panels.start;
    while first < panels.end {
        let tiles = &tiles[(first - panels.start) * inputs.blocks / T::BLOCKS..];
        let at = (first, range);
        first += match panels.end - first {
            4.. => over_panels::<T, 4>(tiles, (inputs, rows), at, out),
            2.. => over_panels::<T, 2>(tiles, (inputs, rows), at, out),
            _ => over_panels::<T, 1>(tiles, (inputs, rows), at, out),
        };
    }
}

/// `P` panels; returns how many these are.
fn over_panels<T: Load512, const P: usize>(
    tiles: &[T],
    (inputs, rows): (&Wide, &Range<usize>),
    (panel, range): (usize, &WeightRange),
    out: &Columns<'_>,
) -> usize {
    let units = std::array::from_fn(|index| range.units(panel + index));
    let mut row = rows.start;
    while row < rows.end {
        let inputs = (inputs, row, row == rows.start);
        // SAFETY: the back end was chosen because the processor has the instructions.
        row += unsafe {
            if rows.end - row == 1 {
                some::<T, 1, P>(tiles, inputs, (panel, &units), out)
            } else {
                some::<T, 2, P>(tiles, inputs, (panel, &units), out)
            }
        };
    }
    P
}

/// `R` rows, the first of all or others; returns how many these are.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,f16c")]
unsafe fn some<T: Load512, const R: usize, const P: usize>(
    tiles: &[T],
    (inputs, row, are_first): (&Wide, usize, bool),
    (panel, units): (usize, &[Units; P]),
    out: &Columns<'_>,
) -> usize {
    let powers = units.map(|units| units.powers());
    // SAFETY: the function has the instructions.
    let sums = unsafe { sums::<T, R, P>(tiles, (inputs, row, are_first), powers) };
    for (index, panels) in sums.iter().enumerate() {
        let step = _mm512_set1_pd(inputs.steps[row + index].into());
        let mut values = [[0.0; TILE_OUTPUTS]; P];
        for ((sums, units), values) in panels.iter().zip(units).zip(&mut values) {
            // Of even and odd outputs; floats of 64 bits hold them without rounding.
            let [even, odd] =
                sums.map(|sums| _mm512_cvtpd_ps(_mm512_mul_pd(_mm512_cvtepi64_pd(sums), step)));
            let both = _mm512_insertf32x8::<1>(_mm512_castps256_ps512(even), odd);
            let order = _mm512_setr_epi32(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15);
            let sums = _mm512_mul_ps(_mm512_permutexvar_ps(order, both), units.units());
            // SAFETY: 16 floats are written to an array of as many.
            unsafe { _mm512_storeu_ps(values.as_mut_ptr(), sums) };
        }
        out.set((row + index, panel * TILE_OUTPUTS), values.as_flattened());
    }
    R
}

/// The sums of each panel's even outputs, and of the odd ones.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,f16c")]
unsafe fn sums<T: Load512, const R: usize, const P: usize>(
    tiles: &[T],
    (inputs, row, are_first): (&Wide, usize, bool),
    powers: [__m512; P],
) -> [[[__m512i; 2]; P]; R] {
    let blocks = inputs.blocks;
    let places = row * blocks..(row + R) * blocks;
    let bytes = places.start * BLOCK_INPUTS..places.end * BLOCK_INPUTS;
    let rows = Few {
        blocks,
        highs: &inputs.highs[bytes.clone()],
        lows: &inputs.lows[bytes.clone()],
        high_words: &inputs.high_words[bytes.clone()],
        low_words: &inputs.low_words[bytes],
        sums: &inputs.sums[places],
    };
    assert!(blocks.is_multiple_of(T::BLOCKS));
    let across = blocks / T::BLOCKS;
    assert!(tiles.len() >= P * across);
    let ahead = if are_first {
        P * across * size_of::<T>()
    } else {
        0
    };
    let mut acc = [[[_mm512_setzero_si512(); 2]; P]; R];
    for block in 0..blocks {
        for panel in 0..P {
            // SAFETY: block < blocks and panel < P, which the tiles have, as asserted, and row < R, as the slices above;
            // the function has the instructions.
            unsafe {
                let tile = tiles.get_unchecked(panel * across + block / T::BLOCKS);
                if ahead > 0 {
                    fetch(tile, block % T::BLOCKS, ahead);
                }
                let mut of_panel = acc.each_mut().map(|acc| &mut acc[panel]);
                if is_rounded::<T>() {
                    add_rounded(&mut of_panel, (tile, &rows), block, powers[panel]);
                    continue;
                }
                add_part(&mut of_panel, (tile, &rows), (block, 0), powers[panel]);
                if T::PARTS > 1 {
                    add_part(&mut of_panel, (tile, &rows), (block, 1), powers[panel]);
                }
            }
        }
    }
    acc
}

/// Some rows, as [`Wide`] has them.
struct Few<'a> {
    blocks: usize,
    highs: &'a [i8],
    lows: &'a [i8],
    high_words: &'a [i16],
    low_words: &'a [i16],
    sums: &'a [[i32; 2]],
}

/// Adds what a block of weights that are rounded themselves adds to the even and the odd outputs of `R` rows.
#[inline(always)]
unsafe fn add_rounded<T: Load512, const R: usize>(
    acc: &mut [&mut [__m512i; 2]; R],
    (tile, rows): (&T, &Few<'_>),
    block: usize,
    powers: __m512,
) {
    // SAFETY: as the caller promises; the words of a block are 32, of which two are read 16 times.
    unsafe {
        let mut dots = [[_mm512_setzero_si512(); 2]; R];
        let scales = rounded_scales(tile, block % T::BLOCKS, powers);
        for pair in 0..GROUPS / 2 {
            let weights = rounded(tile, (block % T::BLOCKS, pair), scales);
            // An iterator's steps would keep the sums out of registers.
            #[allow(clippy::needless_range_loop)]
            for row in 0..R {
                let at = (row * rows.blocks + block) * BLOCK_INPUTS + pair * 8;
                for index in 0..4 {
                    // Of a group the first two words, and of the next; then the others.
                    let at = at + index % 2 * 4 + index / 2 * 2;
                    let high = two_words(rows.high_words, at);
                    let low = two_words(rows.low_words, at);
                    dots[row][0] = _mm512_dpwssd_epi32(dots[row][0], weights[index], high);
                    dots[row][1] = _mm512_dpwssd_epi32(dots[row][1], weights[index], low);
                }
            }
        }
        let [base, one] = [256, 1].map(|factor| _mm512_set1_epi64(factor));
        for (acc, [high, low]) in acc.iter_mut().zip(dots) {
            let [even_acc, odd_acc] = &mut **acc;
            *even_acc = _mm512_add_epi64(*even_acc, _mm512_mul_epi32(high, base));
            *even_acc = _mm512_add_epi64(*even_acc, _mm512_mul_epi32(low, one));
            *odd_acc = _mm512_add_epi64(*odd_acc, _mm512_mul_epi32(odd(high), base));
            *odd_acc = _mm512_add_epi64(*odd_acc, _mm512_mul_epi32(odd(low), one));
        }
    }
}

/// Two words of a row in every lane.
#[inline(always)]
unsafe fn two_words(words: &[i16], at: usize) -> __m512i {
    debug_assert!(at + 2 <= words.len());
    // SAFETY: `at + 2` is within the words of a row, as the caller promises.
    unsafe { _mm512_set1_epi32(words.as_ptr().add(at).cast::<i32>().read_unaligned()) }
}

/// Adds what a part of a block adds to the even and the odd outputs of `R` rows.
#[inline(always)]
unsafe fn add_part<T: Load512, const R: usize>(
    acc: &mut [&mut [__m512i; 2]; R],
    (tile, rows): (&T, &Few<'_>),
    (block, part): (usize, usize),
    powers: __m512,
) {
    // SAFETY: as the caller promises.
    unsafe {
        let mut dots = [[_mm512_setzero_si512(); 2]; R];
        let pairs = GROUPS / 2 / T::PARTS;
        for pair in part * pairs..(part + 1) * pairs {
            let codes = tile.pair(block % T::BLOCKS, pair);
            // An iterator's steps would keep the sums out of registers.
            #[allow(clippy::needless_range_loop)]
            for row in 0..R {
                let at = (row * rows.blocks + block) * BLOCK_INPUTS + pair * 8;
                for group in 0..2 {
                    let high = broadcast(rows.highs, at + 4 * group);
                    let low = broadcast(rows.lows, at + 4 * group);
                    dots[row][0] = _mm512_dpbusd_epi32(dots[row][0], codes[group], high);
                    dots[row][1] = _mm512_dpbusd_epi32(dots[row][1], codes[group], low);
                }
            }
        }
        let (scales, mins) = integers(tile, (block % T::BLOCKS, part), powers);
        let (odd_scales, odd_mins) = (odd(scales), odd(mins));
        for row in 0..R {
            let dot = _mm512_add_epi32(_mm512_slli_epi32::<8>(dots[row][0]), dots[row][1]);
            let [first, other] = *rows.sums.get_unchecked(row * rows.blocks + block);
            let total = match (T::PARTS, part) {
                (1, _) => first + other,
                (_, 0) => first,
                _ => other,
            };
            let total = _mm512_set1_epi64(total.into());
            let [even_acc, odd_acc] = &mut *acc[row];
            *even_acc = _mm512_add_epi64(*even_acc, _mm512_mul_epi32(dot, scales));
            *even_acc = _mm512_add_epi64(*even_acc, _mm512_mul_epi32(total, mins));
            *odd_acc = _mm512_add_epi64(*odd_acc, _mm512_mul_epi32(odd(dot), odd_scales));
            *odd_acc = _mm512_add_epi64(*odd_acc, _mm512_mul_epi32(total, odd_mins));
        }
    }
}

/// The odd lanes where the even ones are.
#[inline(always)]
unsafe fn odd(lanes: __m512i) -> __m512i {
    // SAFETY: the caller has AVX-512 F.
    unsafe { _mm512_srli_epi64::<32>(lanes) }
}
