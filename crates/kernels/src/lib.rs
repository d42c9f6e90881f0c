//! Fast CPU arithmetic for the shapes of language models.
//!
//! [`PackedLinear`] holds a weight matrix in tiles of 16 outputs by 32 inputs, with the bits per
//! weight of the file it came from; [`Activations`] holds rows of inputs as 8-bit integers with one
//! scale for 32 of them. Their product runs on the widest integer dot product that the processor
//! has, chosen at run time, with the same integers and the same order of additions on each.
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
mod pool;
mod rotation;
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

/// Inputs that share a scale, and the depth of a tile.
pub const BLOCK_INPUTS: usize = 32;
/// Outputs of a tile.
pub const TILE_OUTPUTS: usize = 16;
