//! The emulated instructions against what QEMU's AArch64 answered for each (`tests/golden/make_neon.c`).

use std::any::type_name;

use super::*;

const RESULTS: &str = include_str!("../../../../tests/golden/neon/results.txt");

/// A number or a vector of them, from the bytes that lie in memory.
fn value<T: Copy>(digits: &str) -> T {
    let bytes: Vec<u8> = (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("two digits"))
        .collect();
    assert_eq!(
        bytes.len(),
        size_of::<T>(),
        "{digits} as {}",
        type_name::<T>()
    );
    // SAFETY: as many bytes as it has, of which any are numbers.
    unsafe { bytes.as_ptr().cast::<T>().read_unaligned() }
}

/// The bytes of a vector. Of floats, any that is no number is as good as another.
fn bytes<T: Copy>(vector: T) -> Vec<u8> {
    // SAFETY: its own bytes; vectors have no padding.
    let bytes =
        unsafe { std::slice::from_raw_parts((&raw const vector).cast::<u8>(), size_of::<T>()) };
    let mut bytes = bytes.to_vec();
    if type_name::<T>().ends_with("float32x4_t") {
        for lane in bytes.as_chunks_mut().0 {
            if f32::from_le_bytes(*lane).is_nan() {
                *lane = f32::NAN.to_le_bytes();
            }
        }
    }
    bytes
}

/// Holds each line of one of these instructions, and tells how many lines there were.
macro_rules! hold {
    ($($name:ident $(::<$constant:literal>)? ($($argument:ty),+) -> $result:ty;)*) => {{
        let mut held = 0;
        $(
            let name = concat!(stringify!($name) $(, "::<", stringify!($constant), ">")?, " ");
            let lines = RESULTS.lines().filter_map(|line| line.strip_prefix(name));
            let before = held;
            for line in lines {
                let (arguments, expected) = line.split_once(" = ").expect("a result");
                let mut arguments = arguments.split(' ');
                // SAFETY: emulated, these need no instructions.
                let got = unsafe {
                    $name $(::<$constant>)? ($(value::<$argument>(arguments.next().expect("an argument"))),+)
                };
                let expected = value::<$result>(expected);
                assert_eq!(bytes::<$result>(got), bytes(expected), "{name}{line}");
                held += 1;
            }
            assert!(held > before, "{name}was not answered");
        )*
        held
    }};
}

#[test]
fn emulated_instructions_answer_as_qemu_s() {
    let held = hold! {
        vaddq_f32(float32x4_t, float32x4_t) -> float32x4_t;
        vaddq_s32(int32x4_t, int32x4_t) -> int32x4_t;
        vandq_u8(uint8x16_t, uint8x16_t) -> uint8x16_t;
        vandq_u32(uint32x4_t, uint32x4_t) -> uint32x4_t;
        vbslq_f32(uint32x4_t, float32x4_t, float32x4_t) -> float32x4_t;
        vceqq_f32(float32x4_t, float32x4_t) -> uint32x4_t;
        vcgtq_f32(float32x4_t, float32x4_t) -> uint32x4_t;
        vcltq_f32(float32x4_t, float32x4_t) -> uint32x4_t;
        vcombine_s8(int8x8_t, int8x8_t) -> int8x16_t;
        vcombine_s16(int16x4_t, int16x4_t) -> int16x8_t;
        vcvt_f32_f16(float16x4_t) -> float32x4_t;
        vcvtq_f32_s32(int32x4_t) -> float32x4_t;
        vcvtq_s32_f32(float32x4_t) -> int32x4_t;
        vdivq_f32(float32x4_t, float32x4_t) -> float32x4_t;
        vdotq_lane_s32::<0>(int32x4_t, int8x16_t, int8x8_t) -> int32x4_t;
        vdotq_lane_s32::<1>(int32x4_t, int8x16_t, int8x8_t) -> int32x4_t;
        vdupq_n_f32(f32) -> float32x4_t;
        vdupq_n_s8(i8) -> int8x16_t;
        vdupq_n_s32(i32) -> int32x4_t;
        vdupq_n_u8(u8) -> uint8x16_t;
        veorq_u8(uint8x16_t, uint8x16_t) -> uint8x16_t;
        vfmaq_f32(float32x4_t, float32x4_t, float32x4_t) -> float32x4_t;
        vfmaq_n_f32(float32x4_t, float32x4_t, f32) -> float32x4_t;
        vmovl_u16(uint16x4_t) -> uint32x4_t;
        vmulq_f32(float32x4_t, float32x4_t) -> float32x4_t;
        vmulq_n_f32(float32x4_t, f32) -> float32x4_t;
        vorrq_u8(uint8x16_t, uint8x16_t) -> uint8x16_t;
        vqmovn_s16(int16x8_t) -> int8x8_t;
        vqmovn_s32(int32x4_t) -> int16x4_t;
        vreinterpret_f16_u16(uint16x4_t) -> float16x4_t;
        vreinterpretq_f32_s32(int32x4_t) -> float32x4_t;
        vreinterpretq_f32_u32(uint32x4_t) -> float32x4_t;
        vreinterpretq_s8_u8(uint8x16_t) -> int8x16_t;
        vreinterpretq_u8_u32(uint32x4_t) -> uint8x16_t;
        vreinterpretq_u32_f32(float32x4_t) -> uint32x4_t;
        vreinterpretq_u32_u8(uint8x16_t) -> uint32x4_t;
        vrndnq_f32(float32x4_t) -> float32x4_t;
        vshlq_n_s32::<8>(int32x4_t) -> int32x4_t;
        vshlq_n_s32::<23>(int32x4_t) -> int32x4_t;
        vshlq_n_u32::<16>(uint32x4_t) -> uint32x4_t;
        vshlq_u8(uint8x16_t, int8x16_t) -> uint8x16_t;
        vshrq_n_u8::<4>(uint8x16_t) -> uint8x16_t;
        vsubq_f32(float32x4_t, float32x4_t) -> float32x4_t;
        vusdotq_lane_s32::<0>(int32x4_t, uint8x16_t, int8x8_t) -> int32x4_t;
        vusdotq_lane_s32::<1>(int32x4_t, uint8x16_t, int8x8_t) -> int32x4_t;
        vusmmlaq_s32(int32x4_t, uint8x16_t, int8x16_t) -> int32x4_t;
        vuzp1q_s32(int32x4_t, int32x4_t) -> int32x4_t;
        vuzp2q_s32(int32x4_t, int32x4_t) -> int32x4_t;
        vzip1q_u32(uint32x4_t, uint32x4_t) -> uint32x4_t;
        vzip2q_u32(uint32x4_t, uint32x4_t) -> uint32x4_t;
    };
    assert_eq!(
        held,
        RESULTS.lines().count(),
        "each line names one of these"
    );
}
