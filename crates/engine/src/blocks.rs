//! The pool of KV-cache blocks: integers only; the tensors behind them are the model's.

use crate::model::BLOCK_TOKENS;

/// Free blocks of one model's cache. Low numbers are given out first, so that a model which grows
/// its cache lazily stays small under light load.
#[derive(Debug, Clone)]
pub(crate) struct BlockPool {
    /// Sorted descending: the lowest number is last.
    free: Vec<u32>,
    total: usize,
}

impl BlockPool {
    pub(crate) fn new(total: usize) -> Self {
        Self {
            free: (0..total as u32).rev().collect(),
            total,
        }
    }

    /// Blocks that hold `tokens` positions.
    pub(crate) fn needed(tokens: usize) -> usize {
        tokens.div_ceil(BLOCK_TOKENS)
    }

    pub(crate) fn total(&self) -> usize {
        self.total
    }

    pub(crate) fn available(&self) -> usize {
        self.free.len()
    }

    /// `count` blocks, or none at all.
    pub(crate) fn take(&mut self, count: usize) -> Option<Vec<u32>> {
        let rest = self.free.len().checked_sub(count)?;
        let mut taken = self.free.split_off(rest);
        taken.reverse();
        Some(taken)
    }

    pub(crate) fn give_back(&mut self, blocks: Vec<u32>) {
        self.free.extend(blocks);
        self.free.sort_unstable_by(|a, b| b.cmp(a));
        assert!(
            self.free.len() <= self.total && self.free.windows(2).all(|pair| pair[0] > pair[1]),
            "a KV block was given back twice"
        );
    }
}
