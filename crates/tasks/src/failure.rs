//! The ways a job can fail. Knows no HTTP: `api` gives each kind its code, status and text.

/// Why a job has no answer. Each kind is a row of the error table of every surface.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The input breaks the model's schema; the text is the validator's.
    #[error("{0}")]
    Schema(String),
    /// No model or alias has this name.
    #[error("no such model: {0}")]
    NoSuchModel(String),
    /// The model was withdrawn on `on` (`YYYY-MM-DD`) and this server refuses such models.
    #[error("{model} was deprecated on {on}")]
    Deprecated {
        /// The model's name.
        model: String,
        /// The day of its deprecation, `YYYY-MM-DD`.
        on: String,
    },
    /// Something that the request needs is absent, such as its body.
    #[error("request is missing {0}")]
    Missing(String),
    /// The body is larger than the limit.
    #[error("request is larger than {limit_bytes} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit_bytes: usize,
    },
    /// The input passed its schema, but the model can make nothing of it (audio that is not audio).
    #[error("invalid input: {0}")]
    BadInput(String),
    /// Prompt and asked output do not fit the context window.
    #[error("{tokens} tokens exceed the context window of {window}")]
    ContextExceeded {
        /// Input tokens plus the most tokens that may be generated.
        tokens: usize,
        /// The effective window in tokens.
        window: usize,
    },
    /// A feature the service has and this server has not (yet); never ignored in silence.
    #[error("{0}")]
    Unsupported(String),
    /// A LoRA was asked of a model that takes none.
    #[error("{0} takes no LoRA")]
    NoLora(String),
    /// `response_format` was asked of a model without JSON mode.
    #[error("this model has no JSON mode")]
    NoJsonMode,
    /// No answer satisfies the schema of `response_format`, or none that this model can give; the text is for the log.
    #[error("no answer satisfies the schema of response_format: {0}")]
    JsonModeUnmet(String),
    /// Every place in the queue is taken.
    #[error("the queue is full")]
    Busy,
    /// No first token, or no model, within the time limit.
    #[error("timed out")]
    Timeout,
    /// The caller left before the answer was complete.
    #[error("aborted by the caller")]
    Aborted,
    /// No weights can serve the name on this machine now; the text says what to do.
    #[error("{0}")]
    Unavailable(String),
    /// A bug or a broken device; the text is for the log, never for the caller.
    #[error("internal failure: {0}")]
    Internal(String),
}
