//! An entry of the catalogue held against what the hub lists: what differs, and the line that would be right.

use std::fmt;

use catalog::WeightSet;

use crate::fetch_error::FetchError;
use crate::hub::HubSet;
use crate::hub::listing::{ListedFile, Listing};
use crate::progress::Progress;

/// By how much `disk_bytes` may differ from the files' sizes, in hundredths: entries are rounded, or reckoned from
/// parameters and bits, which leaves out headers and tokenizers.
pub const SIZE_TOLERANCE_PERCENT: u64 = 2;
/// Files that are named where one is not there.
const NAMED_MAX: usize = 8;

/// What the hub says of a set's repository, and how the catalogue's entry differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// The commit that the revision is at: the `revision` that cannot move.
    pub commit: String,
    /// Bytes of the set's files together; `None` where the hub does not tell the size of each.
    pub bytes: Option<u64>,
    /// Whether the hub gives it only to accounts that accepted its licence.
    pub gated: bool,
    /// What differs; nothing where the entry is right.
    pub differences: Vec<Difference>,
}

/// Something that the entry says and the hub does not.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Difference {
    /// The repository has another name by now.
    Moved {
        /// The name.
        to: String,
    },
    /// The entry says that it is gated and the hub does not, or the other way round.
    Gated {
        /// What the hub says.
        on_hub: bool,
    },
    /// A file is not in the repository.
    Missing {
        /// Its name in the entry.
        file: String,
        /// Files of the same kind that are there, some of them.
        instead: Vec<String>,
    },
    /// A file has another hash.
    Hash {
        /// Its name.
        file: String,
        /// Its SHA-256 on the hub.
        on_hub: String,
    },
    /// The files are larger or smaller than `disk_bytes`, by more than [`SIZE_TOLERANCE_PERCENT`].
    Size {
        /// What the entry says.
        written: u64,
        /// What the hub says.
        on_hub: u64,
    },
}

impl Difference {
    /// What to write into the entry instead.
    pub fn line(&self) -> String {
        match self {
            Self::Moved { to } => format!("repository = \"{to}\""),
            Self::Gated { on_hub: true } => "gated = true".to_owned(),
            Self::Gated { on_hub: false } => "remove `gated = true`".to_owned(),
            Self::Missing { file, instead } => match shards(file, instead) {
                Some(shards) => format!("shards = {shards}"),
                None => match instead.as_slice() {
                    [only] => format!("files = [..., \"{only}\"]"),
                    [] => format!("remove \"{file}\" from `files`"),
                    _ => format!("in `files`, one of those instead of \"{file}\""),
                },
            },
            Self::Hash { file, on_hub } => {
                format!("files = [..., {{ path = \"{file}\", sha256 = \"{on_hub}\" }}]")
            }
            Self::Size { on_hub, .. } => format!("disk_bytes = {on_hub}"),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Moved { to } => write!(f, "the repository is called {to} now"),
            Self::Gated { on_hub: true } => f.write_str(
                "the hub asks for its licence to be accepted, and the entry does not say so",
            ),
            Self::Gated { on_hub: false } => {
                f.write_str("the entry says that it is gated, and the hub gives it to everybody")
            }
            Self::Missing { file, instead } if instead.is_empty() => {
                write!(f, "{file} is not there, nor anything of its kind")
            }
            Self::Missing { file, instead } => {
                write!(f, "{file} is not there; there is {}", instead.join(", "))
            }
            Self::Hash { file, on_hub } => write!(f, "{file} has the SHA-256 {on_hub}"),
            Self::Size { written, on_hub } => write!(
                f,
                "its files have {on_hub} bytes; disk_bytes is {written}, more than {SIZE_TOLERANCE_PERCENT} % off"
            ),
        }
    }
}

impl Comparison {
    /// Of two repositories of a set, its own first.
    pub(crate) fn with(mut self, other: Self) -> Self {
        let both = self.bytes.zip(other.bytes);
        self.bytes = both.map(|(one, other)| one.saturating_add(other));
        self.differences.extend(other.differences);
        self
    }

    /// The same, with what the entry says of the size held against it.
    pub(crate) fn sized(mut self, written: u64) -> Self {
        if let Some(on_hub) = self.bytes
            && on_hub.abs_diff(written).saturating_mul(100)
                > on_hub.saturating_mul(SIZE_TOLERANCE_PERCENT)
        {
            self.differences.push(Difference::Size { written, on_hub });
        }
        self
    }
}

impl HubSet<'_> {
    /// Holds the entry against the hub, but for [`Comparison::sized`].
    pub(crate) fn compare(&self, progress: &dyn Progress) -> Result<Comparison, FetchError> {
        let listing = self
            .listing(progress)
            .map_err(|trouble| self.told(trouble, ""))?;
        Ok(compare(self.set, self.name, self.gated, &listing))
    }
}

fn compare(set: &WeightSet, name: &str, gated: bool, listing: &Listing) -> Comparison {
    let mut differences = Vec::new();
    if listing.name != name {
        differences.push(Difference::Moved {
            to: listing.name.clone(),
        });
    }
    if listing.gated != gated {
        differences.push(Difference::Gated {
            on_hub: listing.gated,
        });
    }
    let mut bytes = Some(0u64);
    for file in &set.files {
        let Some(there) = listing.files.iter().find(|there| there.path == file.path) else {
            // A file that is missing would make the size wrong too, which is no second mistake.
            bytes = None;
            // Of a set in many parts all are missing for the same reason.
            let told = |known: &Difference| matches!(known, Difference::Missing { file: other, .. } if is_shard(other));
            if !(is_shard(&file.path) && differences.iter().any(told)) {
                differences.push(Difference::Missing {
                    file: file.path.clone(),
                    instead: of_its_kind(&file.path, &listing.files),
                });
            }
            continue;
        };
        bytes = bytes
            .zip(there.bytes)
            .map(|(sum, size)| sum.saturating_add(size));
        if let (Some(want), Some(have)) = (&file.sha256, &there.sha256)
            && want != have
        {
            differences.push(Difference::Hash {
                file: file.path.clone(),
                on_hub: have.clone(),
            });
        }
    }
    Comparison {
        commit: listing.commit.clone(),
        bytes,
        gated: listing.gated,
        differences,
    }
}

/// The files with the same name but for its case, else those with the same ending.
fn of_its_kind(path: &str, files: &[ListedFile]) -> Vec<String> {
    let named = |same: &dyn Fn(&str) -> bool| -> Vec<String> {
        let paths = files.iter().map(|file| file.path.clone());
        paths.filter(|other| same(other)).take(NAMED_MAX).collect()
    };
    let cased = named(&|other| other.eq_ignore_ascii_case(path));
    if !cased.is_empty() {
        return cased;
    }
    let ending = path.rsplit('.').next().unwrap_or(path);
    // The bits of a GGUF file are in its name: those with the same bits first.
    let bits = path
        .strip_suffix(".gguf")
        .and_then(|stem| stem.rsplit(['.', '-']).next())
        .map(str::to_ascii_lowercase);
    let same_bits = named(&|other| {
        let other = other.to_ascii_lowercase();
        bits.as_ref()
            .is_some_and(|bits| other.ends_with(&format!("{bits}.gguf")))
    });
    if !same_bits.is_empty() {
        return same_bits;
    }
    named(&|other| other.rsplit('.').next() == Some(ending))
}

/// Whether it is one of the parts that `shards` names, or their index.
fn is_shard(path: &str) -> bool {
    path == "model.safetensors.index.json" || parts(path).is_some()
}

/// How many parts the file belongs to: `model-00001-of-00004.safetensors`.
fn parts(path: &str) -> Option<u32> {
    let numbers = path.strip_prefix("model-")?.strip_suffix(".safetensors")?;
    numbers.split_once("-of-")?.1.parse().ok()
}

/// The number of parts that the repository has in place of the missing one.
fn shards(missing: &str, instead: &[String]) -> Option<u32> {
    instead
        .iter()
        .filter(|_| is_shard(missing))
        .find_map(|there| parts(there))
}
