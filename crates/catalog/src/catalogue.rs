//! The catalogue: the cards and the sets of weights of one file.

use crate::card::ModelCard;
use crate::place::{CatalogError, Place};
use crate::weights::WeightSet;
use crate::written;

/// The file that is built into the program, and its name in messages.
const BUILTIN: &str = include_str!("../../../models.toml");
const BUILTIN_ORIGIN: &str = "models.toml";

/// Every model name and every set of weights that a file lists.
#[derive(Debug, Clone, PartialEq)]
pub struct Catalog {
    cards: Vec<ModelCard>,
    sets: Vec<WeightSet>,
}

impl Catalog {
    /// The catalogue that is built into the program.
    pub fn builtin() -> Result<Self, CatalogError> {
        Self::parse(BUILTIN, BUILTIN_ORIGIN)
    }

    /// Reads the text of a catalogue file; `origin` names the file in messages. The first thing that is wrong is
    /// told with its line and key, and nothing of the file is used.
    pub fn parse(text: &str, origin: &str) -> Result<Self, CatalogError> {
        let (cards, sets) = written::read(Place { origin, text })?;
        Ok(Self { cards, sets })
    }

    /// The card of a model name, letter for letter.
    pub fn card(&self, name: &str) -> Option<&ModelCard> {
        self.cards.iter().find(|card| card.name == name)
    }

    /// All cards, in the order of the file.
    pub fn cards(&self) -> impl Iterator<Item = &ModelCard> {
        self.cards.iter()
    }

    /// The set of weights called `name`.
    pub fn weights(&self, name: &str) -> Option<&WeightSet> {
        self.sets.iter().find(|set| set.name == name)
    }

    /// All sets of weights, in the order of the file.
    pub fn weight_sets(&self) -> impl Iterator<Item = &WeightSet> {
        self.sets.iter()
    }
}
