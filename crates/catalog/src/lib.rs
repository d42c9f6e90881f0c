//! models.toml: every model name, its limits and price, and the weights that can serve it.
#![warn(missing_docs)]

mod card;
mod catalogue;
mod choice;
mod place;
mod weights;
mod written;

pub use card::{Flags, ModelCard, Rate, TaskKind, Variant};
pub use catalogue::Catalog;
pub use choice::{Choice, Facts, Readiness, Refusal, choose};
pub use place::CatalogError;
pub use weights::{Origin, Package, Source, WeightFile, WeightSet};
