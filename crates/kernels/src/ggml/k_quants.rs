//! The K formats: 256 weights share half-precision numbers, 16 or 32 of them an integer scale.

use super::{Block, half_at};
use crate::BLOCK_INPUTS;

/// Weights of a superblock.
const SUPERBLOCK: usize = 256;

/// The 6-bit scale and minimum of sub-block `j` of 8, from 12 bytes: the first four of each lie in
/// the low six bits of a byte, the others in four bits of one byte and two of another.
fn six_bits(packed: &[u8], j: usize) -> (f32, f32) {
    let (scale, min) = if j < 4 {
        (packed[j] & 63, packed[j + 4] & 63)
    } else {
        (
            (packed[j + 4] & 15) | ((packed[j - 4] >> 6) << 4),
            (packed[j + 4] >> 4) | ((packed[j] >> 6) << 4),
        )
    };
    (f32::from(scale), f32::from(min))
}

/// `d, dmin: f16; scales: [12]; codes: [128]`: each 32 bytes hold 64 weights, low nibbles first.
pub(super) fn q4_k(block: &[u8]) -> impl Iterator<Item = Block> + '_ {
    let (d, dmin) = (half_at(block, 0), half_at(block, 2));
    (0..8).map(move |j| {
        let (scale, min) = six_bits(&block[4..16], j);
        let bytes = &block[16 + j / 2 * 32..][..32];
        let codes = std::array::from_fn(|i| (bytes[i] >> (4 * (j % 2))) & 15);
        Block {
            scale: d * scale,
            min: -dmin * min,
            codes,
        }
    })
}

/// As Q4_K with `highs: [32]` before the codes: bit j of byte i is the fifth bit of weight i of
/// sub-block j.
pub(super) fn q5_k(block: &[u8]) -> impl Iterator<Item = Block> + '_ {
    let (d, dmin) = (half_at(block, 0), half_at(block, 2));
    (0..8).map(move |j| {
        let (scale, min) = six_bits(&block[4..16], j);
        let highs = &block[16..48];
        let bytes = &block[48 + j / 2 * 32..][..32];
        let codes: [u8; BLOCK_INPUTS] = std::array::from_fn(|i| {
            ((bytes[i] >> (4 * (j % 2))) & 15) | (((highs[i] >> j) & 1) << 4)
        });
        Block {
            scale: d * scale,
            min: -dmin * min,
            codes,
        }
    })
}

/// The numbers of a row of superblocks of `B` bytes.
pub(super) fn floats<const B: usize>(
    row: &[[u8; B]],
    read: impl Fn(&[u8; B], &mut [f32; SUPERBLOCK]),
) -> Vec<f32> {
    let mut floats = vec![0.0; row.len() * SUPERBLOCK];
    let places = floats.as_chunks_mut::<SUPERBLOCK>().0;
    for (block, place) in row.iter().zip(places) {
        read(block, place);
    }
    floats
}

/// `scales: [16]` (low nibble scale, high nibble minimum), `codes: [64]`, `d, dmin: f16`. Each 32
/// bytes hold 128 weights, two bits at a time from the lowest.
pub(super) fn q2_k(block: &[u8; 84], out: &mut [f32; SUPERBLOCK]) {
    let (d, dmin) = (half_at(block, 80), half_at(block, 82));
    for (part, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let (scale, min) = (
            d * f32::from(block[part] & 15),
            dmin * f32::from(block[part] >> 4),
        );
        let codes = &block[16 + part / 8 * 32 + part % 2 * 16..][..16];
        for (value, code) in out.iter_mut().zip(codes) {
            *value = scale * f32::from((code >> (2 * (part % 8 / 2))) & 3) - min;
        }
    }
}

/// `highs: [32]`, `codes: [64]`, `scales: [12]`, `d: f16`. Codes as in Q2_K; bit j of byte i of
/// `highs` is the third bit of weight `32 j + i`, and stands for 4 taken away when it is not set.
pub(super) fn q3_k(block: &[u8; 110], out: &mut [f32; SUPERBLOCK]) {
    let d = half_at(block, 108);
    for (part, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let scale = d * q3_scale(&block[96..108], part);
        let codes = &block[32 + part / 8 * 32 + part % 2 * 16..][..16];
        let highs = &block[part % 2 * 16..][..16];
        for ((value, code), high) in out.iter_mut().zip(codes).zip(highs) {
            let low = (code >> (2 * (part % 8 / 2))) & 3;
            let high = (high >> (part / 2)) & 1;
            *value = scale * (f32::from(low | (high << 2)) - 4.0);
        }
    }
}

/// Scale k of 16: low four bits in nibbles of the first 8 bytes, high two in the last 4; less 32.
fn q3_scale(packed: &[u8], k: usize) -> f32 {
    let low = (packed[k % 8] >> (4 * (k / 8))) & 15;
    let high = (packed[8 + k % 4] >> (2 * (k / 4))) & 3;
    f32::from(low | (high << 4)) - 32.0
}

/// `lows: [128]`, `highs: [64]`, `scales: [16] i8`, `d: f16`. Each half of 128 weights takes 64 bytes
/// of lows (the first 64 weights in low nibbles, the others in high ones) and 32 of highs, two bits
/// for each 32 weights.
pub(super) fn q6_k(block: &[u8; 210], out: &mut [f32; SUPERBLOCK]) {
    let d = half_at(block, 208);
    for (part, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let (half, within) = (part / 8, part % 8);
        let scale = d * f32::from(block[192 + part].cast_signed());
        let lows = &block[half * 64 + within % 4 * 16..][..16];
        let highs = &block[128 + half * 32 + within % 2 * 16..][..16];
        for ((value, low), high) in out.iter_mut().zip(lows).zip(highs) {
            let low = (low >> (4 * (within / 4))) & 15;
            let high = (high >> (2 * (within / 2))) & 3;
            *value = scale * (f32::from(low | (high << 4)) - 32.0);
        }
    }
}
