//! All events of a job together.

use catalog::ModelCard;
use tasks::{ChatEvent, Failure, Finish, TokenLogprobs, ToolCall, Usage};

use crate::run::job::{Job, ended_early};

/// What a job came to.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) text: String,
    pub(super) reasoning: String,
    pub(super) calls: Vec<ToolCall>,
    pub(super) logprobs: Vec<TokenLogprobs>,
    pub(super) finish: Finish,
    pub(super) usage: Usage,
}

impl Outcome {
    /// Reads a job to its end.
    ///
    /// # Errors
    /// What the job says, or an internal failure where it ends without its last event.
    pub(super) async fn collect(
        mut job: Job<ChatEvent>,
        card: &ModelCard,
        one_call: bool,
    ) -> Result<Self, Failure> {
        let mut outcome = Self {
            text: String::new(),
            reasoning: String::new(),
            calls: Vec::new(),
            logprobs: Vec::new(),
            finish: Finish::Stop,
            usage: Usage::default(),
        };
        loop {
            match job.next().await?.ok_or_else(|| ended_early(card))? {
                ChatEvent::Read { .. } => {}
                ChatEvent::Logprobs(more) => outcome.logprobs.extend(more),
                ChatEvent::Text(piece) => outcome.text.push_str(&piece),
                ChatEvent::Reasoning(piece) => outcome.reasoning.push_str(&piece),
                ChatEvent::ToolCall(_) if one_call && !outcome.calls.is_empty() => {}
                ChatEvent::ToolCall(call) => outcome.calls.push(call),
                ChatEvent::Done { finish, usage } => {
                    outcome.finish = finish;
                    outcome.usage = usage;
                    return Ok(outcome);
                }
            }
        }
    }
}
