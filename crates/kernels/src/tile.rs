//! The layouts of packed weights: 16 outputs by 32 inputs, one dot product's bytes side by side.
//!
//! A *group* is four neighbouring inputs. The 64 bytes of a group hold, for each of 16 outputs, the
//! four codes that one 32-bit lane of an integer dot product reads. Four-bit layouts keep two groups
//! in one byte: the even group in the low nibbles, the odd one in the high nibbles.

use half::f16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{BLOCK_INPUTS, TILE_OUTPUTS};

/// Bytes of a group: 16 outputs by 4 inputs.
pub(crate) const GROUP_BYTES: usize = 4 * TILE_OUTPUTS;
/// Groups in a tile.
pub(crate) const GROUPS: usize = BLOCK_INPUTS / 4;

/// Weights `scale * code + min`, codes 0 to 15: Q4_1, Q4_K. 5 bits a weight.
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

/// Weights `scale * code + min`, codes 0 to 31: Q5_0, Q5_1, Q5_K, MXFP4. 6 bits a weight.
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

/// What packing writes and the portable back end reads; each back end adds its own loads.
pub(crate) trait Tile: Copy + Send + Sync {
    /// What is taken from every code before it is multiplied.
    const OFFSET: i32;
    /// Bits of a code.
    const BITS: u32;
    /// A tile of zeros.
    const EMPTY: Self;

    /// The code of an output's input, both counted within the tile.
    fn code(&self, output: usize, input: usize) -> u8;
    /// Sets the codes of all inputs of an output.
    fn set_codes(&mut self, output: usize, codes: &[u8; BLOCK_INPUTS]);
    fn scale(&self, output: usize) -> f16;
    fn set_scale(&mut self, output: usize, scale: f16);
    /// Added to each weight; `None` for layouts without it.
    fn min(&self, output: usize) -> Option<f16>;
    fn set_min(&mut self, output: usize, min: f16);
}

/// Where a code lies within its group.
fn place(output: usize, input: usize) -> usize {
    output * 4 + input % 4
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

impl Tile for FourMin {
    const OFFSET: i32 = 0;
    const BITS: u32 = 4;
    const EMPTY: Self = Self {
        codes: [0; GROUP_BYTES * GROUPS / 2],
        scales: [f16::ZERO; TILE_OUTPUTS],
        mins: [f16::ZERO; TILE_OUTPUTS],
    };
    fn code(&self, output: usize, input: usize) -> u8 {
        nibble(&self.codes, output, input)
    }
    fn set_codes(&mut self, output: usize, codes: &[u8; BLOCK_INPUTS]) {
        set_nibbles(&mut self.codes, output, codes);
    }
    fn scale(&self, output: usize) -> f16 {
        self.scales[output]
    }
    fn set_scale(&mut self, output: usize, scale: f16) {
        self.scales[output] = scale;
    }
    fn min(&self, output: usize) -> Option<f16> {
        Some(self.mins[output])
    }
    fn set_min(&mut self, output: usize, min: f16) {
        self.mins[output] = min;
    }
}

impl Tile for Four {
    const OFFSET: i32 = 8;
    const BITS: u32 = 4;
    const EMPTY: Self = Self {
        codes: [0; GROUP_BYTES * GROUPS / 2],
        scales: [f16::ZERO; TILE_OUTPUTS],
    };
    fn code(&self, output: usize, input: usize) -> u8 {
        nibble(&self.codes, output, input)
    }
    fn set_codes(&mut self, output: usize, codes: &[u8; BLOCK_INPUTS]) {
        set_nibbles(&mut self.codes, output, codes);
    }
    fn scale(&self, output: usize) -> f16 {
        self.scales[output]
    }
    fn set_scale(&mut self, output: usize, scale: f16) {
        self.scales[output] = scale;
    }
    fn min(&self, _: usize) -> Option<f16> {
        None
    }
    fn set_min(&mut self, _: usize, _: f16) {}
}

impl Tile for FiveMin {
    const OFFSET: i32 = 0;
    const BITS: u32 = 5;
    const EMPTY: Self = Self {
        codes: [0; GROUP_BYTES * GROUPS / 2],
        highs: [0; GROUP_BYTES],
        scales: [f16::ZERO; TILE_OUTPUTS],
        mins: [f16::ZERO; TILE_OUTPUTS],
    };
    fn code(&self, output: usize, input: usize) -> u8 {
        let high = (self.highs[place(output, input)] >> (input / 4)) & 1;
        nibble(&self.codes, output, input) | (high << 4)
    }
    fn set_codes(&mut self, output: usize, codes: &[u8; BLOCK_INPUTS]) {
        set_nibbles(&mut self.codes, output, codes);
        for place in 0..4 {
            let mut highs = 0;
            for (group, codes) in codes.as_chunks::<4>().0.iter().enumerate() {
                highs |= ((codes[place] >> 4) & 1) << group;
            }
            self.highs[output * 4 + place] = highs;
        }
    }
    fn scale(&self, output: usize) -> f16 {
        self.scales[output]
    }
    fn set_scale(&mut self, output: usize, scale: f16) {
        self.scales[output] = scale;
    }
    fn min(&self, output: usize) -> Option<f16> {
        Some(self.mins[output])
    }
    fn set_min(&mut self, output: usize, min: f16) {
        self.mins[output] = min;
    }
}

impl Tile for Eight {
    const OFFSET: i32 = 128;
    const BITS: u32 = 8;
    const EMPTY: Self = Self {
        codes: [128; GROUP_BYTES * GROUPS],
        scales: [f16::ZERO; TILE_OUTPUTS],
    };
    fn code(&self, output: usize, input: usize) -> u8 {
        self.codes[input / 4 * GROUP_BYTES + place(output, input)]
    }
    fn set_codes(&mut self, output: usize, codes: &[u8; BLOCK_INPUTS]) {
        for (group, codes) in codes.as_chunks::<4>().0.iter().enumerate() {
            self.codes[group * GROUP_BYTES + output * 4..][..4].copy_from_slice(codes);
        }
    }
    fn scale(&self, output: usize) -> f16 {
        self.scales[output]
    }
    fn set_scale(&mut self, output: usize, scale: f16) {
        self.scales[output] = scale;
    }
    fn min(&self, _: usize) -> Option<f16> {
        None
    }
    fn set_min(&mut self, _: usize, _: f16) {}
}
