//! Which two tokens of a byte-pair encoding become one, and which do so first.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

/// Pairs of tokens by rank; the lowest is merged first.
#[derive(Debug, Clone)]
pub(super) struct Merges {
    /// By rank.
    list: Vec<Merge>,
    /// By their pairs; of a pair that is there twice the last.
    ranks: HashTable<u32>,
    hasher: RandomState,
}

/// Two tokens, and the one that they make.
#[derive(Debug, Clone, Copy)]
pub(super) struct Merge {
    pub(super) pair: [u32; 2],
    pub(super) made: u32,
}

impl Merges {
    /// Merges, the first of them first.
    pub(super) fn new(list: Vec<Merge>) -> Self {
        let hasher = RandomState::new();
        let mut ranks = HashTable::with_capacity(list.len());
        for (rank, merge) in (0..).zip(&list) {
            let of = |rank: u32| list[rank as usize].pair;
            let entry = ranks.entry(
                hasher.hash_one(merge.pair),
                |&rank| of(rank) == merge.pair,
                |&rank| hasher.hash_one(of(rank)),
            );
            match entry {
                Entry::Occupied(mut there) => *there.get_mut() = rank,
                Entry::Vacant(free) => {
                    free.insert(rank);
                }
            }
        }
        Self {
            list,
            ranks,
            hasher,
        }
    }

    /// The rank of a pair, and what it makes.
    pub(super) fn of(&self, pair: [u32; 2]) -> Option<(u32, u32)> {
        let hash = self.hasher.hash_one(pair);
        let at = |rank: u32| &self.list[rank as usize];
        let rank = *self.ranks.find(hash, |&rank| at(rank).pair == pair)?;
        Some((rank, at(rank).made))
    }
}
