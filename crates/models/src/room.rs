//! How much of a machine a model may be made for.

/// What bounds the parts of a model whose size is a choice, such as a KV cache. The same value has to
/// be given when the need is asked for and when the model is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Room {
    /// Bytes of memory that all models may take together; `None`: no limit.
    pub memory_bytes: Option<u64>,
    /// The longest sequence that will be asked for, in tokens; `None`: what the weights can read.
    pub window: Option<u32>,
}
