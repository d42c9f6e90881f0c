//! Joins catalogue, store and architectures into what the engine asks for.

use std::sync::Arc;

use catalog::{Catalog, Choice, Facts, WeightSet};
use engine::{Lane, Loader};
use models::Files;
use models::device::{self, Device};
use tasks::{Failure, Served};
use weights::{Options, Store};

use crate::config::Place;
use crate::failure::Stop;

/// The largest download that a request starts without a person's word, in bytes.
pub(crate) const AUTO_FETCH_BYTES: u64 = 200_000_000;

/// The store of the configured place.
pub(crate) fn open_store(place: &Place) -> Store {
    let options = Options {
        offline: place.offline,
        ..Options::default()
    };
    Store::open(place.store.clone(), options)
}

/// Chooses, fetches and loads weights.
pub(crate) struct WeightLoader {
    catalog: Arc<Catalog>,
    store: Store,
    device: Device,
    offline: bool,
    memory_bytes: u64,
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
            store: open_store(place),
            device,
            offline: place.offline,
            memory_bytes: memory_bytes(),
        })
    }

    /// One line for each set of weights that serves something here.
    pub(crate) fn summary(&self) -> Vec<String> {
        let mut sets: Vec<(&WeightSet, &'static str, usize)> = Vec::new();
        for card in self.catalog.cards() {
            if let Ok(choice) = self.choice(&card.name) {
                let grade = choice.grade.word();
                match sets
                    .iter_mut()
                    .find(|(set, g, _)| set.name == choice.weights.name && *g == grade)
                {
                    Some((_, _, names)) => *names += 1,
                    None => sets.push((choice.weights, grade, 1)),
                }
            }
        }
        sets.into_iter()
            .map(|(set, grade, names)| {
                let state = if self.store.is_complete(set) {
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

    fn choice(&self, model: &str) -> Result<Choice<'_>, Failure> {
        let card = self
            .catalog
            .card(model)
            .ok_or_else(|| Failure::NoSuchModel(model.to_owned()))?;
        choose(
            card,
            &self.catalog,
            &self.store,
            self.offline,
            self.memory_bytes,
        )
        .map_err(|refusal| Failure::Unavailable(refusal.to_string()))
    }
}

/// What serves a card, with the facts of this machine.
pub(crate) fn choose<'a>(
    card: &catalog::ModelCard,
    catalog: &'a Catalog,
    store: &Store,
    offline: bool,
    memory_bytes: u64,
) -> Result<Choice<'a>, catalog::Refusal> {
    let on_disk = |name: &str| {
        catalog
            .weights(name)
            .is_some_and(|set| store.is_complete(set))
    };
    let facts = Facts {
        on_disk: &on_disk,
        memory_bytes,
        auto_fetch_bytes: (!offline).then_some(AUTO_FETCH_BYTES),
    };
    catalog::choose(card, catalog, &facts)
}

/// Bytes of memory of this machine, or of the control group that it is in.
pub(crate) fn memory_bytes() -> u64 {
    let mut system = sysinfo::System::new();
    system.refresh_memory();
    let group = system.cgroup_limits().map(|limits| limits.total_memory);
    group
        .filter(|&bytes| bytes > 0)
        .map_or(system.total_memory(), |bytes| {
            bytes.min(system.total_memory())
        })
}

impl Loader for WeightLoader {
    fn choose(&self, model: &str) -> Result<Served, Failure> {
        let choice = self.choice(model)?;
        Ok(Served {
            weights: choice.weights.name.clone(),
            grade: choice.grade,
        })
    }

    fn load(&self, served: &Served) -> Result<Lane, Failure> {
        let set = self
            .catalog
            .weights(&served.weights)
            .ok_or_else(|| Failure::Internal(format!("no weights named {}", served.weights)))?;
        let files = self
            .store
            .fetch(set, &*weights::for_terminal())
            .map_err(|error| Failure::Unavailable(error.to_string()))?;
        let started = std::time::Instant::now();
        let files = Files::new(files.folder().to_path_buf());
        let lane = models::load(&set.architecture, &files, &self.device)
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
}
