//! models.toml: every model name, its limits and price, and the weights that can serve it.
#![warn(missing_docs)]

mod card;
mod weights;

pub use card::{Flags, ModelCard, Rate, TaskKind, Variant};
pub use weights::{Origin, Package, Source, WeightFile, WeightSet};
