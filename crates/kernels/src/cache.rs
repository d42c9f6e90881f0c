//! Keys and values of one layer in blocks, in half precision, found through block tables.

use half::f16;

use crate::lanes::{LANES, to_half};

/// Positions of a block of the cache.
pub const CACHE_BLOCK_POSITIONS: usize = 32;

/// Blocks that are allocated at once. A short chat needs one piece, a full cache needs many.
const PIECE_BLOCKS: usize = 64;

/// Numbers that are converted at once.
const CONVERTED_TOGETHER: usize = 64;

/// Keys and values of one layer. A block is for each head its keys `[size, 32]`, positions side by
/// side, and its values `[32, padded size]`. Memory is taken when a block is first written.
#[derive(Debug)]
pub struct PagedCache {
    heads: usize,
    size: usize,
    blocks: usize,
    /// Bits of [`f16`].
    pieces: Vec<Option<Box<[u16]>>>,
}

/// A block table names a block that the cache does not have, or none for a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the block table has no block for position {position}")]
pub struct NoBlock {
    /// The position.
    pub position: usize,
}

impl PagedCache {
    /// A cache of so many blocks for key heads of this size.
    ///
    /// # Panics
    /// Without heads or size.
    pub fn new(blocks: usize, heads: usize, size: usize) -> Self {
        assert!(heads > 0 && size > 0);
        Self {
            heads,
            size,
            blocks,
            pieces: (0..blocks.div_ceil(PIECE_BLOCKS)).map(|_| None).collect(),
        }
    }

    /// Key heads.
    pub fn heads(&self) -> usize {
        self.heads
    }

    /// Floats of a head.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Bytes of a block.
    pub fn block_bytes(heads: usize, size: usize) -> usize {
        size_of::<f16>() * heads * CACHE_BLOCK_POSITIONS * (size + size.next_multiple_of(LANES))
    }

    fn block_items(&self) -> usize {
        Self::block_bytes(self.heads, self.size) / size_of::<f16>()
    }

    /// Floats of a head's values, padded.
    pub(crate) fn padded(&self) -> usize {
        self.size.next_multiple_of(LANES)
    }

    fn key_items(&self) -> usize {
        self.size * CACHE_BLOCK_POSITIONS
    }

    fn head_items(&self) -> usize {
        self.key_items() + self.padded() * CACHE_BLOCK_POSITIONS
    }

    /// Writes `keys` and `values`, `[rows, heads * size]` each, as the positions from `start` of the
    /// sequence whose blocks these are.
    ///
    /// # Errors
    /// [`NoBlock`]; then some rows may have been written.
    ///
    /// # Panics
    /// When `keys` and `values` are not of one size, or not whole rows.
    pub fn write(
        &mut self,
        keys: &[f32],
        values: &[f32],
        start: usize,
        blocks: &[u32],
    ) -> Result<(), NoBlock> {
        let width = self.heads * self.size;
        assert!(keys.len() == values.len() && keys.len().is_multiple_of(width));
        let (size, padded) = (self.size, self.padded());
        let (key_items, head_items) = (self.key_items(), self.head_items());
        // Converted in parts, on the stack: a step of a running model allocates nothing.
        let mut half = [0; CONVERTED_TOGETHER];
        let rows = keys.chunks_exact(width).zip(values.chunks_exact(width));
        for (row, (keys, values)) in rows.enumerate() {
            let position = start + row;
            let at = position % CACHE_BLOCK_POSITIONS;
            let block = self.block_mut(position, blocks)?;
            let heads = keys.chunks_exact(size).zip(values.chunks_exact(size));
            for ((keys, values), block) in heads.zip(block.chunks_exact_mut(head_items)) {
                let (key_block, value_block) = block.split_at_mut(key_items);
                let lines = key_block.chunks_mut(CONVERTED_TOGETHER * CACHE_BLOCK_POSITIONS);
                for (keys, lines) in keys.chunks(CONVERTED_TOGETHER).zip(lines) {
                    let half = &mut half[..keys.len()];
                    to_half(keys, half);
                    let lines = lines.chunks_exact_mut(CACHE_BLOCK_POSITIONS);
                    for (line, key) in lines.zip(half) {
                        line[at] = *key;
                    }
                }
                to_half(values, &mut value_block[at * padded..][..size]);
            }
        }
        Ok(())
    }

    /// Makes a block a copy of another.
    ///
    /// # Errors
    /// [`NoBlock`] for one that the cache does not have, or that was never written.
    pub fn copy(&mut self, from: u32, to: u32) -> Result<(), NoBlock> {
        let items = self.block_items();
        let (from, _) = (self.find(0, &[from])?, self.find(0, &[to])?);
        let source = self.pieces[from / PIECE_BLOCKS].as_deref();
        let source = source.ok_or(NoBlock { position: 0 })?;
        let copy = source[from % PIECE_BLOCKS * items..][..items].to_vec();
        self.block_mut(0, &[to])?.copy_from_slice(&copy);
        Ok(())
    }

    fn block_mut(&mut self, position: usize, blocks: &[u32]) -> Result<&mut [u16], NoBlock> {
        let block = self.find(position, blocks)?;
        let items = self.block_items();
        let piece = self.pieces[block / PIECE_BLOCKS].get_or_insert_with(|| {
            let first = block / PIECE_BLOCKS * PIECE_BLOCKS;
            vec![0; PIECE_BLOCKS.min(self.blocks - first) * items].into_boxed_slice()
        });
        Ok(&mut piece[block % PIECE_BLOCKS * items..][..items])
    }

    fn find(&self, position: usize, blocks: &[u32]) -> Result<usize, NoBlock> {
        let block = blocks.get(position / CACHE_BLOCK_POSITIONS);
        let block = block.map(|&block| block as usize);
        block
            .filter(|&block| block < self.blocks)
            .ok_or(NoBlock { position })
    }

    /// Keys `[size, 32]` and values `[32, padded]` of a head in the block of `position`.
    pub(crate) fn head(
        &self,
        head: usize,
        position: usize,
        blocks: &[u32],
    ) -> Result<(&[u16], &[u16]), NoBlock> {
        let block = self.find(position, blocks)?;
        let piece = self.pieces[block / PIECE_BLOCKS].as_deref();
        let piece = piece.ok_or(NoBlock { position })?; // never written
        let first = block % PIECE_BLOCKS * self.block_items() + head * self.head_items();
        let head = &piece[first..first + self.head_items()];
        Ok(head.split_at(self.key_items()))
    }
}
