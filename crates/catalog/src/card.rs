//! A model card: what Cloudflare's catalogue says of one name, and what can serve it here.

use tasks::Grade;

use crate::rate::Rate;
use crate::task::TaskKind;
use crate::weights::WeightSet;

/// One model name of the catalogue.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelCard {
    /// `@cf/<author>/<name>` or `@hf/<author>/<name>`.
    pub name: String,
    /// The id of its row in `models/search`, a UUID; `None` where it is not known.
    pub id: Option<String>,
    /// When that row was made, `YYYY-MM-DD HH:MM:SS.mmm`, UTC; `None` where it is not known.
    pub created_at: Option<String>,
    /// What it does.
    pub task: TaskKind,
    /// The schema class of its input (`tg-g2`, `emb-bge`, ...).
    pub schema_class: String,
    /// The class of its output (`legacy`, `embedding`, `asr`, ...).
    pub output_class: String,
    /// Tokens of input and output together; `None` where the service publishes none.
    pub context_window: Option<u32>,
    /// `max_tokens` when the request names none.
    pub default_max_tokens: Option<u32>,
    /// The most that `max_tokens` may be; `None` where only the window bounds it, as for all names today.
    pub max_max_tokens: Option<u32>,
    /// The width of an embedding.
    pub output_dimensions: Option<usize>,
    /// What the model can do beside the plain task.
    pub flags: Flags,
    /// How long a reasoning model can be told to think; `None` where nothing is published.
    pub reasoning_effort: Option<ReasoningEffort>,
    /// Price in USD; `None` where unknown.
    pub price: Option<Rate>,
    /// Neurons; `None` where unknown.
    pub neurons: Option<Rate>,
    /// The day the service withdrew it, `YYYY-MM-DD`.
    pub deprecated_on: Option<String>,
    /// The model name that answers in its place since then; `None`: it is refused (5028).
    pub answered_by: Option<String>,
    /// The weights that can serve the name, best grade first. Below them all comes [`tasks::Grade::Stub`], which
    /// needs none and can serve every name.
    pub variants: Vec<Variant>,
}

impl ModelCard {
    /// The author: the word between the slashes of the name.
    pub fn author(&self) -> &str {
        self.name.split('/').nth(1).unwrap_or_default()
    }

    /// The source of the catalogue's rows: 1 for `@cf`, 2 for `@hf` (the 2 is inferred, no page gives it).
    pub fn source(&self) -> u8 {
        if self.name.starts_with("@hf/") { 2 } else { 1 }
    }

    /// What can be read at once when `weights` serve the name: the smaller window of the two, in the unit of
    /// [`WeightSet::window`]. `None` where neither has one.
    pub fn effective_window(&self, weights: &WeightSet) -> Option<u32> {
        match (self.context_window, weights.window) {
            (Some(card), Some(weights)) => Some(card.min(weights)),
            (card, weights) => card.or(weights),
        }
    }
}

/// Properties of the catalogue that are true or false.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(clippy::struct_excessive_bools)] // the catalogue's own flags, each independent
pub struct Flags {
    /// Takes LoRA adapters.
    pub lora: bool,
    /// Takes tools.
    pub function_calling: bool,
    /// Takes `response_format`.
    pub json_mode: bool,
    /// Takes `queueRequest`.
    pub async_queue: bool,
    /// Thinks before it answers.
    pub reasoning: bool,
    /// Reads images.
    pub vision: bool,
    /// Marked beta.
    pub beta: bool,
    /// Offered by a partner of Cloudflare's.
    pub partner: bool,
    /// Answers over a WebSocket too.
    pub realtime: bool,
    /// Not for free accounts (5035).
    pub require_workers_paid: bool,
    /// Only for accounts that asked for it.
    pub private_access: bool,
    /// Answers only after the account sent the prompt `agree` once (5016).
    pub licence_agreement: bool,
}

/// The levels of `reasoning_effort`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReasoningEffort {
    /// The words that a request may give.
    pub supported: Vec<String>,
    /// The one that is taken where it gives none.
    pub default: String,
    /// Thinking cannot be turned off.
    pub mandatory: bool,
}

/// A set of weights that can serve a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variant {
    /// The set of weights, a key of [`crate::Catalog::weights`].
    pub weights: String,
    /// How near it is to the named model.
    pub grade: Grade,
}
