//! Names for the beginnings of sequences: a hash for each full block, chained to the block before it.

use std::hash::{BuildHasher, Hash, RandomState};

use crate::model::BLOCK_TOKENS;

/// Names all tokens from the start of a sequence to the end of a block, and whose they are: 128 bits under keys that
/// are drawn for each schedule, so that nobody can make two beginnings of one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Chain([u64; 2]);

/// The keys of one schedule. A schedule lives and dies with one load of a model, so that its keys stand for the
/// model's generation.
#[derive(Debug)]
pub(crate) struct Naming([RandomState; 2]);

impl Naming {
    pub(crate) fn new() -> Self {
        Self([RandomState::new(), RandomState::new()])
    }

    fn name(&self, what: impl Hash) -> Chain {
        Chain([self.0[0].hash_one(&what), self.0[1].hash_one(&what)])
    }

    /// The name of no tokens at all.
    pub(crate) fn root(&self, tenant: u64, adapter: u64) -> Chain {
        self.name((tenant, adapter))
    }

    /// The name of a beginning that is one block longer.
    pub(crate) fn next(&self, before: Chain, block: &[u32]) -> Chain {
        self.name((before, block))
    }

    /// Extends the names of a sequence's full blocks to the tokens that are known.
    pub(crate) fn extend(&self, root: Chain, names: &mut Vec<Chain>, tokens: &[u32]) {
        for block in tokens.chunks_exact(BLOCK_TOKENS).skip(names.len()) {
            let before = names.last().copied().unwrap_or(root);
            names.push(self.next(before, block));
        }
    }
}
