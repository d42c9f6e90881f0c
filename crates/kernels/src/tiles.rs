//! Where the tiles of a packed matrix lie: in memory of their own, or in bytes that somebody lends, as those of a
//! mapped file.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, Range};
use std::sync::Arc;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::pages::Pages;
use crate::tile::{Eight, FiveMin, Four, FourMin};
use crate::{BLOCK_INPUTS, Format, TILE_OUTPUTS};

/// Changes whenever the same tensor would be packed to other bytes: packed weights of another version are packed anew.
pub const PACKING_VERSION: u32 = 1;

/// Where packed weights may begin within lent bytes, and these in memory: at multiples of so many bytes.
pub const PACKED_ALIGNMENT: usize = 64;

/// Bytes that somebody keeps for as long as they are shared.
pub type SharedBytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// How a tile lays out its weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Packing {
    /// 4-bit codes, each 32 with a scale and a least value: Q4_1, Q4_K.
    FourMin = 1,
    /// 4-bit codes with a scale: Q4_0.
    Four = 2,
    /// 5-bit codes with a scale and a least value: Q5_0, Q5_1, Q5_K, MXFP4.
    FiveMin = 3,
    /// 8-bit codes with a scale: everything else.
    Eight = 4,
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
            Self::Q4_1 | Self::Q4_K => Packing::FourMin,
            Self::Q5_0 | Self::Q5_1 | Self::Q5_K | Self::MXFP4 => Packing::FiveMin,
            Self::Q8_0
            | Self::IQ4_NL
            | Self::IQ4_XS
            | Self::F32
            | Self::F16
            | Self::BF16
            | Self::Q2_K
            | Self::Q3_K
            | Self::Q6_K => Packing::Eight,
        }
    }
}

impl Packing {
    /// Bytes of a packed matrix; `None` where that is more than there can be.
    pub fn bytes(self, outputs: usize, inputs: usize) -> Option<usize> {
        let tile = match self {
            Self::FourMin => size_of::<FourMin>(),
            Self::Four => size_of::<Four>(),
            Self::FiveMin => size_of::<FiveMin>(),
            Self::Eight => size_of::<Eight>(),
        };
        let tiles = outputs
            .div_ceil(TILE_OUTPUTS)
            .checked_mul(inputs.div_ceil(BLOCK_INPUTS))?;
        tiles.checked_mul(tile)
    }
}

/// Tiles of one packing. All bytes are tiles: nothing is read that could be wrong in itself.
pub(crate) trait Plain: FromBytes + IntoBytes + Immutable + KnownLayout {}

impl<T: FromBytes + IntoBytes + Immutable + KnownLayout> Plain for T {}

/// `[outputs / 16][inputs / 32]`.
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
        let Some(&first) = tiles.first() else {
            return self;
        };
        let mut pages = Pages::new(tiles.len(), first);
        pages.copy_from_slice(tiles);
        Self::Owned(pages)
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
