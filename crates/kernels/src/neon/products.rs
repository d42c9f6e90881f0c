//! The products of bytes, whose intrinsics are not stable in Rust 1.95 (`stdarch_neon_dotprod`,
//! `stdarch_neon_i8mm`): the same functions as assembly.

use std::arch::aarch64::{int8x8_t, int8x16_t, int32x4_t, uint8x16_t};
use std::arch::asm;

/// SDOT by element: `a` plus, in each lane, the dot product of four bytes of `b` with the four of `c` that `LANE`
/// counts.
#[target_feature(enable = "neon,dotprod")]
#[inline]
pub(crate) fn vdotq_lane_s32<const LANE: i32>(
    mut a: int32x4_t,
    b: int8x16_t,
    c: int8x8_t,
) -> int32x4_t {
    // SAFETY: reads its registers and writes `a`, nothing else.
    unsafe {
        asm!(
            "sdot {a:v}.4s, {b:v}.16b, {c:v}.4b[{lane}]",
            a = inout(vreg) a,
            b = in(vreg) b,
            c = in(vreg) c,
            lane = const LANE,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    a
}

/// USDOT by element: as [`vdotq_lane_s32`], `b` unsigned.
#[target_feature(enable = "neon,i8mm")]
#[inline]
pub(crate) fn vusdotq_lane_s32<const LANE: i32>(
    mut a: int32x4_t,
    b: uint8x16_t,
    c: int8x8_t,
) -> int32x4_t {
    // SAFETY: reads its registers and writes `a`, nothing else.
    unsafe {
        asm!(
            "usdot {a:v}.4s, {b:v}.16b, {c:v}.4b[{lane}]",
            a = inout(vreg) a,
            b = in(vreg) b,
            c = in(vreg) c,
            lane = const LANE,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    a
}

/// USMMLA: the matrix `a`, two by two, plus the unsigned `b`, two rows of eight, times the signed `c`, two columns
/// of eight.
#[target_feature(enable = "neon,i8mm")]
#[inline]
pub(crate) fn vusmmlaq_s32(mut a: int32x4_t, b: uint8x16_t, c: int8x16_t) -> int32x4_t {
    // SAFETY: reads its registers and writes `a`, nothing else.
    unsafe {
        asm!(
            "usmmla {a:v}.4s, {b:v}.16b, {c:v}.16b",
            a = inout(vreg) a,
            b = in(vreg) b,
            c = in(vreg) c,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    a
}
