//! Why nothing serves a name, and what its user can do about it.

use std::fmt;
use std::path::PathBuf;

use tasks::Grade;

use crate::weights::{Source, WeightSet};

const MEGABYTE: u64 = 1_000_000;

/// Why no variant serves a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The name has no weights here, or none were wanted, and stubs are not allowed.
    #[error(
        "only a stub can serve {model} here: answers true to its schema, without weights; `--allow-stub` allows it"
    )]
    NoWeights {
        /// The model name.
        model: String,
    },
    /// Weights were asked for that cannot serve the name.
    #[error("{weights} cannot serve {model}; {} can", known.join(", "))]
    NotAVariant {
        /// The model name.
        model: String,
        /// The weights that were asked for.
        weights: String,
        /// Those that can serve it.
        known: Vec<String>,
    },
    /// A grade was asked for of which there are no weights.
    #[error(
        "no weights of grade {grade} can serve {model}; it has {}",
        grades(known)
    )]
    NoGrade {
        /// The model name.
        model: String,
        /// The grade that was asked for.
        grade: Grade,
        /// Those that there are.
        known: Vec<Grade>,
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
    #[error("the weights of {model} are not here; fetch them with {}{}", either(ways), limit(*auto_fetch_bytes))]
    NotFetched {
        /// The model name.
        model: String,
        /// The best variant that fits, and after it the one with the smallest download, if that is another.
        ways: Vec<Fetchable>,
        /// The limit that the downloads are above; `None` where nothing is fetched without being asked.
        auto_fetch_bytes: Option<u64>,
    },
    /// What may be fetched without being asked could not be reached.
    #[error(
        "the weights of {model} are not here, and {weights} ({} to download) could not be fetched lately; `hearth pull {weights}` tries again",
        megabytes_up(*download_bytes)
    )]
    Unreachable {
        /// The model name.
        model: String,
        /// The best of those that were tried.
        weights: String,
        /// Bytes of its download.
        download_bytes: u64,
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

/// Weights that a person can fetch. Shown as the command, its sizes, and what it asks for first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetchable {
    /// The set.
    pub weights: String,
    /// How near it is to the named model.
    pub grade: Grade,
    /// Bytes of its download.
    pub download_bytes: u64,
    /// Bytes of its files.
    pub disk_bytes: u64,
    /// Bytes of memory that it needs.
    pub memory_bytes: u64,
    /// The repository of the hub whose licence has to be accepted first; `None`: none has to.
    pub gate: Option<String>,
}

impl Fetchable {
    pub(crate) fn new(grade: Grade, set: &WeightSet) -> Self {
        Self {
            weights: set.name.clone(),
            grade,
            download_bytes: set.download_bytes,
            disk_bytes: set.disk_bytes,
            memory_bytes: set.memory_bytes,
            gate: match &set.source {
                Source::Hub {
                    repository,
                    gated: true,
                    ..
                } => Some(repository.clone()),
                _ => None,
            },
        }
    }
}

impl fmt::Display for Fetchable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`hearth pull {}` ({}: {} to download, {} on disk, {} of memory",
            self.weights,
            self.grade,
            megabytes_up(self.download_bytes),
            megabytes_up(self.disk_bytes),
            megabytes_up(self.memory_bytes),
        )?;
        if let Some(repository) = &self.gate {
            write!(
                f,
                "; accept the licence of {repository} on the Hugging Face Hub and set HF_TOKEN first"
            )?;
        }
        f.write_str(")")
    }
}

fn either(ways: &[Fetchable]) -> String {
    let ways: Vec<String> = ways.iter().map(Fetchable::to_string).collect();
    ways.join(", or with ")
}

fn grades(known: &[Grade]) -> String {
    let words: Vec<&str> = known.iter().map(|grade| grade.word()).collect();
    words.join(", ")
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
