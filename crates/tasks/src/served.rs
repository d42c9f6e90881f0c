//! What serves a request: which weights, and how near they are to the named model.

use std::fmt;

/// How near the weights are to the model that was named. Best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Grade {
    /// The same weights.
    Exact,
    /// The same model with fewer bits.
    Quantised,
    /// A smaller model of the same kind, for machines that cannot hold the real one.
    Twin,
    /// No model: answers true to the schema only.
    Stub,
}

impl Grade {
    /// The word for headers, tables and `models.toml`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Quantised => "quantised",
            Self::Twin => "twin",
            Self::Stub => "stub",
        }
    }
}

impl fmt::Display for Grade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// The weights that answer a request; told in the header `hearth-model`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Served {
    /// The name of the weights, such as `smollm2-135m-instruct`.
    pub weights: String,
    /// How near they are to the named model.
    pub grade: Grade,
}
