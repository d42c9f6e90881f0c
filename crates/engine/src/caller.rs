//! Who asks, and how much it hurries: what the scheduler has to know of a request's origin.

/// How soon a request should be answered. Earlier ones come first; none waits for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Class {
    /// Somebody watches the answer being written.
    Interactive,
    /// Somebody waits for the whole answer.
    #[default]
    Default,
    /// Nobody waits.
    Batch,
}

/// How many classes there are.
pub(crate) const CLASSES: usize = 3;

/// The origin of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Caller {
    /// Names who asks. Work is shared out evenly among tenants, and none finds another's prompts in the cache.
    pub tenant: u64,
    /// How soon it should be answered.
    pub class: Class,
    /// It would rather be refused than wait for a place.
    pub refuses_to_wait: bool,
}
