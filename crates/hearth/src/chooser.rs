//! Which weights serve a name: the catalogue's pure function, given the facts of this machine and
//! the words of its user.

use std::collections::BTreeMap;

use catalog::{Catalog, Choice, Facts, ModelCard, Refusal, Source, WeightSet};
use tasks::{Failure, Grade};
use weights::Store;

use crate::config::Place;
use crate::{hub_env, loader};

/// What the user said about choosing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wishes {
    /// Only this grade.
    pub(crate) grade: Option<Grade>,
    /// Stubs may answer where no weights can.
    pub(crate) allow_stub: bool,
    /// Only these weights, by model name.
    pub(crate) weights: BTreeMap<String, String>,
    /// The largest download that a request starts by itself, in bytes; `None`: none.
    pub(crate) auto_fetch_bytes: Option<u64>,
}

/// The facts, and the store they are about.
pub(crate) struct Chooser {
    pub(crate) store: Store,
    /// Bytes that models may take together.
    pub(crate) memory_bytes: u64,
    offline: bool,
    /// Whether the hub may be asked at all, and whether it knows who asks.
    hub_offline: bool,
    hub_token: bool,
    wishes: Wishes,
}

impl Chooser {
    pub(crate) fn new(place: &Place) -> Self {
        let hub = hub_env::hub_options();
        Self {
            hub_offline: hub.offline,
            hub_token: hub.token.is_some(),
            store: loader::open_store(place),
            memory_bytes: place.memory_bytes,
            offline: place.offline,
            wishes: place.wishes.clone(),
        }
    }

    /// What serves a card.
    pub(crate) fn choose<'a>(
        &self,
        card: &ModelCard,
        catalog: &'a Catalog,
    ) -> Result<Choice<'a>, Refusal> {
        let auto_fetch_bytes = self.wishes.auto_fetch_bytes.filter(|_| !self.offline);
        self.decide(card, catalog, auto_fetch_bytes, self.wishes.allow_stub)
    }

    /// What would serve a card if every download were allowed: what `pull` fetches.
    pub(crate) fn best<'a>(
        &self,
        card: &ModelCard,
        catalog: &'a Catalog,
    ) -> Result<Choice<'a>, Refusal> {
        self.decide(card, catalog, Some(u64::MAX), false)
    }

    /// Fetches a set that a model asks for while it serves, unless it is there, within the bounds of what a
    /// request may fetch by itself.
    pub(crate) fn fetch(&self, set: &WeightSet) -> Result<(), Failure> {
        let there = self.store.is_complete(set);
        let limit = self.wishes.auto_fetch_bytes.filter(|_| !self.offline);
        let name = &set.name;
        if !there && limit.is_none_or(|limit| set.download_bytes > limit) {
            return Err(Failure::Unavailable(format!(
                "this needs the weights {name}, which are not on disk, and may not be fetched by a request; `hearth pull {name}` fetches them"
            )));
        }
        let fetched = self.store.fetch(set, &*weights::for_terminal());
        fetched
            .map(drop)
            .map_err(|error| Failure::Unavailable(format!("{name}: {error}")))
    }

    /// Why nothing but a stub serves a card; `None` where one was asked for, or weights do.
    pub(crate) fn why_a_stub(&self, card: &ModelCard, catalog: &Catalog) -> Option<Refusal> {
        if self.wishes.grade == Some(Grade::Stub) {
            return None;
        }
        let limit = self.wishes.auto_fetch_bytes.filter(|_| !self.offline);
        self.decide(card, catalog, limit, false).err()
    }

    fn decide<'a>(
        &self,
        card: &ModelCard,
        catalog: &'a Catalog,
        auto_fetch_bytes: Option<u64>,
        allow_stub: bool,
    ) -> Result<Choice<'a>, Refusal> {
        let about =
            |name: &str, fact: &dyn Fn(&WeightSet) -> bool| catalog.weights(name).is_some_and(fact);
        let facts = Facts {
            on_disk: &|name| about(name, &|set| self.store.is_complete(set)),
            unreachable: &|name| about(name, &|set| self.is_out_of_reach(set)),
            memory_bytes: self.memory_bytes,
            auto_fetch_bytes,
            grade: self.wishes.grade,
            prefer: self.wishes.weights.get(&card.name).map(String::as_str),
            allow_stub,
        };
        catalog::choose(card, catalog, &facts)
    }

    /// Whether a fetch would fail: it did lately, or the hub may not be asked or would refuse it.
    fn is_out_of_reach(&self, set: &WeightSet) -> bool {
        let refused = match &set.source {
            Source::Hub { gated, .. } => self.hub_offline || (*gated && !self.hub_token),
            _ => false,
        };
        refused || self.store.failed_lately(set)
    }
}
