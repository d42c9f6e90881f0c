//! Fast CPU arithmetic for the shapes of language models.
//!
//! [`PackedLinear`] holds a weight matrix in tiles of 16 outputs by 32 inputs, or by the 256 of a K format, with
//! about the bits per weight of the file it came from; [`Activations`] holds rows of inputs as 8-bit integers with a
//! step for a row or for 32 of its inputs. Their product runs on the widest integer dot product that the processor
//! has, chosen at run time, with the same integers and the same order of additions on each; only AMX multiplies bfloat16
//! instead, where one byte an input is asked for.
#![warn(missing_docs)]

mod activations;
mod attention;
mod backend;
mod blocks;
mod cache;
mod convolution;
mod crossed;
mod float_linear;
mod ggml;
mod group_norm;
mod lanes;
mod linear;
#[cfg(any(target_arch = "aarch64", test))]
mod neon;
mod pages;
mod pool;
mod rotation;
mod rounded_attention;
mod rows;
mod sublayer;
mod text_attention;
mod tile;
mod tiles;

pub use activations::{Activations, Precision};
pub use attention::{Attention, Queries};
pub use backend::Backend;
pub use cache::{CACHE_BLOCK_POSITIONS, NoBlock, PagedCache};
pub use convolution::{Convolution, Picture, Window};
pub use crossed::{Crossed, Side};
pub use float_linear::FloatLinear;
pub use ggml::{Format, FormatError};
pub use group_norm::GroupNorm;
pub use linear::PackedLinear;
pub use pool::Pool;
pub use rotation::rotate;
pub use rows::{Gate, add, gated, layer_norm, rms_norm};
pub use sublayer::{Balance, LayerNorm, bias_gate};
pub use text_attention::TextAttention;
pub use tiles::{LentError, PACKED_ALIGNMENT, PACKING_VERSION, Packing, SharedBytes};

/// Weights of an output that share a scale, or inputs of a row a step, and the depth of a tile, or of one of a tile's blocks.
pub const BLOCK_INPUTS: usize = 32;
/// Outputs of a tile.
pub const TILE_OUTPUTS: usize = 16;

// The promises of the back ends once more: here the emulated ones are among them.
#[cfg(test)]
extern crate self as kernels;
#[cfg(test)]
#[path = "../tests/attention.rs"]
mod attention_on_all;
#[cfg(test)]
#[path = "../tests/encoder.rs"]
mod encoder_on_all;
#[cfg(test)]
#[path = "../tests/float_linear.rs"]
mod float_linear_on_all;
#[cfg(test)]
#[path = "../tests/formats.rs"]
mod formats_on_all;
#[cfg(test)]
#[path = "../tests/linear.rs"]
mod linear_on_all;
#[cfg(test)]
#[path = "../tests/pictures.rs"]
mod pictures_on_all;
#[cfg(test)]
#[path = "../tests/rows.rs"]
mod rows_on_all;
