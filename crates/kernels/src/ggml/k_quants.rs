//! The K formats: 256 weights share half-precision numbers, 16 or 32 of them an integer scale.

use half::f16;

use super::{SUPERBLOCK_INPUTS, Superblock, f16_at, half_at};
use crate::BLOCK_INPUTS;

/// The 6-bit scales and minima of the eight sub-blocks, from 12 bytes: the first four of each lie in
/// the low six bits of a byte, the others in four bits of one byte and two of another.
fn six_bits(packed: &[u8]) -> ([i8; 16], [u8; 8]) {
    let (mut scales, mut mins) = ([0; 16], [0; 8]);
    for j in 0..4 {
        let (scale, min, both) = (packed[j], packed[j + 4], packed[j + 8]);
        scales[j] = (scale & 63).cast_signed();
        mins[j] = min & 63;
        scales[j + 4] = ((both & 15) | ((scale >> 6) << 4)).cast_signed();
        mins[j + 4] = (both >> 4) | ((min >> 6) << 4);
    }
    (scales, mins)
}

/// What Q4_K and Q5_K begin with, `d, dmin: f16; scales: [12]`, and the codes.
fn with_minima(block: &[u8], codes: [u8; SUPERBLOCK_INPUTS]) -> Superblock {
    let (scales, mins) = six_bits(&block[4..16]);
    Superblock {
        step: f16_at(block, 0),
        min_step: -f16_at(block, 2),
        scales,
        mins,
        codes,
    }
}

/// `d, dmin: f16; scales: [12]; codes: [128]`: each 32 bytes hold 64 weights, low nibbles first.
pub(super) fn q4_k(block: &[u8]) -> Superblock {
    let mut codes = [0; SUPERBLOCK_INPUTS];
    for (codes, bytes) in codes.chunks_exact_mut(64).zip(block[16..].chunks_exact(32)) {
        for (i, byte) in bytes.iter().enumerate() {
            codes[i] = byte & 15;
            codes[i + 32] = byte >> 4;
        }
    }
    with_minima(block, codes)
}

/// As Q4_K with `highs: [32]` before the codes: bit j of byte i is the fifth bit of weight i of
/// sub-block j.
pub(super) fn q5_k(block: &[u8]) -> Superblock {
    let highs = &block[16..48];
    let mut codes = [0; SUPERBLOCK_INPUTS];
    for (j, codes) in codes
        .as_chunks_mut::<BLOCK_INPUTS>()
        .0
        .iter_mut()
        .enumerate()
    {
        let bytes = &block[48 + j / 2 * 32..][..32];
        for ((code, byte), high) in codes.iter_mut().zip(bytes).zip(highs) {
            *code = ((byte >> (4 * (j % 2))) & 15) | (((high >> j) & 1) << 4);
        }
    }
    with_minima(block, codes)
}

/// `scales: [16]` (low nibble scale, high nibble minimum), `codes: [64]`, `d, dmin: f16`. Each 32
/// bytes hold 128 weights, two bits at a time from the lowest.
pub(super) fn q2_k(block: &[u8]) -> [f32; SUPERBLOCK_INPUTS] {
    let (d, dmin) = (half_at(block, 80), half_at(block, 82));
    let mut floats = [0.0; SUPERBLOCK_INPUTS];
    for (part, out) in floats.chunks_exact_mut(16).enumerate() {
        let (scale, min) = (
            d * f32::from(block[part] & 15),
            dmin * f32::from(block[part] >> 4),
        );
        let codes = &block[16 + part / 8 * 32 + part % 2 * 16..][..16];
        for (value, code) in out.iter_mut().zip(codes) {
            *value = scale * f32::from((code >> (2 * (part % 8 / 2))) & 3) - min;
        }
    }
    floats
}

/// `highs: [32]`, `codes: [64]`, `scales: [12]`, `d: f16`. Codes as in Q2_K; bit j of byte i of
/// `highs` is the third bit of weight `32 j + i`, and stands for 4 taken away when it is not set.
pub(super) fn q3_k(block: &[u8]) -> Superblock {
    let mut all = [0; SUPERBLOCK_INPUTS];
    for (part, out) in all.chunks_exact_mut(16).enumerate() {
        let codes = &block[32 + part / 8 * 32 + part % 2 * 16..][..16];
        let highs = &block[part % 2 * 16..][..16];
        for ((value, code), high) in out.iter_mut().zip(codes).zip(highs) {
            let low = (code >> (2 * (part % 8 / 2))) & 3;
            let high = (high >> (part / 2)) & 1;
            *value = 32 - 4 + (low | (high << 2));
        }
    }
    Superblock {
        step: f16_at(block, 108),
        min_step: f16::ZERO,
        scales: std::array::from_fn(|part| q3_scale(&block[96..108], part)),
        mins: [0; 8],
        codes: all,
    }
}

/// Scale k of 16: low four bits in nibbles of the first 8 bytes, high two in the last 4; less 32.
fn q3_scale(packed: &[u8], k: usize) -> i8 {
    let low = (packed[k % 8] >> (4 * (k / 8))) & 15;
    let high = (packed[8 + k % 4] >> (2 * (k / 4))) & 3;
    (low | (high << 4)).cast_signed() - 32
}

/// `lows: [128]`, `highs: [64]`, `scales: [16] i8`, `d: f16`. Each half of 128 weights takes 64 bytes
/// of lows (the first 64 weights in low nibbles, the others in high ones) and 32 of highs, two bits
/// for each 32 weights.
pub(super) fn q6_k(block: &[u8]) -> Superblock {
    let mut codes = [0; SUPERBLOCK_INPUTS];
    for (part, out) in codes.chunks_exact_mut(16).enumerate() {
        let (half, within) = (part / 8, part % 8);
        let lows = &block[half * 64 + within % 4 * 16..][..16];
        let highs = &block[128 + half * 32 + within % 2 * 16..][..16];
        for ((code, low), high) in out.iter_mut().zip(lows).zip(highs) {
            let low = (low >> (4 * (within / 4))) & 15;
            let high = (high >> (2 * (within / 2))) & 3;
            *code = low | (high << 4);
        }
    }
    Superblock {
        step: f16_at(block, 208),
        min_step: f16::ZERO,
        scales: std::array::from_fn(|part| block[192 + part].cast_signed()),
        mins: [0; 8],
        codes,
    }
}
