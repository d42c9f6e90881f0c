//! The catalogue: the cards and the sets of weights of the built-in file and of a user's own.

use crate::card::ModelCard;
use crate::place::{CatalogError, Place};
use crate::weights::WeightSet;
use crate::written;

/// The file that is built into the program, and its name in messages.
const BUILTIN: &str = include_str!("../../../models.toml");
const BUILTIN_ORIGIN: &str = "models.toml";

/// Every model name and every set of weights that its files list.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Catalog {
    cards: Vec<ModelCard>,
    sets: Vec<WeightSet>,
    /// Another name, and the name of a card.
    aliases: Vec<(String, String)>,
}

impl Catalog {
    /// The catalogue that is built into the program.
    pub fn builtin() -> Result<Self, CatalogError> {
        Self::parse(BUILTIN, BUILTIN_ORIGIN)
    }

    /// Reads the text of a catalogue file; `origin` names the file in messages, and a relative `path` of weights
    /// starts at its folder. The first thing that is wrong is told with its line and key, and nothing of the file is
    /// used.
    pub fn parse(text: &str, origin: &str) -> Result<Self, CatalogError> {
        let added = written::read(Place { origin, text })?;
        Ok(Self {
            cards: added.cards,
            sets: added.sets,
            aliases: added.aliases,
        })
    }

    /// Adds a user's file of the same form: own models, own weights, aliases, and `variants` of a known name, which
    /// take the place of those it had. Nothing else of a known name can be changed.
    ///
    /// The file may be a configuration too: keys outside tables are left to whoever reads that, but every table must
    /// be one of a catalogue.
    pub fn extend(mut self, text: &str, origin: &str) -> Result<Self, CatalogError> {
        let added = written::read_addition(Place { origin, text }, &self)?;
        for (name, variants) in added.replaced {
            // The name may be an alias; the card behind it is meant.
            let name = self.resolve(&name).to_owned();
            if let Some(card) = self.cards.iter_mut().find(|card| card.name == name) {
                card.variants = variants;
            }
        }
        self.cards.extend(added.cards);
        self.sets.extend(added.sets);
        self.aliases.extend(added.aliases);
        Ok(self)
    }

    /// The card of a model name or alias, letter for letter.
    pub fn card(&self, name: &str) -> Option<&ModelCard> {
        let name = self.resolve(name);
        self.cards.iter().find(|card| card.name == name)
    }

    /// All cards, in the order of the files.
    pub fn cards(&self) -> impl Iterator<Item = &ModelCard> {
        self.cards.iter()
    }

    /// Other names of models: (alias, model name), in the order of the files.
    pub fn aliases(&self) -> impl Iterator<Item = (&str, &str)> {
        let names = self.aliases.iter();
        names.map(|(alias, model)| (alias.as_str(), model.as_str()))
    }

    /// The set of weights called `name`.
    pub fn weights(&self, name: &str) -> Option<&WeightSet> {
        self.sets.iter().find(|set| set.name == name)
    }

    /// All sets of weights, in the order of the files.
    pub fn weight_sets(&self) -> impl Iterator<Item = &WeightSet> {
        self.sets.iter()
    }

    /// Whether a card has this name; an alias has none.
    pub(crate) fn is_model(&self, name: &str) -> bool {
        self.cards.iter().any(|card| card.name == name)
    }

    fn resolve<'a>(&'a self, name: &'a str) -> &'a str {
        let known = self.aliases.iter().find(|(alias, _)| alias == name);
        known.map_or(name, |(_, model)| model)
    }
}
