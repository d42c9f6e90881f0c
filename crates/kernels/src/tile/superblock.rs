//! The layouts of the K formats: superblocks of 256 inputs, with the integers that their files have for scales.

use half::f16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{
    GROUP_BYTES, GROUPS, Tile, bits_of, fives, halves, nibble, nibbles, place, scaled, set_nibbles,
    set_sixteens, sixteen,
};
use crate::ggml::{SUPERBLOCK_INPUTS, Superblock};
use crate::lanes::Lanes;
use crate::{BLOCK_INPUTS, TILE_OUTPUTS};

/// Blocks of a superblock.
const BLOCKS: usize = SUPERBLOCK_INPUTS / BLOCK_INPUTS;

/// Weights `step * scale * code + min_step * min`, codes 0 to 15: Q4_K. 4.625 bits a weight.
#[repr(C, align(64))]
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub(crate) struct FourK {
    pub(crate) codes: [[u8; GROUP_BYTES * GROUPS / 2]; BLOCKS],
    pub(crate) scales: [[u8; TILE_OUTPUTS]; BLOCKS],
    pub(crate) mins: [[u8; TILE_OUTPUTS]; BLOCKS],
    pub(crate) steps: [f16; TILE_OUTPUTS],
    pub(crate) min_steps: [f16; TILE_OUTPUTS],
}

/// The same with codes 0 to 31: Q5_K. 5.625 bits a weight.
#[repr(C, align(64))]
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub(crate) struct FiveK {
    pub(crate) codes: [[u8; GROUP_BYTES * GROUPS / 2]; BLOCKS],
    /// Bit g of a byte is the fifth bit of group g's code at that byte.
    pub(crate) highs: [[u8; GROUP_BYTES]; BLOCKS],
    pub(crate) scales: [[u8; TILE_OUTPUTS]; BLOCKS],
    pub(crate) mins: [[u8; TILE_OUTPUTS]; BLOCKS],
    pub(crate) steps: [f16; TILE_OUTPUTS],
    pub(crate) min_steps: [f16; TILE_OUTPUTS],
}

/// Weights `step * scale * (code - 32)`, codes 0 to 63, a scale for 16 inputs: Q3_K, Q6_K. 6.5625 bits a weight.
#[repr(C, align(32))]
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub(crate) struct SixK {
    /// The halves of each block. Of a half's four groups, three have the low six bits of 64 bytes each; the high bits
    /// are the fourth's, its lowest two beside the first group.
    pub(crate) codes: [[[u8; 3 * GROUP_BYTES]; 2]; BLOCKS],
    pub(crate) scales: [[[i8; TILE_OUTPUTS]; 2]; BLOCKS],
    pub(crate) steps: [f16; TILE_OUTPUTS],
}

/// Scales of a block.
#[inline(always)]
fn product<L: Lanes>(
    integers: &[impl Copy + Into<f32>; TILE_OUTPUTS],
    steps: &[f16; TILE_OUTPUTS],
) -> L {
    let mut floats = [0.0; TILE_OUTPUTS];
    for (float, integer) in floats.iter_mut().zip(integers) {
        *float = (*integer).into();
    }
    L::load(&floats).multiply(halves(steps))
}

/// The codes of each block.
fn blocks(weights: &Superblock) -> &[[u8; BLOCK_INPUTS]] {
    weights.codes.as_chunks().0
}

/// What the formats with minima have alike.
macro_rules! with_minima {
    () => {
        const OFFSET: i32 = 0;
        const BLOCKS: usize = BLOCKS;
        const PARTS: usize = 1;
        type Weights = Superblock;

        fn scale(&self, output: usize, block: usize, _: usize) -> f32 {
            f32::from(self.scales[block][output]) * self.steps[output].to_f32()
        }
        fn min(&self, output: usize, block: usize) -> Option<f32> {
            Some(f32::from(self.mins[block][output]) * self.min_steps[output].to_f32())
        }
    };
}

macro_rules! set_scales {
    ($tile:ident, $output:ident, $weights:ident) => {
        for block in 0..BLOCKS {
            $tile.scales[block][$output] = $weights.scales[block].cast_unsigned();
            $tile.mins[block][$output] = $weights.mins[block];
        }
        $tile.steps[$output] = $weights.step;
        $tile.min_steps[$output] = $weights.min_step;
    };
}

impl Tile for FourK {
    const BITS: u32 = 4;
    const EMPTY: Self = Self {
        codes: [[0; _]; BLOCKS],
        scales: [[0; _]; BLOCKS],
        mins: [[0; _]; BLOCKS],
        steps: [f16::ZERO; _],
        min_steps: [f16::ZERO; _],
    };
    with_minima!();

    fn set(&mut self, output: usize, weights: &Superblock) {
        for (packed, codes) in self.codes.iter_mut().zip(blocks(weights)) {
            set_nibbles(packed, output, codes);
        }
        set_scales!(self, output, weights);
    }
    fn code(&self, output: usize, input: usize) -> u8 {
        let (block, input) = (input / BLOCK_INPUTS, input % BLOCK_INPUTS);
        nibble(&self.codes[block], output, input)
    }
    #[inline(always)]
    fn scaled<L: Lanes>(&self, input: usize) -> L {
        let (block, input) = (input / BLOCK_INPUTS, input % BLOCK_INPUTS);
        let codes = nibbles(&self.codes[block], input);
        scaled::<Self, L>(codes, product(&self.scales[block], &self.steps))
    }
}

impl Tile for FiveK {
    const BITS: u32 = 5;
    const EMPTY: Self = Self {
        codes: [[0; _]; BLOCKS],
        highs: [[0; _]; BLOCKS],
        scales: [[0; _]; BLOCKS],
        mins: [[0; _]; BLOCKS],
        steps: [f16::ZERO; _],
        min_steps: [f16::ZERO; _],
    };
    with_minima!();

    fn set(&mut self, output: usize, weights: &Superblock) {
        let packed = self.codes.iter_mut().zip(&mut self.highs);
        for ((packed, highs), codes) in packed.zip(blocks(weights)) {
            set_nibbles(packed, output, codes);
            set_sixteens(highs, output, codes);
        }
        set_scales!(self, output, weights);
    }
    fn code(&self, output: usize, input: usize) -> u8 {
        let (block, input) = (input / BLOCK_INPUTS, input % BLOCK_INPUTS);
        nibble(&self.codes[block], output, input) | sixteen(&self.highs[block], output, input)
    }
    #[inline(always)]
    fn scaled<L: Lanes>(&self, input: usize) -> L {
        let (block, input) = (input / BLOCK_INPUTS, input % BLOCK_INPUTS);
        let codes = fives(&self.codes[block], &self.highs[block], input);
        scaled::<Self, L>(codes, product(&self.scales[block], &self.steps))
    }
}

impl Tile for SixK {
    const OFFSET: i32 = 32;
    const BITS: u32 = 6;
    const BLOCKS: usize = BLOCKS;
    const PARTS: usize = 2;
    const EMPTY: Self = Self {
        codes: [[[0; _]; 2]; BLOCKS],
        scales: [[[0; _]; 2]; BLOCKS],
        steps: [f16::ZERO; _],
    };
    type Weights = Superblock;

    fn set(&mut self, output: usize, weights: &Superblock) {
        let packed = self.codes.as_flattened_mut().iter_mut();
        for (packed, codes) in packed.zip(weights.codes.as_chunks::<16>().0) {
            for place in 0..4 {
                let last = codes[12 + place];
                for group in 0..3 {
                    let high = (last >> (2 * group)) << 6;
                    packed[group * GROUP_BYTES + output * 4 + place] =
                        codes[4 * group + place] | high;
                }
            }
        }
        let scales = self.scales.as_flattened_mut().iter_mut();
        for (scales, scale) in scales.zip(weights.scales) {
            scales[output] = scale;
        }
        self.steps[output] = weights.step;
    }
    fn code(&self, output: usize, input: usize) -> u8 {
        let (block, input) = (input / BLOCK_INPUTS, input % BLOCK_INPUTS);
        let (part, group) = (input / 16, input % 16 / 4);
        let byte =
            |group: usize| self.codes[block][part][group * GROUP_BYTES + place(output, input)];
        if group < 3 {
            byte(group) & 63
        } else {
            (byte(0) >> 6) | (byte(1) >> 6) << 2 | (byte(2) >> 6) << 4
        }
    }
    #[inline(always)]
    fn scaled<L: Lanes>(&self, input: usize) -> L {
        let (block, input) = (input / BLOCK_INPUTS, input % BLOCK_INPUTS);
        let (part, group) = (input / 16, input % 16 / 4);
        let bits = |group: usize, shift: usize, mask: u32| {
            bits_of(
                &self.codes[block][part][group * GROUP_BYTES..],
                input,
                shift,
                mask,
            )
        };
        let codes = if group < 3 {
            bits(group, 0, 63)
        } else {
            let mut codes = bits(0, 6, 3);
            for (code, more) in codes.iter_mut().zip(bits(1, 6, 3)) {
                *code |= more << 2;
            }
            for (code, more) in codes.iter_mut().zip(bits(2, 6, 3)) {
                *code |= more << 4;
            }
            codes
        };
        scaled::<Self, L>(codes, product(&self.scales[block][part], &self.steps))
    }
    fn scale(&self, output: usize, block: usize, part: usize) -> f32 {
        f32::from(self.scales[block][part][output]) * self.steps[output].to_f32()
    }
    fn min(&self, _: usize, _: usize) -> Option<f32> {
        None
    }
}
