//! models.toml: every model name, its limits and price, and the weights that can serve it.
#![warn(missing_docs)]

mod card;
mod catalogue;
mod choice;
mod place;
mod rate;
mod refusal;
mod task;
mod weights;
mod written;

pub use card::{Flags, ModelCard, ReasoningEffort, Variant};
pub use catalogue::Catalog;
pub use choice::{Choice, Facts, Readiness, STUB, choose};
pub use place::CatalogError;
pub use rate::Rate;
pub use refusal::{Fetchable, Refusal};
pub use task::TaskKind;
pub use weights::{Origin, Package, Repository, Source, WeightFile, WeightSet};
