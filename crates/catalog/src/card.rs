//! A model card: what Cloudflare's catalogue says of one name, and what can serve it here.

use tasks::Grade;

use crate::weights::WeightSet;

/// The tasks that this build can name. One variant a task file of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TaskKind {
    /// Text generation.
    TextGeneration,
    /// Text embeddings.
    TextEmbeddings,
    /// Automatic speech recognition.
    SpeechRecognition,
}

impl TaskKind {
    /// The name that the Workers AI catalogue gives the task, exact case; also the word of `models.toml`.
    pub fn name(self) -> &'static str {
        match self {
            Self::TextGeneration => "Text Generation",
            Self::TextEmbeddings => "Text Embeddings",
            Self::SpeechRecognition => "Automatic Speech Recognition",
        }
    }
}

/// One model name of the catalogue.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelCard {
    /// `@cf/<author>/<name>` or `@hf/<author>/<name>`.
    pub name: String,
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
    /// The width of an embedding.
    pub output_dimensions: Option<usize>,
    /// What the model can do beside the plain task.
    pub flags: Flags,
    /// Price in USD; `None` where unknown.
    pub price: Option<Rate>,
    /// Neurons; `None` where unknown.
    pub neurons: Option<Rate>,
    /// The day the service withdrew it, `YYYY-MM-DD`.
    pub deprecated_on: Option<String>,
    /// The weights that can serve the name, best grade first.
    pub variants: Vec<Variant>,
}

impl ModelCard {
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
}

/// What a unit of work costs, in USD or in neurons.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rate {
    /// Per million tokens.
    Tokens {
        /// Per million input tokens.
        input: f64,
        /// Per million output tokens; `None` for tasks without them.
        output: Option<f64>,
    },
    /// Per minute of audio.
    AudioMinute(f64),
}

/// One way to serve a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variant {
    /// The set of weights, a key of [`crate::Catalog::weights`].
    pub weights: String,
    /// How near it is to the named model.
    pub grade: Grade,
}
