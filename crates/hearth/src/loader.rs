//! Joins catalogue, store and architectures into what the engine asks for.

use std::sync::Arc;

use catalog::{Catalog, Choice, Source, WeightSet};
use engine::{Lane, Loader, Need};
use models::device::{self, Device};
use models::{Files, Fit};
use tasks::{Failure, Served};
use weights::{Options, Store};

use crate::chooser::Chooser;
use crate::config::Place;
use crate::failure::Stop;
use crate::hub_env;

/// The store of the configured place.
pub(crate) fn open_store(place: &Place) -> Store {
    let options = Options {
        offline: place.offline,
        hub: hub_env::hub_options(),
        ..Options::default()
    };
    Store::open(place.store.clone(), options)
}

/// Chooses, fetches and loads weights.
pub(crate) struct WeightLoader {
    catalog: Arc<Catalog>,
    chooser: Chooser,
    device: Device,
}

impl WeightLoader {
    /// Opens the device; says once what had to be settled for.
    pub(crate) fn new(place: &Place, catalog: Arc<Catalog>) -> Result<Self, Stop> {
        let (device, note) =
            device::open(place.device).map_err(|error| Stop::failed(error.to_string()))?;
        if let Some(note) = note {
            tracing::warn!("{note}");
        }
        Ok(Self {
            catalog,
            chooser: Chooser::new(place),
            device,
        })
    }

    /// One line for each set of weights that serves something here.
    pub(crate) fn summary(&self) -> Vec<String> {
        let mut sets: Vec<(&WeightSet, &'static str, usize)> = Vec::new();
        for card in self.catalog.cards() {
            let Ok(Choice::Weights { set, grade, .. }) = self.chooser.choose(card, &self.catalog)
            else {
                continue;
            };
            let known = |row: &&mut (&WeightSet, &'static str, usize)| {
                row.0.name == set.name && row.1 == grade.word()
            };
            match sets.iter_mut().find(known) {
                Some((_, _, names)) => *names += 1,
                None => sets.push((set, grade.word(), 1)),
            }
        }
        sets.into_iter()
            .map(|(set, grade, names)| {
                let state = if self.chooser.store.is_complete(set) {
                    "on disk".to_owned()
                } else {
                    format!(
                        "to be fetched, {} MB",
                        set.download_bytes.div_ceil(1_000_000)
                    )
                };
                let plural = if names == 1 { "name" } else { "names" };
                format!("{} ({grade}) serves {names} {plural}: {state}", set.name)
            })
            .collect()
    }

    fn files(&self, set: &WeightSet) -> Files {
        match &set.source {
            Source::Local { path } if path.is_file() => Files::single(path),
            _ => Files::new(self.chooser.store.folder(set)),
        }
    }

    /// How a model of these weights is made: for the budget, and the longest window of the names
    /// that it can serve, as they share it.
    fn fit(&self, set: &WeightSet) -> Fit {
        let cards = self.catalog.cards();
        let served = cards.filter(|card| card.variants.iter().any(|v| v.weights == set.name));
        Fit {
            quality: models::Quality::Exact,
            memory_bytes: Some(self.chooser.memory_bytes),
            window: served.filter_map(|card| card.effective_window(set)).max(),
        }
    }

    fn set(&self, served: &Served) -> Result<&WeightSet, Failure> {
        self.catalog
            .weights(&served.weights)
            .ok_or_else(|| Failure::Internal(format!("no weights named {}", served.weights)))
    }
}

impl Loader for WeightLoader {
    fn choose(&self, model: &str) -> Result<Served, Failure> {
        let card = self
            .catalog
            .card(model)
            .ok_or_else(|| Failure::NoSuchModel(model.to_owned()))?;
        match self.chooser.choose(card, &self.catalog) {
            Ok(choice @ Choice::Weights { .. }) => Ok(choice.served()),
            Ok(Choice::Stub) => Err(Failure::Unsupported(format!(
                "this build has no stub yet that could answer for {model}"
            ))),
            Err(refusal) => Err(Failure::Unavailable(refusal.to_string())),
        }
    }

    fn need(&self, served: &Served) -> Result<Need, Failure> {
        let set = self.set(served)?;
        let listed = Need {
            weights_bytes: set.memory_bytes,
            ..Need::default()
        };
        if !self.chooser.store.is_complete(set) {
            return Ok(listed);
        }
        let files = self.files(set);
        models::need(&set.architecture, &files, &self.device, self.fit(set))
            .map_err(|error| Failure::Unavailable(error.to_string()))
    }

    fn fetch(&self, served: &Served) -> Result<(), Failure> {
        self.chooser
            .store
            .fetch(self.set(served)?, &*weights::for_terminal())
            .map_err(|error| Failure::Unavailable(error.to_string()))?;
        Ok(())
    }

    fn load(&self, served: &Served) -> Result<Lane, Failure> {
        let set = self.set(served)?;
        let started = std::time::Instant::now();
        let files = self.files(set);
        let lane = models::load(&set.architecture, &files, &self.device, self.fit(set))
            .map_err(|error| Failure::Unavailable(error.to_string()))?;
        tracing::info!(
            "loaded {} ({}, grade {}) in {:.1} s",
            set.name,
            set.architecture,
            served.grade,
            started.elapsed().as_secs_f32()
        );
        Ok(lane)
    }

    fn memory_in_use(&self) -> Option<u64> {
        crate::memory::in_use()
    }

    fn release_memory(&self) {
        crate::memory::release();
    }
}
