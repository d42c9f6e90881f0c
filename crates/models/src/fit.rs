//! How a model is fitted to a machine and to what will be asked of it.

use crate::quality::Quality;

/// What is a choice about a model, and changes its need. The same value has to be given when the need
/// is asked for and when the model is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fit {
    /// How exactly floats are kept.
    pub quality: Quality,
    /// Bytes of memory that all models may take together, which bound a KV cache; `None`: no limit.
    pub memory_bytes: Option<u64>,
    /// The longest sequence that will be asked for, in tokens; `None`: what the weights can read.
    pub window: Option<u32>,
    /// Whether LoRA adapters may be added, for which memory is set aside.
    pub adapters: bool,
}
