//! Decision models: questions about a state, answered with probabilities.

use std::sync::Arc;

use crate::{Json, Task};

/// Decision: a state and a question in, a probability for each possible answer out. A request of
/// many questions is many jobs.
pub struct Decide;

impl Task for Decide {
    type Request = DecideRequest;
    type Event = Decision;
    const NAME: &'static str = "Decision";
}

/// What kind of question it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuestionKind {
    /// Yes or no: the options are `true` and `false`.
    Noul,
    /// One of some options.
    Choice,
    /// A level of a scale, lowest first.
    Score,
}

/// A question about a state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecideRequest {
    /// The state, which the jobs of one request share.
    pub state: Arc<Json>,
    /// What kind of question it is.
    pub kind: QuestionKind,
    /// The question.
    pub instructions: String,
    /// The options and what they mean, in order; at least one.
    pub options: Vec<(String, String)>,
    /// Encoded images that belong to the state, shared as it is.
    pub images: Arc<[Vec<u8>]>,
    /// The window in tokens; a longer state is cut.
    pub window: u32,
}

/// The answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// A probability for each option, in order; they sum to 1.
    pub probabilities: Vec<f32>,
    /// Tokens read.
    pub input_tokens: u32,
    /// Tokens written.
    pub output_tokens: u32,
}
