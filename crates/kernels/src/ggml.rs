//! The block formats of GGUF files, read exactly.
//!
//! Each format is turned into what a tile holds: *codes with a scale and a minimum* for 32 inputs, or 256 codes
//! with integers for scales and what these are multiplied with. Layouts are those of ggml's `ggml-common.h`.

mod k_quants;

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use crate::BLOCK_INPUTS;

/// A tensor type of GGUF.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(non_camel_case_types)] // ggml's own names
pub enum Format {
    /// 32-bit floats.
    F32,
    /// Half-precision floats.
    F16,
    /// Brain floats.
    BF16,
    /// 4 bits around 8, a scale for 32.
    Q4_0,
    /// 4 bits, a scale and a minimum for 32.
    Q4_1,
    /// 5 bits around 16, a scale for 32.
    Q5_0,
    /// 5 bits, a scale and a minimum for 32.
    Q5_1,
    /// 8 bits, a scale for 32.
    Q8_0,
    /// 2 bits, a 4-bit scale and minimum for 16, of 256.
    Q2_K,
    /// 3 bits around 4, a 6-bit scale for 16, of 256.
    Q3_K,
    /// 4 bits, a 6-bit scale and minimum for 32, of 256.
    Q4_K,
    /// 5 bits, a 6-bit scale and minimum for 32, of 256.
    Q5_K,
    /// 6 bits around 32, an 8-bit scale for 16, of 256.
    Q6_K,
    /// 4-bit numbers of a table, a scale for 32.
    IQ4_NL,
    /// The same, a 6-bit scale for 32, of 256.
    IQ4_XS,
    /// 4-bit floats, a power of two for 32 (OCP Microscaling Formats, 2023).
    MXFP4,
}

/// Inputs that share a half-precision number in the K formats.
pub(crate) const SUPERBLOCK_INPUTS: usize = 256;

/// Twice the 4-bit floats by their codes, and 12: what is left is a whole number of 0 to 24.
const FLOAT4: [u8; 16] = [12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0];

/// What the codes of IQ4_NL and IQ4_XS stand for (`kvalues_iq4nl`), and 128.
const TABLE4: [u8; 16] = [
    1, 24, 45, 63, 79, 93, 106, 118, 129, 141, 153, 166, 181, 197, 217, 241,
];

/// A byte string that is not a whole tensor of its format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{outputs} x {inputs} weights of {format:?} need {needed} bytes, not {given}")]
pub struct FormatError {
    /// The format.
    pub format: Format,
    /// Rows of the matrix.
    pub outputs: usize,
    /// Columns of the matrix.
    pub inputs: usize,
    /// The bytes that such a matrix has; 0 when its rows are not whole blocks.
    pub needed: usize,
    /// The bytes that were given.
    pub given: usize,
}

/// 32 weights of one output: `scale * code + min`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Block {
    pub(crate) scale: f32,
    pub(crate) min: f32,
    pub(crate) codes: [u8; BLOCK_INPUTS],
}

/// 256 weights of one output. With a scale for 32 they are `step * scale * code + min_step * min`, and the last
/// eight scales are not used; with one for 16, `step * scale * (code - 32)`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Superblock {
    pub(crate) step: f16,
    pub(crate) min_step: f16,
    pub(crate) scales: [i8; SUPERBLOCK_INPUTS / 16],
    pub(crate) mins: [u8; SUPERBLOCK_INPUTS / BLOCK_INPUTS],
    pub(crate) codes: [u8; SUPERBLOCK_INPUTS],
}

impl Format {
    /// Inputs and bytes of a block.
    pub fn block(self) -> (usize, usize) {
        match self {
            Self::F32 => (1, 4),
            Self::F16 | Self::BF16 => (1, 2),
            Self::Q4_0 | Self::IQ4_NL => (32, 18),
            Self::Q4_1 => (32, 20),
            Self::Q5_0 => (32, 22),
            Self::Q5_1 => (32, 24),
            Self::Q8_0 => (32, 34),
            Self::Q2_K => (256, 84),
            Self::Q3_K => (256, 110),
            Self::Q4_K => (256, 144),
            Self::Q5_K => (256, 176),
            Self::Q6_K => (256, 210),
            Self::IQ4_XS => (256, 136),
            Self::MXFP4 => (32, 17),
        }
    }

    /// Bytes of a row; `None` when `inputs` are not whole blocks.
    pub fn row_bytes(self, inputs: usize) -> Option<usize> {
        let (block, bytes) = self.block();
        (inputs.is_multiple_of(block)).then(|| inputs / block * bytes)
    }

    /// The superblocks of one row of a K format that is kept as it is.
    pub(crate) fn superblocks(self, row: &[u8]) -> impl Iterator<Item = Superblock> + '_ {
        let read = match self {
            Self::Q3_K => k_quants::q3_k,
            Self::Q4_K => k_quants::q4_k,
            Self::Q5_K => k_quants::q5_k,
            Self::Q6_K => k_quants::q6_k,
            _ => unreachable!("{self:?} is of no superblocks"),
        };
        let (_, bytes) = self.block();
        row.chunks_exact(bytes).map(read)
    }

    /// The blocks of 32 of one row of a format that keeps a half-precision scale for 32.
    pub(crate) fn blocks(self, row: &[u8]) -> Box<dyn Iterator<Item = Block> + '_> {
        let (_, bytes) = self.block();
        let superblocks = row.chunks_exact(bytes);
        match self {
            Self::IQ4_XS => Box::new(superblocks.flat_map(iq4_xs)),
            _ => Box::new(superblocks.map(move |block| self.small_block(block))),
        }
    }

    fn small_block(self, block: &[u8]) -> Block {
        match self {
            Self::Q4_0 => {
                let scale = half_at(block, 0);
                Block {
                    scale,
                    min: -8.0 * scale,
                    codes: nibbles(&block[2..]),
                }
            }
            Self::Q4_1 => Block {
                scale: half_at(block, 0),
                min: half_at(block, 2),
                codes: nibbles(&block[4..]),
            },
            Self::Q5_0 => {
                let scale = half_at(block, 0);
                Block {
                    scale,
                    min: -16.0 * scale,
                    codes: fives(&block[6..], &block[2..6]),
                }
            }
            Self::Q5_1 => Block {
                scale: half_at(block, 0),
                min: half_at(block, 2),
                codes: fives(&block[8..], &block[4..8]),
            },
            Self::Q8_0 => {
                let scale = half_at(block, 0);
                let mut codes = [0; BLOCK_INPUTS];
                for (code, &byte) in codes.iter_mut().zip(&block[2..]) {
                    *code = byte.wrapping_add(128); // two's complement to offset binary
                }
                Block {
                    scale,
                    min: -128.0 * scale,
                    codes,
                }
            }
            Self::IQ4_NL => table4(half_at(block, 0), &block[2..]),
            Self::MXFP4 => {
                // Its exponent is biased by 127, and the codes are doubled.
                let scale = (f32::from(block[0]) - 128.0).exp2();
                Block {
                    scale,
                    min: -12.0 * scale,
                    codes: nibbles(&block[1..]).map(|code| FLOAT4[usize::from(code)]),
                }
            }
            _ => unreachable!("{self:?} has no scale for 32"),
        }
    }

    /// The numbers of one row of a format that no tile holds: floats, and Q2_K.
    pub(crate) fn floats(self, row: &[u8]) -> Vec<f32> {
        match self {
            Self::F32 => row
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                .collect(),
            Self::F16 => {
                let halves = row.as_chunks::<2>().0.iter();
                let halves: Vec<f16> = halves.map(|half| f16::from_le_bytes(*half)).collect();
                halves.to_f32_vec()
            }
            Self::BF16 => row
                .as_chunks::<2>()
                .0
                .iter()
                .map(|half| bf16::from_le_bytes(*half).to_f32())
                .collect(),
            Self::Q2_K => row.chunks_exact(84).flat_map(k_quants::q2_k).collect(),
            _ => unreachable!("{self:?} is held as it is"),
        }
    }
}

fn f16_at(bytes: &[u8], at: usize) -> f16 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn half_at(bytes: &[u8], at: usize) -> f32 {
    f16_at(bytes, at).to_f32()
}

/// 32 weights of IQ4_NL or IQ4_XS.
fn table4(scale: f32, bytes: &[u8]) -> Block {
    Block {
        scale,
        min: -128.0 * scale,
        codes: nibbles(bytes).map(|code| TABLE4[usize::from(code)]),
    }
}

/// `d: f16; highs: u16; lows: [4]; codes: [128]`: the scale of each 32 weights has four bits in a nibble of
/// `lows` and two in `highs`, less 32.
fn iq4_xs(block: &[u8]) -> impl Iterator<Item = Block> + '_ {
    let highs = u16::from_le_bytes([block[2], block[3]]);
    (0..8).map(move |j| {
        let low = (block[4 + j / 2] >> (4 * (j % 2))) & 15;
        let high = (highs >> (2 * j)) as u8 & 3;
        let scale = f32::from(low | (high << 4)) - 32.0;
        table4(half_at(block, 0) * scale, &block[8 + 16 * j..][..16])
    })
}

/// 16 bytes: the low nibbles are inputs 0 to 15, the high ones 16 to 31.
fn nibbles(bytes: &[u8]) -> [u8; BLOCK_INPUTS] {
    std::array::from_fn(|i| {
        if i < 16 {
            bytes[i] & 15
        } else {
            bytes[i - 16] >> 4
        }
    })
}

/// As [`nibbles`], with the fifth bits in 32 bits beside.
fn fives(bytes: &[u8], highs: &[u8]) -> [u8; BLOCK_INPUTS] {
    let highs = u32::from_le_bytes([highs[0], highs[1], highs[2], highs[3]]);
    let mut codes = nibbles(bytes);
    for (i, code) in codes.iter_mut().enumerate() {
        *code |= ((highs >> i) as u8 & 1) << 4;
    }
    codes
}
