//! How exactly a checkpoint's floats are kept.

/// How the floats of a checkpoint are kept and multiplied on the CPU. Quantised checkpoints stay as
/// they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Quality {
    /// As they are.
    #[default]
    Exact,
    /// Rounded to eight bits with a scale for 32 of them: faster and in a quarter of the memory, with
    /// cosines of at least 0.9995 to the exact vectors.
    Fast,
}

impl Quality {
    /// The quality of a word of the command line.
    pub fn of_word(word: &str) -> Option<Self> {
        [Self::Exact, Self::Fast]
            .into_iter()
            .find(|quality| quality.word() == word)
    }

    /// The word for the command line and for listings.
    pub fn word(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Fast => "fast",
        }
    }
}
