//! The adapters of a loaded model: those that were used last stay, within memory that was set aside.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tasks::Failure;

use super::read::Described;
use super::{Adapter, Delta, Module, RANK_MAX};
use crate::decoder::config::DecoderConfig;
use crate::load::Files;

/// What is set aside for adapters: one of the highest rank in every projection, or several smaller ones.
pub(crate) fn reserved_bytes(config: &DecoderConfig) -> u64 {
    if !takes_adapters(config) {
        return 0;
    }
    let modules = Module::ALL.iter();
    let layer: u64 = modules
        .map(|module| Delta::bytes(module.widths(config), RANK_MAX))
        .sum();
    layer * config.layers as u64
}

/// Whether every projection of the model is one that adapters know.
fn takes_adapters(config: &DecoderConfig) -> bool {
    config.experts.is_none() && config.feed_forward.gated
}

/// Where adapters stand. Files are read on the threads that prepare requests, one at a time.
#[derive(Debug)]
pub(crate) struct Shelf {
    model: DecoderConfig,
    max_bytes: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The least recently used first.
    places: Vec<(PathBuf, Arc<Adapter>)>,
    loads: u64,
}

impl Shelf {
    /// An empty shelf; `None` for a model that takes no adapters.
    pub(crate) fn new(config: &DecoderConfig) -> Option<Self> {
        takes_adapters(config).then(|| Self {
            max_bytes: reserved_bytes(config),
            model: config.clone(),
            state: Mutex::default(),
        })
    }

    /// An adapter, read if it is not there. Whoever holds it keeps it there.
    ///
    /// # Errors
    /// [`Failure::Unsupported`] for one that does not fit the model, or whose files are not here; [`Failure::Busy`] where
    /// adapters that are in use leave it no room.
    pub(crate) fn take(&self, lora: &tasks::Lora) -> Result<Arc<Adapter>, Failure> {
        let name = &lora.name;
        let folder = lora.folder.as_ref().ok_or_else(|| {
            Failure::Unsupported(format!(
                "{name} is an adapter of the service's own, and its weights are not public: none is here; upload one of \
                 your own as a fine-tune"
            ))
        })?;
        let refused =
            |why: String| Failure::Unsupported(format!("the adapter {name} cannot be used: {why}"));
        // A panic under this lock leaves whole adapters behind, whichever.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = state.places.iter().position(|(path, _)| path == folder) {
            let place = state.places.remove(index);
            let adapter = Arc::clone(&place.1);
            state.places.push(place);
            return Ok(adapter);
        }
        let files = Files::new(folder.clone());
        let described = Described::open(&files, &self.model).map_err(refused)?;
        if !state.make_room(described.bytes, self.max_bytes) {
            return Err(Failure::Busy);
        }
        state.loads += 1;
        let adapter = Arc::new(described.read(state.loads).map_err(refused)?);
        tracing::info!("loaded the adapter {name}: {} bytes", adapter.bytes);
        state.places.push((folder.clone(), Arc::clone(&adapter)));
        Ok(adapter)
    }
}

impl State {
    /// Forgets adapters that nobody holds, the least recently used first, until there is room. Those that hold rows of a
    /// step are given back by the device thread, so what is free here is free.
    fn make_room(&mut self, bytes: u64, max_bytes: u64) -> bool {
        let held = |places: &[(PathBuf, Arc<Adapter>)]| -> u64 {
            places.iter().map(|(_, adapter)| adapter.bytes).sum()
        };
        while held(&self.places).saturating_add(bytes) > max_bytes {
            let idle = self
                .places
                .iter()
                .position(|(_, adapter)| Arc::strong_count(adapter) == 1);
            match idle {
                Some(index) => drop(self.places.remove(index)),
                None => return false,
            }
        }
        true
    }
}
