//! The pool of KV-cache blocks, and what idle ones still remember. Integers only; the tensors behind them are the
//! model's.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::prefix::Chain;
use crate::model::BLOCK_TOKENS;

/// The blocks of one model's cache. A block is *held* by the tables of one or more sequences, *idle* when nobody
/// holds it but its contents have a name, or *free*.
#[derive(Debug)]
pub(crate) struct BlockPool {
    /// Tables that hold each block.
    holders: Vec<u32>,
    /// What the blocks with names begin.
    names: Vec<Option<Chain>>,
    known: HashMap<Chain, u32>,
    /// The lowest is given out first, so that a model which grows its cache lazily stays small under light load.
    free: BTreeSet<u32>,
    /// By the time of their release: the first is forgotten first.
    idle: BTreeMap<u64, u32>,
    released_at: Vec<u64>,
    releases: u64,
}

impl BlockPool {
    pub(crate) fn new(total: usize) -> Self {
        Self {
            holders: vec![0; total],
            names: vec![None; total],
            known: HashMap::new(),
            free: (0..total as u32).collect(),
            idle: BTreeMap::new(),
            released_at: vec![0; total],
            releases: 0,
        }
    }

    /// Blocks that hold `tokens` positions.
    pub(crate) fn needed(tokens: usize) -> usize {
        tokens.div_ceil(BLOCK_TOKENS)
    }

    pub(crate) fn total(&self) -> usize {
        self.holders.len()
    }

    /// Blocks that nobody holds.
    pub(crate) fn available(&self) -> usize {
        self.free.len() + self.idle.len()
    }

    /// Tables that hold a block.
    pub(crate) fn holders(&self, block: u32) -> u32 {
        self.holders[block as usize]
    }

    /// `count` blocks to write to, or none at all. Free ones first, then those that were idle longest.
    pub(crate) fn take(&mut self, count: usize) -> Option<Vec<u32>> {
        if count > self.available() {
            return None;
        }
        Some((0..count).filter_map(|_| self.take_one()).collect())
    }

    fn take_one(&mut self) -> Option<u32> {
        let block = self.free.pop_first().or_else(|| {
            let (_, block) = self.idle.pop_first()?;
            if let Some(name) = self.names[block as usize].take() {
                self.known.remove(&name);
            }
            Some(block)
        })?;
        self.holders[block as usize] = 1;
        Some(block)
    }

    /// The blocks of the longest known beginning.
    pub(crate) fn find(&self, names: &[Chain]) -> Vec<u32> {
        let found = names.iter().map_while(|name| self.known.get(name));
        found.copied().collect()
    }

    /// How many of these nobody holds.
    pub(crate) fn idle_among(&self, blocks: &[u32]) -> usize {
        let idle = blocks.iter().filter(|&&block| self.holders(block) == 0);
        idle.count()
    }

    /// One more table holds these, which [`BlockPool::find`] found.
    pub(crate) fn share(&mut self, blocks: &[u32]) {
        for &block in blocks {
            let holders = &mut self.holders[block as usize];
            if *holders == 0 {
                self.idle.remove(&self.released_at[block as usize]);
            }
            *holders += 1;
        }
    }

    /// Names the contents of a held block, which are computed and never change again. Where another block has the same
    /// contents, that one keeps the name.
    pub(crate) fn remember(&mut self, block: u32, name: Chain) {
        let place = &mut self.names[block as usize];
        if place.is_none() && !self.known.contains_key(&name) {
            *place = Some(name);
            self.known.insert(name, block);
        }
    }

    /// One table fewer holds these, in the order of their sequence: its end is forgotten before its beginning.
    pub(crate) fn give_back(&mut self, blocks: &[u32]) {
        for &block in blocks.iter().rev() {
            let holders = &mut self.holders[block as usize];
            assert!(*holders > 0, "a KV block was given back twice");
            *holders -= 1;
            if *holders > 0 {
                continue;
            }
            if self.names[block as usize].is_some() {
                self.releases += 1;
                self.released_at[block as usize] = self.releases;
                self.idle.insert(self.releases, block);
            } else {
                self.free.insert(block);
            }
        }
    }
}
