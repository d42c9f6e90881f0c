//! The words of a vocabulary by id, and their ids by word.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

/// Words with the ids from 0, one behind another in one text.
#[derive(Debug, Clone)]
pub(super) struct Words {
    text: String,
    /// Where each word ends in `text`.
    ends: Vec<u32>,
    /// By their words; of a word that is there twice the last.
    ids: HashTable<u32>,
    hasher: RandomState,
}

impl Words {
    /// Words in the order of their ids; `None`: their text is longer than 4 GiB.
    pub(super) fn new<'a>(words: impl ExactSizeIterator<Item = &'a str> + Clone) -> Option<Self> {
        let hasher = RandomState::new();
        let bytes: usize = words.clone().map(str::len).sum();
        u32::try_from(bytes).ok()?;
        let mut text = String::with_capacity(bytes);
        let mut ends = Vec::with_capacity(words.len());
        let mut ids = HashTable::with_capacity(words.len());
        for (id, word) in (0..).zip(words) {
            text.push_str(word);
            ends.push(text.len() as u32);
            let of = |id: u32| part(&text, &ends, id).unwrap_or_default();
            let entry = ids.entry(
                hasher.hash_one(word),
                |&id| of(id) == word,
                |&id| hasher.hash_one(of(id)),
            );
            match entry {
                Entry::Occupied(mut there) => *there.get_mut() = id,
                Entry::Vacant(free) => {
                    free.insert(id);
                }
            }
        }
        Some(Self {
            text,
            ends,
            ids,
            hasher,
        })
    }

    /// The word of an id.
    pub(super) fn word(&self, id: u32) -> Option<&str> {
        part(&self.text, &self.ends, id)
    }

    /// The id of a word.
    pub(super) fn id(&self, word: &str) -> Option<u32> {
        let found = self.ids.find(self.hasher.hash_one(word), |&id| {
            self.word(id) == Some(word)
        });
        found.copied()
    }

    /// How many ids there are.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// How many words there are, each counted once.
    pub(super) fn distinct(&self) -> usize {
        self.ids.len()
    }
}

fn part<'a>(text: &'a str, ends: &[u32], id: u32) -> Option<&'a str> {
    let id = id as usize;
    let end = *ends.get(id)?;
    let start = id.checked_sub(1).map_or(0, |before| ends[before]);
    text.get(start as usize..end as usize)
}
