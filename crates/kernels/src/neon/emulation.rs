//! NEON's instructions lane by lane in plain Rust, for tests on other processors: what the Arm Architecture Reference
//! Manual (DDI 0487) says of each that is used here, as the Arm C Language Extensions name it. Lanes lie in memory
//! from the lowest on, as on a little-endian processor.
//!
//! All are unsafe, as intrinsics are to whoever has not their instructions.

#![allow(clippy::float_cmp)] // as instructions compare

use std::array::from_fn;
use std::mem::transmute;

use half::f16;

macro_rules! vectors {
    ($($name:ident: [$lane:ty; $lanes:literal];)*) => {$(
        #[allow(non_camel_case_types)]
        #[derive(Clone, Copy)]
        #[repr(transparent)]
        pub(crate) struct $name(pub(super) [$lane; $lanes]);
    )*};
}

vectors! {
    int8x8_t: [i8; 8];
    int8x16_t: [i8; 16];
    int16x4_t: [i16; 4];
    int16x8_t: [i16; 8];
    int32x4_t: [i32; 4];
    uint8x16_t: [u8; 16];
    uint16x4_t: [u16; 4];
    uint32x4_t: [u32; 4];
    float16x4_t: [f16; 4];
    float32x4_t: [f32; 4];
}

/// What each lane of the result is of the same lane of each argument.
macro_rules! lane_by_lane {
    ($($name:ident $(<$constant:ident>)? ($($argument:ident: $vector:ident),+) -> $result:ident = $value:expr;)*) => {$(
        pub(crate) unsafe fn $name $(<const $constant: i32>)? ($($argument: $vector),+) -> $result {
            $result(from_fn(|lane| {
                $(let $argument = $argument.0[lane];)+
                $value
            }))
        }
    )*};
}

lane_by_lane! {
    vaddq_f32(a: float32x4_t, b: float32x4_t) -> float32x4_t = a + b;
    vaddq_s32(a: int32x4_t, b: int32x4_t) -> int32x4_t = a.wrapping_add(b);
    vandq_u8(a: uint8x16_t, b: uint8x16_t) -> uint8x16_t = a & b;
    vandq_u32(a: uint32x4_t, b: uint32x4_t) -> uint32x4_t = a & b;
    vbslq_f32(a: uint32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t =
        f32::from_bits(a & b.to_bits() | !a & c.to_bits());
    vceqq_f32(a: float32x4_t, b: float32x4_t) -> uint32x4_t = mask(a == b);
    vcgtq_f32(a: float32x4_t, b: float32x4_t) -> uint32x4_t = mask(a > b);
    vcltq_f32(a: float32x4_t, b: float32x4_t) -> uint32x4_t = mask(a < b);
    vcvt_f32_f16(a: float16x4_t) -> float32x4_t = a.to_f32();
    vcvtq_f32_s32(a: int32x4_t) -> float32x4_t = a as f32;
    // Both go towards zero, saturate, and make zero of what is no number.
    vcvtq_s32_f32(a: float32x4_t) -> int32x4_t = a as i32;
    vdivq_f32(a: float32x4_t, b: float32x4_t) -> float32x4_t = a / b;
    veorq_u8(a: uint8x16_t, b: uint8x16_t) -> uint8x16_t = a ^ b;
    vfmaq_f32(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t = b.mul_add(c, a);
    vmovl_u16(a: uint16x4_t) -> uint32x4_t = u32::from(a);
    vmulq_f32(a: float32x4_t, b: float32x4_t) -> float32x4_t = a * b;
    vorrq_u8(a: uint8x16_t, b: uint8x16_t) -> uint8x16_t = a | b;
    vqmovn_s16(a: int16x8_t) -> int8x8_t = a.clamp(i8::MIN.into(), i8::MAX.into()) as i8;
    vqmovn_s32(a: int32x4_t) -> int16x4_t = a.clamp(i16::MIN.into(), i16::MAX.into()) as i16;
    vrndnq_f32(a: float32x4_t) -> float32x4_t = a.round_ties_even();
    vshlq_n_s32<N>(a: int32x4_t) -> int32x4_t = a << N;
    vshlq_n_u32<N>(a: uint32x4_t) -> uint32x4_t = a << N;
    vshlq_u8(a: uint8x16_t, b: int8x16_t) -> uint8x16_t = shifted(a, b);
    vshrq_n_u8<N>(a: uint8x16_t) -> uint8x16_t = a >> N;
    vsubq_f32(a: float32x4_t, b: float32x4_t) -> float32x4_t = a - b;
}

fn mask(is_so: bool) -> u32 {
    if is_so { u32::MAX } else { 0 }
}

/// To the left by a positive number, to the right by a negative one.
fn shifted(value: u8, places: i8) -> u8 {
    let amount = u32::from(places.unsigned_abs());
    let moved = if places < 0 {
        value.checked_shr(amount)
    } else {
        value.checked_shl(amount)
    };
    moved.unwrap_or(0)
}

/// A number in all lanes.
macro_rules! copies {
    ($($copies:ident: $lane:ty => $vector:ident;)*) => {$(
        pub(crate) unsafe fn $copies(value: $lane) -> $vector {
            $vector([value; _])
        }
    )*};
}

copies! {
    vdupq_n_f32: f32 => float32x4_t;
    vdupq_n_s8: i8 => int8x16_t;
    vdupq_n_s32: i32 => int32x4_t;
    vdupq_n_u8: u8 => uint8x16_t;
}

pub(crate) unsafe fn vmulq_n_f32(a: float32x4_t, b: f32) -> float32x4_t {
    float32x4_t(a.0.map(|a| a * b))
}

pub(crate) unsafe fn vfmaq_n_f32(a: float32x4_t, b: float32x4_t, c: f32) -> float32x4_t {
    float32x4_t(from_fn(|lane| b.0[lane].mul_add(c, a.0[lane])))
}

macro_rules! loads {
    ($($load:ident: $lane:ty => $vector:ident;)*) => {$(
        pub(crate) unsafe fn $load(from: *const $lane) -> $vector {
            // SAFETY: the caller owns as many lanes.
            $vector(unsafe { from.cast::<[$lane; _]>().read_unaligned() })
        }
    )*};
}

loads! {
    vld1_s8: i8 => int8x8_t;
    vld1_u16: u16 => uint16x4_t;
    vld1q_f32: f32 => float32x4_t;
    vld1q_u8: u8 => uint8x16_t;
}

macro_rules! stores {
    ($($store:ident: $lane:ty => $vector:ident;)*) => {$(
        pub(crate) unsafe fn $store(into: *mut $lane, vector: $vector) {
            // SAFETY: the caller owns as many lanes.
            unsafe { into.cast::<[$lane; _]>().write_unaligned(vector.0) };
        }
    )*};
}

stores! {
    vst1q_f32: f32 => float32x4_t;
    vst1q_s8: i8 => int8x16_t;
}

macro_rules! reinterpretations {
    ($($name:ident: $from:ident => $into:ident;)*) => {$(
        pub(crate) unsafe fn $name(a: $from) -> $into {
            // SAFETY: arrays of numbers of the same size, of which any bits are numbers.
            unsafe { transmute::<$from, $into>(a) }
        }
    )*};
}

reinterpretations! {
    vreinterpret_f16_u16: uint16x4_t => float16x4_t;
    vreinterpretq_f32_s32: int32x4_t => float32x4_t;
    vreinterpretq_f32_u32: uint32x4_t => float32x4_t;
    vreinterpretq_s8_u8: uint8x16_t => int8x16_t;
    vreinterpretq_u8_u32: uint32x4_t => uint8x16_t;
    vreinterpretq_u32_f32: float32x4_t => uint32x4_t;
    vreinterpretq_u32_u8: uint8x16_t => uint32x4_t;
}

/// Lanes of two vectors, those of the second counted on from those of the first.
macro_rules! selections {
    ($($name:ident: $from:ident => $into:ident[$($lane:literal)+];)*) => {$(
        pub(crate) unsafe fn $name(a: $from, b: $from) -> $into {
            let both = [a.0, b.0];
            let lanes = both.as_flattened();
            $into([$(lanes[$lane]),+])
        }
    )*};
}

selections! {
    vcombine_s8: int8x8_t => int8x16_t[0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15];
    vcombine_s16: int16x4_t => int16x8_t[0 1 2 3 4 5 6 7];
    vuzp1q_s32: int32x4_t => int32x4_t[0 2 4 6];
    vuzp2q_s32: int32x4_t => int32x4_t[1 3 5 7];
    vzip1q_u32: uint32x4_t => uint32x4_t[0 4 1 5];
    vzip2q_u32: uint32x4_t => uint32x4_t[2 6 3 7];
}

/// `start` plus the products of as many pairs.
fn dot<L: Copy + Into<i32>>(start: i32, left: &[L], right: &[i8]) -> i32 {
    let products = left.iter().zip(right);
    products.fold(start, |sum, (&left, &right)| {
        sum.wrapping_add(left.into() * i32::from(right))
    })
}

pub(crate) unsafe fn vdotq_lane_s32<const LANE: i32>(
    a: int32x4_t,
    b: int8x16_t,
    c: int8x8_t,
) -> int32x4_t {
    let right = &c.0[4 * LANE as usize..][..4];
    int32x4_t(from_fn(|lane| dot(a.0[lane], &b.0[4 * lane..][..4], right)))
}

pub(crate) unsafe fn vusdotq_lane_s32<const LANE: i32>(
    a: int32x4_t,
    b: uint8x16_t,
    c: int8x8_t,
) -> int32x4_t {
    let right = &c.0[4 * LANE as usize..][..4];
    int32x4_t(from_fn(|lane| dot(a.0[lane], &b.0[4 * lane..][..4], right)))
}

pub(crate) unsafe fn vusmmlaq_s32(a: int32x4_t, b: uint8x16_t, c: int8x16_t) -> int32x4_t {
    int32x4_t(from_fn(|lane| {
        let (row, column) = (lane / 2, lane % 2);
        dot(a.0[lane], &b.0[8 * row..][..8], &c.0[8 * column..][..8])
    }))
}
