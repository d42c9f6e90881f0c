//! Joins catalogue, store and architectures into what the engine asks for.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use catalog::{Catalog, Choice, ModelCard, STUB, Source, WeightSet};
use engine::{Lane, Loader, Need};
use models::device::{self, Device, DeviceChoice};
use models::{Files, Fit, Keep};
use tasks::{Failure, Grade, Served};
use weights::{Options, Store};

use crate::chooser::Chooser;
use crate::config::Place;
use crate::failure::Stop;
use crate::hub_env;

/// Weights that take fewer bytes are packed in less than a second, each time.
const KEPT_FROM_BYTES: u64 = 256_000_000;
/// What packed weights leave free on the disk, in bytes.
const LEFT_ON_DISK_BYTES: u64 = 1_000_000_000;

/// The store of the configured place.
pub(crate) fn open_store(place: &Place) -> Store {
    let options = Options {
        offline: place.offline,
        hub: hub_env::hub_options(),
        ..Options::default()
    };
    Store::open(place.store.clone(), options)
}

/// Chooses, fetches and loads weights; for stubs there are none.
pub(crate) struct WeightLoader {
    catalog: Arc<Catalog>,
    chooser: Arc<Chooser>,
    device: Device,
    quality: models::Quality,
    keep_packed: bool,
    /// Names whose stub was told to the log.
    told: Mutex<BTreeSet<String>>,
}

impl WeightLoader {
    /// Opens the device, unless only stubs answer; says once what had to be settled for.
    pub(crate) fn new(place: &Place, catalog: Arc<Catalog>) -> Result<Self, Stop> {
        let wanted = match place.wishes.grade {
            Some(Grade::Stub) => DeviceChoice::Cpu,
            _ => place.device,
        };
        let (device, note) =
            device::open(wanted).map_err(|error| Stop::failed(error.to_string()))?;
        if let Some(note) = note {
            tracing::warn!("{note}");
        }
        Ok(Self {
            catalog,
            chooser: Arc::new(Chooser::new(place)),
            device,
            quality: place.quality,
            keep_packed: place.keep_packed,
            told: Mutex::default(),
        })
    }

    /// One line for each set of weights that serves something here, one for stubs, and a hint.
    pub(crate) fn summary(&self) -> Vec<String> {
        let mut sets: Vec<(&WeightSet, &'static str, usize)> = Vec::new();
        let mut stubs = 0;
        for card in self.catalog.cards() {
            let (set, grade) = match self.chooser.choose(card, &self.catalog) {
                Ok(Choice::Weights { set, grade, .. }) => (set, grade),
                Ok(Choice::Stub) => {
                    stubs += 1;
                    continue;
                }
                Err(_) => continue,
            };
            let known = |row: &&mut (&WeightSet, &'static str, usize)| {
                row.0.name == set.name && row.1 == grade.word()
            };
            match sets.iter_mut().find(known) {
                Some((_, _, names)) => *names += 1,
                None => sets.push((set, grade.word(), 1)),
            }
        }
        let fetches = sets
            .iter()
            .any(|(set, ..)| !self.chooser.store.is_complete(set));
        let hint = if fetches {
            "`hearth list` shows each name; the first request to a model fetches its weights"
        } else {
            "`hearth list` shows each name"
        };
        let all_stubs = if sets.is_empty() { "all " } else { "" };
        let stubs = (stubs > 0).then(|| {
            let names = names(stubs);
            format!("a stub serves {all_stubs}{names}: its answers are true to their schemas, and NO MODEL MAKES THEM")
        });
        sets.into_iter()
            .map(|(set, grade, served)| {
                let state = if self.chooser.store.is_complete(set) {
                    "on disk".to_owned()
                } else {
                    format!(
                        "to be fetched, {} MB",
                        set.download_bytes.div_ceil(1_000_000)
                    )
                };
                format!("{} ({grade}) serves {}: {state}", set.name, names(served))
            })
            .chain(stubs)
            .chain([hint.to_owned()])
            .collect()
    }

    fn files(&self, set: &WeightSet) -> Files {
        let files = match &set.source {
            Source::Local { path } if path.is_file() => Files::single(path),
            _ => Files::new(self.chooser.store.folder(set)),
        };
        let files = if self.keep_packed {
            let store = &self.chooser.store;
            let free = store.free_bytes().unwrap_or(0);
            files.with_packed(Keep {
                folder: store.packed_folder(set),
                least_bytes: KEPT_FROM_BYTES,
                room_bytes: free.saturating_sub(LEFT_ON_DISK_BYTES),
            })
        } else {
            files
        };
        let (catalog, chooser) = (self.catalog.clone(), self.chooser.clone());
        files.with_others(move |name| {
            let set = catalog.weights(name);
            let set = set.ok_or_else(|| Failure::Internal(format!("no weights named {name}")))?;
            chooser.fetch(set)?;
            Ok(Files::new(chooser.store.folder(set)))
        })
    }

    /// How a model of these weights is made: for the budget, and the longest window of the names
    /// that it can serve, as they share it, and for adapters where one of them takes some.
    fn fit(&self, set: &WeightSet) -> Fit {
        let cards = self.catalog.cards();
        let served = cards.filter(|card| card.variants.iter().any(|v| v.weights == set.name));
        let served: Vec<_> = served.collect();
        Fit {
            quality: self.quality,
            memory_bytes: Some(self.chooser.memory_bytes),
            window: served
                .iter()
                .filter_map(|card| card.effective_window(set))
                .max(),
            adapters: served.iter().any(|card| card.flags.lora),
        }
    }

    /// Tells the log once for each name why a stub answers for it, where nobody asked for one.
    fn tell_why_a_stub(&self, card: &ModelCard) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if !told.insert(card.name.clone()) {
            return;
        }
        if let Some(refusal) = self.chooser.why_a_stub(card, &self.catalog) {
            tracing::warn!("{}: a stub answers: {refusal}", card.name);
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
            Ok(choice) => {
                if choice == Choice::Stub {
                    self.tell_why_a_stub(card);
                }
                Ok(choice.served())
            }
            Err(refusal) => Err(Failure::Unavailable(refusal.to_string())),
        }
    }

    fn need(&self, served: &Served) -> Result<Need, Failure> {
        if served.weights == STUB {
            return Ok(Need::default());
        }
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
        if served.weights == STUB {
            return Ok(());
        }
        self.chooser
            .store
            .fetch(self.set(served)?, &*weights::for_terminal())
            .map_err(|error| Failure::Unavailable(error.to_string()))?;
        Ok(())
    }

    fn load(&self, served: &Served) -> Result<Lane, Failure> {
        if served.weights == STUB {
            tracing::warn!("stubs answer from now on: true to their schemas, without a model");
            return Ok(doubles::stub::lane());
        }
        let set = self.set(served)?;
        let started = std::time::Instant::now();
        let files = self.files(set);
        let lane = models::load(&set.architecture, &files, &self.device, self.fit(set))
            .map_err(|error| Failure::Unavailable(error.to_string()))?;
        tracing::info!(
            "loaded {} ({}, grade {}, quality {}) in {:.1} s",
            set.name,
            set.architecture,
            served.grade,
            self.quality.word(),
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

/// So many names.
fn names(count: usize) -> String {
    let plural = if count == 1 { "name" } else { "names" };
    format!("{count} {plural}")
}
