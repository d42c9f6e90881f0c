//! Which variant serves a name on this machine: a pure function of the card and a few facts.

use tasks::{Grade, Served};

use crate::card::{ModelCard, Variant};
use crate::catalogue::Catalog;
use crate::refusal::{Fetchable, Refusal};
use crate::weights::{Source, WeightSet};

/// The name that answers without weights go by, in [`Served::weights`] and in [`Facts::prefer`].
pub const STUB: &str = "stub";

/// What the machine and its user say.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// Whether the set of weights of that name is on disk, whole.
    pub on_disk: &'a dyn Fn(&str) -> bool,
    /// Whether a fetch of the set of that name failed lately, or cannot succeed (no token for a gated one).
    pub unreachable: &'a dyn Fn(&str) -> bool,
    /// Bytes of memory that a model may take.
    pub memory_bytes: u64,
    /// The largest download in bytes that is made without being asked; `None`: none is made.
    pub auto_fetch_bytes: Option<u64>,
    /// The only grade that is wanted; `None`: any. [`Grade::Stub`] is thereby allowed.
    pub grade: Option<Grade>,
    /// The only weights that are wanted for this name, or [`STUB`], which is thereby allowed; `None`: any.
    pub prefer: Option<&'a str>,
    /// Whether answers without weights may be given where no weights can serve.
    pub allow_stub: bool,
}

/// What serves a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice<'a> {
    /// A set of weights.
    Weights {
        /// The set.
        set: &'a WeightSet,
        /// How near it is to the named model.
        grade: Grade,
        /// Whether it is there.
        readiness: Readiness,
    },
    /// Answers true to the schema, without weights.
    Stub,
}

impl<'a> Choice<'a> {
    /// The set of weights, where there is one.
    pub fn weights(&self) -> Option<&'a WeightSet> {
        match self {
            Self::Weights { set, .. } => Some(set),
            Self::Stub => None,
        }
    }

    /// How near the answers are to those of the named model.
    pub fn grade(&self) -> Grade {
        match self {
            Self::Weights { grade, .. } => *grade,
            Self::Stub => Grade::Stub,
        }
    }

    /// What is told of it in answers.
    pub fn served(&self) -> Served {
        Served {
            weights: self.weights().map_or(STUB, |set| &set.name).to_owned(),
            grade: self.grade(),
        }
    }
}

/// Whether chosen weights are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// On disk, whole.
    OnDisk,
    /// They are to be fetched first: [`WeightSet::download_bytes`], within the limit.
    Fetch,
}

/// What serves `card`. Among the variants that fit in memory, the best that is on disk; if there is none, the best
/// whose download is within the limit and whose source answers. A set that is on disk is preferred to a better one
/// that is not, so that a name that works today works without a network tomorrow. The stub comes last, where it is
/// allowed, and never in the place of weights that were asked for by name.
pub fn choose<'a>(
    card: &ModelCard,
    catalog: &'a Catalog,
    facts: &Facts<'_>,
) -> Result<Choice<'a>, Refusal> {
    if facts.prefer == Some(STUB) || facts.grade == Some(Grade::Stub) {
        return Ok(Choice::Stub);
    }
    let may_be_stub = facts.allow_stub && facts.prefer.is_none() && facts.grade.is_none();
    match among_weights(card, catalog, facts) {
        Err(_) if may_be_stub => Ok(Choice::Stub),
        chosen => chosen,
    }
}

type Candidate<'c, 'a> = (&'c Variant, &'a WeightSet);

fn among_weights<'a>(
    card: &ModelCard,
    catalog: &'a Catalog,
    facts: &Facts<'_>,
) -> Result<Choice<'a>, Refusal> {
    let wanted = wanted(card, catalog, facts)?;
    let fits = |(_, set): &Candidate<'_, '_>| set.memory_bytes <= facts.memory_bytes;
    let fitting: Vec<_> = wanted.iter().copied().filter(fits).collect();
    let chosen = |(variant, set): Candidate<'_, 'a>, readiness| Choice::Weights {
        set,
        grade: variant.grade,
        readiness,
    };
    let on_disk = |(_, set): &Candidate<'_, '_>| (facts.on_disk)(&set.name);
    if let Some(found) = fitting.iter().copied().find(on_disk) {
        return Ok(chosen(found, Readiness::OnDisk));
    }
    let fetchable: Vec<_> = fitting
        .iter()
        .copied()
        .filter(|(_, set)| matches!(set.source, Source::Pypi { .. } | Source::Hub { .. }))
        .collect();
    let limit = facts.auto_fetch_bytes;
    let within =
        |(_, set): &Candidate<'_, '_>| limit.is_some_and(|limit| set.download_bytes <= limit);
    let allowed: Vec<_> = fetchable.iter().copied().filter(within).collect();
    let reachable = |(_, set): &Candidate<'_, '_>| !(facts.unreachable)(&set.name);
    if let Some(found) = allowed.iter().copied().find(reachable) {
        return Ok(chosen(found, Readiness::Fetch));
    }
    let model = card.name.clone();
    if let Some((_, set)) = allowed.first() {
        return Err(Refusal::Unreachable {
            model,
            weights: set.name.clone(),
            download_bytes: set.download_bytes,
        });
    }
    if let Some(best) = fetchable.first() {
        let least = fetchable
            .iter()
            .min_by_key(|(_, set)| set.download_bytes)
            .filter(|(_, set)| set.download_bytes < best.1.download_bytes);
        let ways = std::iter::once(best).chain(least);
        return Err(Refusal::NotFetched {
            model,
            ways: ways
                .map(|(variant, set)| Fetchable::new(variant.grade, set))
                .collect(),
            auto_fetch_bytes: limit,
        });
    }
    let own = fitting.iter().find_map(|(_, set)| match &set.source {
        Source::Local { path } => Some((set, path)),
        Source::Pypi { .. } | Source::Hub { .. } => None,
    });
    Err(match own {
        Some((set, path)) => Refusal::LocalMissing {
            model,
            weights: set.name.clone(),
            path: path.clone(),
        },
        None => no_memory(model, &wanted, facts.memory_bytes),
    })
}

/// The variants that `grade` and `prefer` leave, at least one.
fn wanted<'c, 'a>(
    card: &'c ModelCard,
    catalog: &'a Catalog,
    facts: &Facts<'_>,
) -> Result<Vec<Candidate<'c, 'a>>, Refusal> {
    let model = || card.name.clone();
    let mut left: Vec<Candidate<'c, 'a>> = card
        .variants
        .iter()
        .filter_map(|variant| Some((variant, catalog.weights(&variant.weights)?)))
        .collect();
    if left.is_empty() {
        return Err(Refusal::NoWeights { model: model() });
    }
    if let Some(name) = facts.prefer {
        let known = left.iter().map(|(_, set)| set.name.clone()).collect();
        left.retain(|(_, set)| set.name == name);
        if left.is_empty() {
            return Err(Refusal::NotAVariant {
                model: model(),
                weights: name.to_owned(),
                known,
            });
        }
    }
    if let Some(grade) = facts.grade {
        let mut known: Vec<Grade> = left.iter().map(|(variant, _)| variant.grade).collect();
        known.dedup();
        left.retain(|(variant, _)| variant.grade == grade);
        if left.is_empty() {
            return Err(Refusal::NoGrade {
                model: model(),
                grade,
                known,
            });
        }
    }
    Ok(left)
}

fn no_memory(model: String, wanted: &[Candidate<'_, '_>], memory_bytes: u64) -> Refusal {
    match wanted.iter().min_by_key(|(_, set)| set.memory_bytes) {
        None => Refusal::NoWeights { model },
        Some((_, smallest)) => Refusal::Memory {
            model,
            weights: smallest.name.clone(),
            needed_bytes: smallest.memory_bytes,
            memory_bytes,
        },
    }
}
