//! The KV cache: keys and values in blocks, found through block tables that the engine keeps.

use candle_core::{DType, Device, Result, Tensor};
use engine::model::BLOCK_TOKENS;

/// Blocks that are allocated at once. A short chat needs one piece, a full cache needs many.
const PIECE_BLOCKS: usize = 64;

/// Rows of one layer's keys or values, `[blocks * BLOCK_TOKENS, width]`, in pieces that are made
/// when a block in them is first written.
#[derive(Debug)]
pub(crate) struct Pool {
    pieces: Vec<Option<Tensor>>,
    blocks: usize,
    width: usize,
    dtype: DType,
    device: Device,
}

/// Rows that lie side by side in one piece.
struct Run {
    piece: usize,
    /// First row within the piece.
    row: usize,
    rows: usize,
}

impl Pool {
    pub(crate) fn new(blocks: usize, width: usize, dtype: DType, device: &Device) -> Self {
        let pieces = vec![None; blocks.div_ceil(PIECE_BLOCKS)];
        Self {
            pieces,
            blocks,
            width,
            dtype,
            device: device.clone(),
        }
    }

    /// Writes `rows`, `[count, width]`, as the positions from `start` of the sequence whose blocks
    /// these are.
    pub(crate) fn write(&mut self, rows: &Tensor, start: usize, blocks: &[u32]) -> Result<()> {
        let mut at = 0;
        for run in self.runs(start, rows.dim(0)?, blocks)? {
            let piece = self.piece(run.piece)?;
            piece.slice_set(&rows.narrow(0, at, run.rows)?, 0, run.row)?;
            at += run.rows;
        }
        Ok(())
    }

    /// So many positions of a sequence from `start`, `[count, width]`. Not copied where its blocks lie
    /// side by side.
    pub(crate) fn read(&mut self, start: usize, count: usize, blocks: &[u32]) -> Result<Tensor> {
        let runs = self.runs(start, count, blocks)?;
        let parts = runs
            .into_iter()
            .map(|run| self.piece(run.piece)?.narrow(0, run.row, run.rows))
            .collect::<Result<Vec<_>>>()?;
        match parts.as_slice() {
            [part] => Ok(part.clone()),
            _ => Tensor::cat(&parts, 0),
        }
    }

    fn piece(&mut self, piece: usize) -> Result<Tensor> {
        if let Some(tensor) = &self.pieces[piece] {
            return Ok(tensor.clone());
        }
        let blocks = PIECE_BLOCKS.min(self.blocks - piece * PIECE_BLOCKS);
        let tensor = Tensor::zeros(
            (blocks * BLOCK_TOKENS, self.width),
            self.dtype,
            &self.device,
        )?;
        self.pieces[piece] = Some(tensor.clone());
        Ok(tensor)
    }

    fn runs(&self, start: usize, count: usize, blocks: &[u32]) -> Result<Vec<Run>> {
        let mut runs: Vec<Run> = Vec::new();
        let (mut at, end) = (start, start + count);
        while at < end {
            let block = blocks.get(at / BLOCK_TOKENS).map(|&block| block as usize);
            let Some(block) = block.filter(|&block| block < self.blocks) else {
                candle_core::bail!("no block of the cache for position {at}");
            };
            let offset = at % BLOCK_TOKENS;
            let rows = (BLOCK_TOKENS - offset).min(end - at);
            let (piece, row) = (
                block / PIECE_BLOCKS,
                block % PIECE_BLOCKS * BLOCK_TOKENS + offset,
            );
            match runs.last_mut() {
                Some(last) if last.piece == piece && last.row + last.rows == row => {
                    last.rows += rows;
                }
                _ => runs.push(Run { piece, row, rows }),
            }
            at += rows;
        }
        Ok(runs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_through_any_block_table() {
        let mut pool = Pool::new(PIECE_BLOCKS + 8, 3, DType::F32, &Device::Cpu);
        let count = 3 * BLOCK_TOKENS + 5;
        let rows = Tensor::arange(0f32, (count * 3) as f32, &Device::Cpu)
            .and_then(|t| t.reshape((count, 3)));
        let rows = rows.expect("rows");
        for blocks in [[0u32, 1, 2, 3], [9, 4, 5, 2], [63, 64, 1, 71]] {
            // Written in chunks that do not respect blocks.
            for (start, end) in [(0, 7), (7, 8), (8, 70), (70, count)] {
                let chunk = rows.narrow(0, start, end - start).expect("a chunk");
                pool.write(&chunk, start, &blocks).expect("written");
            }
            let back = pool.read(0, count, &blocks).expect("read");
            assert_eq!(
                back.to_vec2::<f32>().expect("numbers"),
                rows.to_vec2::<f32>().expect("numbers")
            );
        }
        let part = pool.read(40, 7, &[63, 64, 1, 71]).expect("read");
        let expected = rows.narrow(0, 40, 7).expect("a part");
        assert_eq!(
            part.to_vec2::<f32>().expect("numbers"),
            expected.to_vec2::<f32>().expect("numbers")
        );
        assert!(pool.read(0, 1, &[1000]).is_err());
        assert!(pool.write(&rows, 0, &[0]).is_err());
    }
}
