//! AMX: one instruction multiplies the codes of 16 rows in one block with a tile, 16 outputs.
//!
//! Registers, their configuration and what TDPBSSD and TDPBSUD do: Intel 64 and IA-32 Architectures Software Developer's
//! Manual, volume 1, chapter 18, and volume 2. Permission to use them: Linux, Documentation/arch/x86/xstate.rst.
//!
//! A register has 64 bytes in each of 16 rows, and an instruction takes as long for 32 of them. So inputs have both of
//! their bytes side by side, [`Joined`], and weights of four bits lie in a register twice, once times 16: the sums are
//! those of both bytes. They are the integers of the other back ends, and become floats as theirs do, 16 rows at once;
//! meanwhile the next blocks are multiplied.

use std::arch::asm;
use std::arch::x86_64::{
    __cpuid_count, __m512, _mm512_add_epi32, _mm512_and_si512, _mm512_cvtepi32_ps, _mm512_fmadd_ps,
    _mm512_load_si512, _mm512_mul_ps, _mm512_set1_epi8, _mm512_set1_ps, _mm512_setzero_ps,
    _mm512_slli_epi16, _mm512_slli_epi32, _mm512_storeu_ps, _mm512_storeu_si512, _mm512_sub_epi8,
};
use std::cell::RefCell;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::OnceLock;

use super::Load512;
use super::joined::{JOINED_UNIT, Joined, ROWS, Register};
use crate::TILE_OUTPUTS;
use crate::backend::Columns;
use crate::tile::{GROUP_BYTES, GROUPS};

/// Fewer rows than these are left to AVX-512, which takes as long for them.
pub(crate) const ROWS_MIN: usize = 8;
/// So many blocks are multiplied before the first of them becomes floats.
const AHEAD: usize = 1;
/// Sums of blocks that wait to become floats; a power of two.
const WAITING: usize = 4;

/// Whether the processor has AMX with whole numbers and the system lets this process use it.
pub(crate) fn has_amx() -> bool {
    static HAS: OnceLock<bool> = OnceLock::new();
    *HAS.get_or_init(|| super::has_avx512_vnni() && names_amx() && is_permitted())
}

fn names_amx() -> bool {
    const TILES: u32 = 1 << 24;
    const INT8: u32 = 1 << 25;
    let features = __cpuid_count(7, 0).edx;
    features & TILES != 0 && features & INT8 != 0
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

/// Memory operand of LDTILECFG, palette 1: all 8 registers have 16 rows of 64 bytes, but two that have less.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    column_bytes: [u16; 16],
    rows: [u8; 16],
}

static CONFIGURATION: Configuration = {
    let mut column_bytes = [0; 16];
    let mut rows = [0; 16];
    let mut register = 0;
    while register < 8 {
        column_bytes[register] = 64;
        rows[register] = ROWS as u8;
        register += 1;
    }
    column_bytes[SHORT] = 32; // one of an input's bytes
    rows[LOW] = GROUPS as u8; // weights once
    Configuration {
        palette: 1,
        start_row: 0,
        reserved: [0; 14],
        column_bytes,
        rows,
    }
};
/// Registers 1 and 2.
const SHORT: usize = 1;
const LOW: usize = 2;

/// What a register of weights has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Weights of four bits twice, for both bytes of the inputs.
    Twice,
    /// Weights once, for the first bytes: nobody has second ones.
    First,
    /// Weights once, for first and second bytes in turn.
    Both,
}

const TWICE: u8 = Way::Twice as u8;
const BOTH: u8 = Way::Both as u8;
const FIRST: u8 = Way::First as u8;

#[derive(Default)]
struct Scratch {
    /// A panel's weights, a byte each, `[blocks]`.
    weights: Vec<Register>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = const { RefCell::new(Scratch { weights: Vec::new() }) };
}

/// Writes the sums of whole groups of rows over a panel; returns the rows that are left.
pub(crate) fn over_rows<T: Load512>(
    tiles: &[T],
    (joined, rows): (&Joined, &Range<usize>),
    panel: usize,
    out: &Columns<'_>,
) -> Range<usize> {
    debug_assert!(rows.start.is_multiple_of(ROWS));
    assert!(has_amx() && tiles.len() * T::BLOCKS >= joined.blocks && rows.end <= joined.rows);
    assert!(T::PARTS == 1);
    if rows.len() < ROWS_MIN {
        return rows.clone();
    }
    SCRATCH.with_borrow_mut(|scratch| {
        let weights = &mut scratch.weights;
        if weights.len() < joined.blocks {
            weights.resize(joined.blocks, Register::ZERO);
        }
        // SAFETY: a valid configuration; the processor has the registers, and the system gave them.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &raw const CONFIGURATION, options(nostack, readonly, preserves_flags));
        }
        let mut first = rows.start;
        while rows.end - first >= ROWS_MIN {
            let count = ROWS.min(rows.end - first);
            let fresh = first == rows.start;
            // SAFETY: bounds were asserted, and that the processor has the instructions.
            unsafe {
                match (T::BITS <= 4, joined.has_seconds, fresh) {
                    (true, _, true) => group::<T, TWICE, true>(tiles, weights, joined, (first, count, panel), out),
                    (true, _, false) => group::<T, TWICE, false>(tiles, weights, joined, (first, count, panel), out),
                    (false, true, true) => group::<T, BOTH, true>(tiles, weights, joined, (first, count, panel), out),
                    (false, true, false) => group::<T, BOTH, false>(tiles, weights, joined, (first, count, panel), out),
                    (false, false, true) => group::<T, FIRST, true>(tiles, weights, joined, (first, count, panel), out),
                    (false, false, false) => group::<T, FIRST, false>(tiles, weights, joined, (first, count, panel), out),
                }
            }
            first += count;
        }
        // SAFETY: nothing in them is needed any more.
        unsafe { asm!("tilerelease", options(nostack, nomem, preserves_flags)) };
        first..rows.end
    })
}

/// The sums of a group of rows for one block, of first and of second bytes.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct Dots([[[i32; TILE_OUTPUTS]; ROWS]; 2]);

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,f16c")]
unsafe fn group<T: Load512, const WAY: u8, const FRESH: bool>(
    tiles: &[T],
    weights: &mut [Register],
    joined: &Joined,
    (first, count, panel): (usize, usize, usize),
    out: &Columns<'_>,
) {
    let blocks = joined.blocks;
    let mut dots = MaybeUninit::<[Dots; WAITING]>::uninit();
    let dots: *mut Dots = dots.as_mut_ptr().cast();
    let mut acc = [_mm512_setzero_ps(); ROWS];
    let group = first / ROWS * blocks;
    // SAFETY: block < blocks, which tiles, weights and the group have.
    unsafe {
        for block in 0..blocks.min(AHEAD) {
            let weights = weights.get_unchecked_mut(block);
            if FRESH {
                unpack::<T, WAY>(
                    tiles.get_unchecked(block / T::BLOCKS),
                    block % T::BLOCKS,
                    weights,
                );
            }
            multiply::<T, WAY>(
                weights,
                joined.codes.get_unchecked(group + block),
                dots.add(block % WAITING),
            );
        }
        for block in 0..blocks {
            let next = block + AHEAD;
            if next < blocks {
                let weights = weights.get_unchecked_mut(next);
                if FRESH {
                    unpack::<T, WAY>(
                        tiles.get_unchecked(next / T::BLOCKS),
                        next % T::BLOCKS,
                        weights,
                    );
                }
                multiply::<T, WAY>(
                    weights,
                    joined.codes.get_unchecked(group + next),
                    dots.add(next % WAITING),
                );
            }
            let (tile, within) = (tiles.get_unchecked(block / T::BLOCKS), block % T::BLOCKS);
            let scales = joined.scales.get_unchecked(group + block);
            add::<WAY>(
                (tile.scales(within, 0), tile.mins(within)),
                scales,
                dots.add(block % WAITING),
                &mut acc,
            );
        }
    }
    for (row, acc) in acc.iter().enumerate().take(count) {
        let mut sums = [0.0; TILE_OUTPUTS];
        // SAFETY: 16 floats are written to an array of 16.
        unsafe { _mm512_storeu_ps(sums.as_mut_ptr(), *acc) };
        out.set((first + row, panel * TILE_OUTPUTS), &sums);
    }
}

/// A tile's codes, less their offset, a byte each; twice: those times 16 before them.
#[inline(always)]
unsafe fn unpack<T: Load512, const WAY: u8>(tile: &T, block: usize, into: &mut Register) {
    // SAFETY: 16 rows of 64 bytes are written at most, which a register has; the caller has AVX-512 BW.
    unsafe {
        let offset = _mm512_set1_epi8(T::OFFSET as i8);
        let nibble = _mm512_set1_epi8(15);
        let to = into.0.as_mut_ptr().cast::<u8>();
        for pair in 0..GROUPS / 2 {
            let codes = tile.pair(block, pair);
            for (half, codes) in codes.into_iter().enumerate() {
                let codes = _mm512_sub_epi8(codes, offset);
                let to = to.add((2 * pair + half) * GROUP_BYTES);
                if WAY == TWICE {
                    let sixteenfold = _mm512_slli_epi16::<4>(_mm512_and_si512(codes, nibble));
                    _mm512_storeu_si512(to.cast(), sixteenfold);
                    _mm512_storeu_si512(to.add(GROUPS * GROUP_BYTES).cast(), codes);
                } else {
                    _mm512_storeu_si512(to.cast(), codes);
                }
            }
        }
    }
}

/// Multiplies a group's codes of a block with a panel's.
#[inline(always)]
unsafe fn multiply<T: Load512, const WAY: u8>(
    weights: &Register,
    inputs: &Register,
    dots: *mut Dots,
) {
    let weights = weights.0.as_ptr();
    let inputs = inputs.0.as_ptr();
    let to = dots;
    // SAFETY: rows of 64 bytes are read from two registers' bytes and written to as many as `dots` has; the
    // registers are configured, and nobody else uses them in this thread.
    unsafe {
        if WAY == TWICE && T::OFFSET == 0 {
            asm!("tilezero tmm4", "tileloadd tmm0, [{inputs} + {line}*1]", "tileloadd tmm3, [{weights} + {line}*1]",
                "tdpbsud tmm4, tmm0, tmm3", "tilestored [{to} + {line}*1], tmm4",
                inputs = in(reg) inputs, weights = in(reg) weights, to = in(reg) to, line = in(reg) 64_usize,
                out("tmm0") _, out("tmm3") _, out("tmm4") _, options(nostack, preserves_flags));
        } else if WAY == TWICE {
            asm!("tilezero tmm4", "tileloadd tmm0, [{inputs} + {line}*1]", "tileloadd tmm3, [{weights} + {line}*1]",
                "tdpbssd tmm4, tmm0, tmm3", "tilestored [{to} + {line}*1], tmm4",
                inputs = in(reg) inputs, weights = in(reg) weights, to = in(reg) to, line = in(reg) 64_usize,
                out("tmm0") _, out("tmm3") _, out("tmm4") _, options(nostack, preserves_flags));
        } else {
            asm!("tilezero tmm4", "tileloadd tmm1, [{inputs} + {line}*1]", "tileloadd tmm2, [{weights} + {line}*1]",
                "tdpbssd tmm4, tmm1, tmm2", "tilestored [{to} + {line}*1], tmm4",
                inputs = in(reg) inputs, weights = in(reg) weights, to = in(reg) to, line = in(reg) 64_usize,
                out("tmm1") _, out("tmm2") _, out("tmm4") _, options(nostack, preserves_flags));
            if WAY == BOTH {
                asm!("tilezero tmm5", "tileloadd tmm1, [{inputs} + {line}*1 + 32]",
                    "tileloadd tmm2, [{weights} + {line}*1]", "tdpbssd tmm5, tmm1, tmm2", "tilestored [{to} + {line}*1 + 1024], tmm5",
                    inputs = in(reg) inputs, weights = in(reg) weights, to = in(reg) to, line = in(reg) 64_usize,
                    out("tmm1") _, out("tmm2") _, out("tmm5") _, options(nostack, preserves_flags));
            }
        }
    }
}

/// Adds a block's sums, as floats, to those of the blocks before; see [`super::super::Arithmetic::sums`].
#[inline(always)]
unsafe fn add<const WAY: u8>(
    (scales, mins): (__m512, Option<__m512>),
    rows: &[[f32; ROWS]; 2],
    dots: *const Dots,
    acc: &mut [__m512; ROWS],
) {
    // SAFETY: the arrays have as many rows; the caller has AVX-512 F.
    unsafe {
        let unit = if WAY == FIRST {
            16 * JOINED_UNIT
        } else {
            JOINED_UNIT
        };
        let units = _mm512_mul_ps(scales, _mm512_set1_ps(unit as f32));
        // An iterator's steps would keep the sums out of registers.
        #[allow(clippy::needless_range_loop)]
        for row in 0..ROWS {
            let mut dot = _mm512_load_si512((&raw const (*dots).0[0][row]).cast());
            if WAY == BOTH {
                let low = _mm512_load_si512((&raw const (*dots).0[1][row]).cast());
                dot = _mm512_add_epi32(_mm512_slli_epi32::<4>(dot), low);
            }
            if let Some(mins) = mins {
                acc[row] = _mm512_fmadd_ps(mins, _mm512_set1_ps(rows[1][row]), acc[row]);
            }
            let scale = _mm512_mul_ps(units, _mm512_set1_ps(rows[0][row]));
            acc[row] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), scale, acc[row]);
        }
    }
}
