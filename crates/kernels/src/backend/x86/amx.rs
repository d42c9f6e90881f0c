//! AMX: one instruction multiplies 16 rows by 16 outputs in 32 inputs, as bfloat16, and adds to sums in float32.
//!
//! Instructions and their arithmetic: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, chapter 18,
//! and volume 2, TDPBF16PS. Permission: Linux, Documentation/arch/x86/xstate.rst.
//!
//! Whole numbers would have to become floats behind each block, for its scale, which takes longer than multiplying them.
//! So weights become bfloat16 first, a block of a panel at a time, in half precision: `scale * code + min` times a power
//! of two that keeps the matrix's largest weight below 2^14: what is 2^-28 of it or less becomes zero. A half-precision number whose exponent and first seven
//! bits of fraction move to the places that bfloat16 has for them is itself times 2^-112. Inputs are times 2^48, so that
//! products and sums of numbers as models have them stay normal, and one multiplication puts each sum right in the end.

use std::arch::asm;
use std::arch::x86_64::{
    __cpuid_count, __m512, __m512h, _CMP_ORD_Q, _MM_FROUND_NO_EXC, _MM_FROUND_TO_NEAREST_INT,
    _mm512_and_si512, _mm512_castph_si512, _mm512_castsi512_ph, _mm512_cmp_ps_mask,
    _mm512_cvtepu16_epi32, _mm512_cvtepu16_ph, _mm512_cvtps_ph, _mm512_fmadd_ph,
    _mm512_maskz_mul_ps, _mm512_mul_ps, _mm512_mulhrs_epi16, _mm512_or_si512, _mm512_set1_epi16,
    _mm512_set1_ps, _mm512_slli_epi32, _mm512_srli_epi16, _mm512_storeu_si512,
};
use std::cell::RefCell;
use std::ops::Range;
use std::sync::OnceLock;

use super::Load512;
use super::avx512::{LINE_BYTES, fetch};
use super::bfloats::{Bfloats, INPUT_EXPONENT};
use crate::backend::Columns;
use crate::tile::GROUPS;
use crate::{BLOCK_INPUTS, TILE_OUTPUTS};

/// Rows of a register.
const ROWS: usize = 16;
/// Rows that are multiplied together: two registers of them.
const ROWS_TOGETHER: usize = 2 * ROWS;
/// Blocks whose weights are kept where no other rows want them again.
const RING: usize = 4;
/// Bytes of inputs that stay in the second cache, which processors with AMX have 2 MiB of, while the weights pass by.
pub(crate) const NEAR_BYTES: usize = 1 << 20;
/// How much larger a half-precision number is than the bfloat16 that its bits become.
const HALF_EXPONENT: i32 = 112;

/// Whether the processor has AMX with bfloat16 and the system lets this process use it.
pub(crate) fn has_amx() -> bool {
    static HAS: OnceLock<bool> = OnceLock::new();
    *HAS.get_or_init(|| {
        super::has_avx512_vnni()
            && is_x86_feature_detected!("avx512bf16")
            && is_x86_feature_detected!("avx512fp16")
            && names_amx()
            && is_permitted()
    })
}

fn names_amx() -> bool {
    const BF16: u32 = 1 << 22;
    const TILES: u32 = 1 << 24;
    let features = __cpuid_count(7, 0).edx;
    features & TILES != 0 && features & BF16 != 0
}

/// Linux gives a process the registers when it asks for them, once for all of its threads.
fn is_permitted() -> bool {
    #[cfg(target_os = "linux")]
    {
        const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
        const XTILEDATA: libc::c_long = 18;
        // SAFETY: it changes only which registers this process may use.
        unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XTILEDATA) == 0 }
    }
    #[cfg(not(target_os = "linux"))]
    false
}

/// Memory operand of LDTILECFG, palette 1.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    column_bytes: [u16; 16],
    rows: [u8; 16],
}

impl Configuration {
    /// Registers 0 and 1 have inputs of the first 16 rows and of the others, 2 and 3 weights of both panels, 4 and 5
    /// the first rows' sums, 6 and 7 the others'.
    fn new(rows: usize) -> Self {
        debug_assert!((1..=ROWS_TOGETHER).contains(&rows));
        let first = rows.min(ROWS) as u8;
        let other = rows.saturating_sub(ROWS).max(1) as u8;
        let all = ROWS as u8;
        let mut counts = [0; 16];
        counts[..8].copy_from_slice(&[first, other, all, all, first, first, other, other]);
        let mut column_bytes = [0; 16];
        column_bytes[..8].fill(LINE_BYTES as u16);
        Self {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            column_bytes,
            rows: counts,
        }
    }
}

// The compiler uses none of these registers: they keep their values from one statement to the next.
macro_rules! zero {
    ($register:literal) => {
        asm!(
            concat!("tilezero tmm", $register),
            options(nostack, nomem, preserves_flags)
        )
    };
}
/// Rows that are `$stride` bytes apart.
macro_rules! load {
    ($register:literal, $from:expr, $stride:expr) => {
        asm!(concat!("tileloadd tmm", $register, ", [{from} + {stride}*1]"), from = in(reg) $from,
            stride = in(reg) $stride, options(nostack, readonly, preserves_flags))
    };
}
macro_rules! store {
    ($register:literal, $to:expr) => {
        asm!(concat!("tilestored [{to} + {stride}*1], tmm", $register), to = in(reg) $to,
            stride = in(reg) LINE_BYTES, options(nostack, preserves_flags))
    };
}
macro_rules! multiply {
    ($sums:literal, $inputs:literal, $weights:literal) => {
        asm!(
            concat!("tdpbf16ps tmm", $sums, ", tmm", $inputs, ", tmm", $weights),
            options(nostack, nomem, preserves_flags)
        )
    };
}

/// What a register of weights holds: 16 rows of two inputs of each of 16 outputs.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct Weights([[u16; 2 * TILE_OUTPUTS]; ROWS]);

thread_local! {
    /// `[blocks or RING][panels]`.
    static WEIGHTS: RefCell<Vec<Weights>> = const { RefCell::new(Vec::new()) };
}

/// Writes the sums of some rows over `P` panels from `panel` on. The weights are times 2 to the power of `exponent`
/// meanwhile.
pub(crate) fn over_rows<T: Load512, const P: usize>(
    tiles: &[T],
    (inputs, rows): (&Bfloats, &Range<usize>),
    (panel, exponent): (usize, i32),
    out: &Columns<'_>,
) {
    assert!(has_amx());
    assert!(tiles.len() * T::BLOCKS >= P * inputs.blocks);
    assert!(rows.end <= inputs.rows());
    let blocks = inputs.blocks;
    // Weights are wanted again by the next rows.
    let kept = if rows.len() > ROWS_TOGETHER {
        blocks
    } else {
        RING
    };
    WEIGHTS.with_borrow_mut(|weights| {
        if weights.len() < P * kept {
            weights.resize(P * kept, Weights([[0; 2 * TILE_OUTPUTS]; ROWS]));
        }
        let mut configured = 0;
        for first in rows.clone().step_by(ROWS_TOGETHER) {
            let count = (rows.end - first).min(ROWS_TOGETHER);
            if count != configured {
                let configuration = Configuration::new(count);
                // SAFETY: 64 bytes are read, a configuration as palette 1 has them.
                unsafe {
                    asm!("ldtilecfg [{}]", in(reg) &raw const configuration,
                        options(nostack, readonly, preserves_flags));
                }
                configured = count;
            }
            let group = Group {
                tiles,
                inputs,
                rows: first..first + count,
                exponent,
                kept,
            };
            let at = (panel, out);
            // SAFETY: bounds and instructions were asserted above, `weights` has room, registers are configured.
            unsafe {
                match (first == rows.start, count > ROWS) {
                    (true, true) => group.sums::<P, 2, true>(weights, at),
                    (true, false) => group.sums::<P, 1, true>(weights, at),
                    (false, true) => group.sums::<P, 2, false>(weights, at),
                    (false, false) => group.sums::<P, 1, false>(weights, at),
                }
            }
        }
        // SAFETY: nothing that is in the registers is needed any more.
        unsafe { asm!("tilerelease", options(nostack, nomem, preserves_flags)) };
    });
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
    /// `P` panels against `G` registers of rows; fresh: the weights are not in `weights` yet.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512fp16,f16c")]
    unsafe fn sums<const P: usize, const G: usize, const FRESH: bool>(
        &self,
        weights: &mut [Weights],
        (panel, out): (usize, &Columns<'_>),
    ) {
        let blocks = self.inputs.blocks;
        let factor = power(self.exponent);
        let stride = 2 * blocks * BLOCK_INPUTS;
        let inputs = self.inputs.row(self.rows.start);
        let mut sums = [[[0.0_f32; TILE_OUTPUTS]; ROWS]; 4];
        // SAFETY: block < blocks and panel < P, which the tiles, the weights and, for up to 16 * G rows, the inputs have:
        // registers have as many rows as there are. Sums are stored to 16 rows of 16.
        unsafe {
            zero!(4);
            zero!(5);
            zero!(6);
            zero!(7);
            for block in 0..blocks {
                let place = block % self.kept * P;
                if FRESH {
                    for panel in 0..P {
                        let tile = self
                            .tiles
                            .get_unchecked((panel * blocks + block) / T::BLOCKS);
                        if self.rows.start == 0 {
                            let ahead = P * blocks / T::BLOCKS * size_of::<T>();
                            fetch(tile, block % T::BLOCKS, ahead);
                        }
                        let into = weights.get_unchecked_mut(place + panel);
                        widen(tile, block % T::BLOCKS, factor, into);
                    }
                }
                let from = inputs.as_ptr().add(block * BLOCK_INPUTS);
                let of = weights.as_ptr().add(place);
                load!(0, from, stride);
                load!(2, of, LINE_BYTES);
                multiply!(4, 0, 2);
                if P > 1 {
                    load!(3, of.add(1), LINE_BYTES);
                    multiply!(5, 0, 3);
                }
                if G > 1 {
                    load!(1, from.add(ROWS * blocks * BLOCK_INPUTS), stride);
                    multiply!(6, 1, 2);
                    if P > 1 {
                        multiply!(7, 1, 3);
                    }
                }
            }
            store!(4, sums[0].as_mut_ptr());
            store!(5, sums[1].as_mut_ptr());
            if G > 1 {
                store!(6, sums[2].as_mut_ptr());
                store!(7, sums[3].as_mut_ptr());
            }
        }
        let unit = power(HALF_EXPONENT - INPUT_EXPONENT - self.exponent);
        for index in 0..self.rows.len() {
            let mut row = [[0.0; TILE_OUTPUTS]; P];
            for (panel, into) in row.iter_mut().enumerate() {
                let of = &sums[index / ROWS * 2 + panel][index % ROWS];
                for (into, sum) in into.iter_mut().zip(of) {
                    *into = sum * unit;
                }
            }
            let at = (self.rows.start + index, panel * TILE_OUTPUTS);
            out.set(at, row.as_flattened());
        }
    }
}

/// 2 to the power of a number that floats have exponents for.
pub(super) fn power(exponent: i32) -> f32 {
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
/// [`super::bfloats`] for the order of the whole.
#[inline(always)]
unsafe fn widen<T: Load512>(tile: &T, block: usize, factor: f32, into: &mut Weights) {
    // SAFETY: pairs, parts and the block are below their numbers; the 16 stores fill the 16 rows; the caller has the
    // instructions.
    unsafe {
        let factor = _mm512_set1_ps(factor);
        let mins = tile.mins(block).map(|mins| _mm512_mul_ps(mins, factor));
        let low = _mm512_set1_epi16(0xFF);
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
                let [even, odd] = tile.pair(block, pair);
                let codes = [
                    _mm512_and_si512(even, low),
                    _mm512_and_si512(odd, low),
                    _mm512_srli_epi16::<8>(even),
                    _mm512_srli_epi16::<8>(odd),
                ];
                for index in 0..4 {
                    let codes = _mm512_cvtepu16_ph(codes[index]);
                    let weights = _mm512_castph_si512(_mm512_fmadd_ph(codes, scales, mins));
                    let moved = _mm512_and_si512(_mm512_mulhrs_epi16(weights, eighth), places);
                    _mm512_storeu_si512(to.add(4 * pair + index).cast(), moved);
                }
            }
        }
    }
}

/// Numbers times `factor`, and zeros for what is no number.
#[inline(always)]
pub(super) unsafe fn numbers(values: __m512, factor: __m512) -> __m512 {
    // SAFETY: the caller has AVX-512 F.
    unsafe {
        let are = _mm512_cmp_ps_mask::<_CMP_ORD_Q>(values, values);
        _mm512_maskz_mul_ps(are, values, factor)
    }
}
