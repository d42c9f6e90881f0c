//! Where the tiles of a packed matrix lie: in memory of their own, or in bytes that somebody lends, as those of a
//! mapped file.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, Range};
use std::sync::Arc;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::pages::Pages;
use crate::tile::{Eight, FiveK, FiveMin, Four, FourK, FourMin, SixK, Tile};
use crate::{BLOCK_INPUTS, Format, TILE_OUTPUTS};

/// Changes whenever the same tensor would be packed to other bytes: packed weights of another version are packed anew.
pub const PACKING_VERSION: u32 = 2;

/// Where packed weights may begin within lent bytes, and these in memory: at multiples of so many bytes.
pub const PACKED_ALIGNMENT: usize = 64;

/// Bytes that somebody keeps for as long as they are shared.
pub type SharedBytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// How a tile lays out its weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Packing {
    /// 4-bit codes, each 32 with a scale and a least value: Q4_1.
    FourMin = 1,
    /// 4-bit codes with a scale: Q4_0.
    Four = 2,
    /// 5-bit codes with a scale and a least value: Q5_0, Q5_1, MXFP4.
    FiveMin = 3,
    /// 8-bit codes with a scale: everything else.
    Eight = 4,
    /// 4-bit codes, each 32 with an integer for a scale and one for a least value, of 256: Q4_K.
    FourK = 5,
    /// The same with 5-bit codes: Q5_K.
    FiveK = 6,
    /// 6-bit codes, each 16 with an integer for a scale, of 256: Q3_K, Q6_K.
    SixK = 7,
}

/// Lent bytes are no packed weights of this shape: too few, too many, or they do not begin at a multiple of 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{given} lent bytes are not {outputs} x {inputs} weights packed as {packing:?}")]
pub struct LentError {
    /// How they would be packed.
    pub packing: Packing,
    /// Outputs of the layer.
    pub outputs: usize,
    /// Inputs of the layer.
    pub inputs: usize,
    /// How many bytes were given.
    pub given: usize,
}

impl Format {
    /// How a matrix of this format is packed.
    pub fn packing(self) -> Packing {
        match self {
            Self::Q4_0 => Packing::Four,
            Self::Q4_1 => Packing::FourMin,
            Self::Q5_0 | Self::Q5_1 | Self::MXFP4 => Packing::FiveMin,
            Self::Q8_0
            | Self::IQ4_NL
            | Self::IQ4_XS
            | Self::F32
            | Self::F16
            | Self::BF16
            | Self::Q2_K => Packing::Eight,
            Self::Q4_K => Packing::FourK,
            Self::Q5_K => Packing::FiveK,
            Self::Q3_K | Self::Q6_K => Packing::SixK,
        }
    }
}

impl Packing {
    /// Bytes of a packed matrix; `None` where that is more than there can be, or where the inputs are no multiple of
    /// the 256 that K formats have together.
    pub fn bytes(self, outputs: usize, inputs: usize) -> Option<usize> {
        match self {
            Self::FourMin => bytes::<FourMin>(outputs, inputs),
            Self::Four => bytes::<Four>(outputs, inputs),
            Self::FiveMin => bytes::<FiveMin>(outputs, inputs),
            Self::Eight => bytes::<Eight>(outputs, inputs),
            Self::FourK => bytes::<FourK>(outputs, inputs),
            Self::FiveK => bytes::<FiveK>(outputs, inputs),
            Self::SixK => bytes::<SixK>(outputs, inputs),
        }
    }
}

fn bytes<T: Tile>(outputs: usize, inputs: usize) -> Option<usize> {
    let blocks = inputs.div_ceil(BLOCK_INPUTS);
    let across = blocks
        .is_multiple_of(T::BLOCKS)
        .then_some(blocks / T::BLOCKS)?;
    let tiles = outputs.div_ceil(TILE_OUTPUTS).checked_mul(across)?;
    tiles.checked_mul(size_of::<T>())
}

/// Tiles of one packing. All bytes are tiles: nothing is read that could be wrong in itself.
pub(crate) trait Plain: FromBytes + IntoBytes + Immutable + KnownLayout {}

impl<T: FromBytes + IntoBytes + Immutable + KnownLayout> Plain for T {}

/// `[outputs / 16][inputs of a tile]`.
pub(crate) enum Tiles<T> {
    Owned(Pages<T>),
    Lent {
        bytes: SharedBytes,
        range: Range<usize>,
        of: PhantomData<T>,
    },
}

impl<T: Plain + Copy> Tiles<T> {
    /// The same tiles in memory of their own.
    pub(crate) fn owned(self) -> Self {
        let tiles = &*self;
        if tiles.is_empty() {
            return self;
        }
        Self::Owned(Pages::copied(tiles))
    }
}

impl<T: Plain> Tiles<T> {
    /// `None`: the range is not within the bytes, holds no whole number of tiles, or does not lie as they have to.
    pub(crate) fn lent(bytes: SharedBytes, range: Range<usize>) -> Option<Self> {
        let found = (*bytes).as_ref().get(range.clone())?;
        <[T]>::ref_from_bytes(found).ok()?;
        let of = PhantomData;
        Some(Self::Lent { bytes, range, of })
    }
}

impl<T: Plain> Deref for Tiles<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::Owned(tiles) => tiles,
            // They were looked at when they were lent.
            Self::Lent { bytes, range, .. } => (**bytes)
                .as_ref()
                .get(range.clone())
                .and_then(|found| <[T]>::ref_from_bytes(found).ok())
                .unwrap_or_default(),
        }
    }
}

impl<T> fmt::Debug for Tiles<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Owned(tiles) => write!(f, "{} tiles", tiles.len()),
            Self::Lent { range, .. } => write!(f, "tiles in the lent bytes {range:?}"),
        }
    }
}
