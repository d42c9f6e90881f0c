//! The layouts of packed weights: 16 outputs by 32 inputs, or by 256, one dot product's bytes side by side.
//!
//! A *group* is four neighbouring inputs. The 64 bytes of a group hold, for each of 16 outputs, the
//! four codes that one 32-bit lane of an integer dot product reads. Four-bit layouts keep two groups
//! in one byte: the even group in the low nibbles, the odd one in the high nibbles.

// What becomes part of a computation on lanes has to be inlined.
#![allow(clippy::inline_always)]

mod superblock;

use half::f16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::ggml::Block;
use crate::lanes::Lanes;
use crate::{BLOCK_INPUTS, TILE_OUTPUTS};
pub(crate) use superblock::{FiveK, FourK, SixK};

/// Bytes of a group: 16 outputs by 4 inputs.
pub(crate) const GROUP_BYTES: usize = 4 * TILE_OUTPUTS;
/// Groups in a block.
pub(crate) const GROUPS: usize = BLOCK_INPUTS / 4;

/// Weights `scale * code + min`, codes 0 to 15: Q4_1. 5 bits a weight.
#[repr(C, align(64))]
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub(crate) struct FourMin {
    pub(crate) codes: [u8; GROUP_BYTES * GROUPS / 2],
    pub(crate) scales: [f16; TILE_OUTPUTS],
    pub(crate) mins: [f16; TILE_OUTPUTS],
}

/// Weights `scale * (code - 8)`, codes 0 to 15: Q4_0. 4.5 bits a weight.
#[repr(C, align(32))]
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub(crate) struct Four {
    pub(crate) codes: [u8; GROUP_BYTES * GROUPS / 2],
    pub(crate) scales: [f16; TILE_OUTPUTS],
}

/// Weights `scale * code + min`, codes 0 to 31: Q5_0, Q5_1, MXFP4. 6 bits a weight.
#[repr(C, align(64))]
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub(crate) struct FiveMin {
    pub(crate) codes: [u8; GROUP_BYTES * GROUPS / 2],
    /// Bit g of a byte is the fifth bit of group g's code at that byte.
    pub(crate) highs: [u8; GROUP_BYTES],
    pub(crate) scales: [f16; TILE_OUTPUTS],
    pub(crate) mins: [f16; TILE_OUTPUTS],
}

/// Weights `scale * (code - 128)`, codes 0 to 255: Q8_0, and whatever is requantised. 8.5 bits a
/// weight.
#[repr(C, align(32))]
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub(crate) struct Eight {
    pub(crate) codes: [u8; GROUP_BYTES * GROUPS],
    pub(crate) scales: [f16; TILE_OUTPUTS],
}

/// What packing writes and the portable back end reads; each back end adds its own loads. Blocks and inputs are counted
/// within the tile.
pub(crate) trait Tile: Copy + Send + Sync {
    /// What is taken from every code before it is multiplied: nothing, or a power of two, 8 at least.
    const OFFSET: i32;
    /// Bits of a code.
    const BITS: u32;
    /// Blocks of 32 inputs in a tile.
    const BLOCKS: usize;
    /// Parts of a block that have scales of their own: one of 32 inputs, or two of 16.
    const PARTS: usize;
    /// A tile of zeros.
    const EMPTY: Self;
    /// As many weights of one output as a tile has inputs.
    type Weights;

    /// Sets the weights of an output.
    fn set(&mut self, output: usize, weights: &Self::Weights);
    fn code(&self, output: usize, input: usize) -> u8;
    /// `(code - offset) * scale` of all outputs for an input, by what [`Tile::code`] and [`Tile::scale`] say.
    fn scaled<L: Lanes>(&self, input: usize) -> L;
    /// The scale of a part of a block.
    fn scale(&self, output: usize, block: usize, part: usize) -> f32;
    /// Added to each weight of a block; `None` for layouts without it.
    fn min(&self, output: usize, block: usize) -> Option<f32>;
}

/// Where a code lies within its group.
fn place(output: usize, input: usize) -> usize {
    output * 4 + input % 4
}

/// Of each output, the bits of `mask` in the byte of an input within a group's bytes, shifted right before.
#[inline(always)]
fn bits_of(bytes: &[u8], input: usize, shift: usize, mask: u32) -> [u32; TILE_OUTPUTS] {
    let (words, _) = bytes[..GROUP_BYTES].as_chunks();
    let shift = 8 * (input % 4) + shift;
    let mut codes = [0; TILE_OUTPUTS];
    for (code, word) in codes.iter_mut().zip(words) {
        *code = (u32::from_le_bytes(*word) >> shift) & mask;
    }
    codes
}

/// Codes of a byte, of an input for all outputs.
#[inline(always)]
pub(crate) fn byte_codes(codes: &[u8], input: usize) -> [u32; TILE_OUTPUTS] {
    bits_of(&codes[input / 4 * GROUP_BYTES..], input, 0, 255)
}

/// [`nibble`] for all outputs.
#[inline(always)]
fn nibbles(codes: &[u8], input: usize) -> [u32; TILE_OUTPUTS] {
    let group = input / 4;
    bits_of(
        &codes[group / 2 * GROUP_BYTES..],
        input,
        4 * (group % 2),
        15,
    )
}

/// [`nibble`] with [`sixteen`] for all outputs.
#[inline(always)]
fn fives(codes: &[u8], highs: &[u8; GROUP_BYTES], input: usize) -> [u32; TILE_OUTPUTS] {
    let mut codes = nibbles(codes, input);
    for (code, high) in codes.iter_mut().zip(bits_of(highs, input, input / 4, 1)) {
        *code |= high << 4;
    }
    codes
}

/// `(code - offset) * scale`.
#[inline(always)]
pub(crate) fn scaled<T: Tile, L: Lanes>(codes: [u32; TILE_OUTPUTS], scales: L) -> L {
    let mut numbers = [0.0; TILE_OUTPUTS];
    for (number, code) in numbers.iter_mut().zip(codes) {
        *number = (code as i32 - T::OFFSET) as f32;
    }
    L::load(&numbers).multiply(scales)
}

/// Numbers of half precision.
#[inline(always)]
fn halves<L: Lanes>(values: &[f16; TILE_OUTPUTS]) -> L {
    let mut bits = [0; TILE_OUTPUTS];
    for (bits, value) in bits.iter_mut().zip(values) {
        *bits = value.to_bits();
    }
    L::load_half(&bits)
}

fn nibble(codes: &[u8], output: usize, input: usize) -> u8 {
    let group = input / 4;
    let byte = codes[group / 2 * GROUP_BYTES + place(output, input)];
    (byte >> (4 * (group % 2))) & 15
}

/// Sets the nibbles of an output, an even and an odd group at a time.
fn set_nibbles(packed: &mut [u8], output: usize, codes: &[u8; BLOCK_INPUTS]) {
    for (pair, codes) in codes.as_chunks::<8>().0.iter().enumerate() {
        let both = &mut packed[pair * GROUP_BYTES + output * 4..][..4];
        for (place, byte) in both.iter_mut().enumerate() {
            *byte = (codes[place] & 15) | (codes[place + 4] << 4);
        }
    }
}

/// The fifth bit of a code, as a 16: bit g of a byte of `highs` is that of group g.
fn sixteen(highs: &[u8; GROUP_BYTES], output: usize, input: usize) -> u8 {
    ((highs[place(output, input)] >> (input / 4)) & 1) << 4
}

/// Sets the fifth bits of an output.
fn set_sixteens(highs: &mut [u8; GROUP_BYTES], output: usize, codes: &[u8; BLOCK_INPUTS]) {
    for place in 0..4 {
        let mut bits = 0;
        for (group, codes) in codes.as_chunks::<4>().0.iter().enumerate() {
            bits |= ((codes[place] >> 4) & 1) << group;
        }
        highs[output * 4 + place] = bits;
    }
}

impl Tile for FourMin {
    const OFFSET: i32 = 0;
    const BITS: u32 = 4;
    const BLOCKS: usize = 1;
    const PARTS: usize = 1;
    const EMPTY: Self = Self {
        codes: [0; GROUP_BYTES * GROUPS / 2],
        scales: [f16::ZERO; TILE_OUTPUTS],
        mins: [f16::ZERO; TILE_OUTPUTS],
    };
    type Weights = Block;

    fn set(&mut self, output: usize, weights: &Block) {
        set_nibbles(&mut self.codes, output, &weights.codes);
        self.scales[output] = f16::from_f32(weights.scale);
        self.mins[output] = f16::from_f32(weights.min);
    }
    fn code(&self, output: usize, input: usize) -> u8 {
        nibble(&self.codes, output, input)
    }
    #[inline(always)]
    fn scaled<L: Lanes>(&self, input: usize) -> L {
        scaled::<Self, L>(nibbles(&self.codes, input), halves(&self.scales))
    }
    fn scale(&self, output: usize, _: usize, _: usize) -> f32 {
        self.scales[output].to_f32()
    }
    fn min(&self, output: usize, _: usize) -> Option<f32> {
        Some(self.mins[output].to_f32())
    }
}

impl Tile for Four {
    const OFFSET: i32 = 8;
    const BITS: u32 = 4;
    const BLOCKS: usize = 1;
    const PARTS: usize = 1;
    const EMPTY: Self = Self {
        codes: [0; GROUP_BYTES * GROUPS / 2],
        scales: [f16::ZERO; TILE_OUTPUTS],
    };
    type Weights = Block;

    fn set(&mut self, output: usize, weights: &Block) {
        set_nibbles(&mut self.codes, output, &weights.codes);
        self.scales[output] = f16::from_f32(weights.scale);
    }
    fn code(&self, output: usize, input: usize) -> u8 {
        nibble(&self.codes, output, input)
    }
    #[inline(always)]
    fn scaled<L: Lanes>(&self, input: usize) -> L {
        scaled::<Self, L>(nibbles(&self.codes, input), halves(&self.scales))
    }
    fn scale(&self, output: usize, _: usize, _: usize) -> f32 {
        self.scales[output].to_f32()
    }
    fn min(&self, _: usize, _: usize) -> Option<f32> {
        None
    }
}

impl Tile for FiveMin {
    const OFFSET: i32 = 0;
    const BITS: u32 = 5;
    const BLOCKS: usize = 1;
    const PARTS: usize = 1;
    const EMPTY: Self = Self {
        codes: [0; GROUP_BYTES * GROUPS / 2],
        highs: [0; GROUP_BYTES],
        scales: [f16::ZERO; TILE_OUTPUTS],
        mins: [f16::ZERO; TILE_OUTPUTS],
    };
    type Weights = Block;

    fn set(&mut self, output: usize, weights: &Block) {
        set_nibbles(&mut self.codes, output, &weights.codes);
        set_sixteens(&mut self.highs, output, &weights.codes);
        self.scales[output] = f16::from_f32(weights.scale);
        self.mins[output] = f16::from_f32(weights.min);
    }
    fn code(&self, output: usize, input: usize) -> u8 {
        nibble(&self.codes, output, input) | sixteen(&self.highs, output, input)
    }
    #[inline(always)]
    fn scaled<L: Lanes>(&self, input: usize) -> L {
        let codes = fives(&self.codes, &self.highs, input);
        scaled::<Self, L>(codes, halves(&self.scales))
    }
    fn scale(&self, output: usize, _: usize, _: usize) -> f32 {
        self.scales[output].to_f32()
    }
    fn min(&self, output: usize, _: usize) -> Option<f32> {
        Some(self.mins[output].to_f32())
    }
}

impl Tile for Eight {
    const OFFSET: i32 = 128;
    const BITS: u32 = 8;
    const BLOCKS: usize = 1;
    const PARTS: usize = 1;
    const EMPTY: Self = Self {
        codes: [128; GROUP_BYTES * GROUPS],
        scales: [f16::ZERO; TILE_OUTPUTS],
    };
    type Weights = Block;

    fn set(&mut self, output: usize, weights: &Block) {
        for (group, codes) in weights.codes.as_chunks::<4>().0.iter().enumerate() {
            self.codes[group * GROUP_BYTES + output * 4..][..4].copy_from_slice(codes);
        }
        self.scales[output] = f16::from_f32(weights.scale);
    }
    fn code(&self, output: usize, input: usize) -> u8 {
        self.codes[input / 4 * GROUP_BYTES + place(output, input)]
    }
    #[inline(always)]
    fn scaled<L: Lanes>(&self, input: usize) -> L {
        scaled::<Self, L>(byte_codes(&self.codes, input), halves(&self.scales))
    }
    fn scale(&self, output: usize, _: usize, _: usize) -> f32 {
        self.scales[output].to_f32()
    }
    fn min(&self, _: usize, _: usize) -> Option<f32> {
        None
    }
}
