//! Summarization: a long text in, a short one out.

use serde::Serialize;
use serde_json::Value;
use tasks::{Summarize, SummarizeRequest};

use super::answer::{Answer, Content};
use super::fields::{count, text};
use super::{Call, job, neurons};
use crate::errors::Refusal;

/// Tokens of a summary where the request names none, as the schema has it.
const DEFAULT_MAX_TOKENS: u32 = 1024;

/// Answers a validated input.
pub(super) async fn answer(call: Call<'_>, input: &Value) -> Result<Answer, Refusal> {
    #[derive(Serialize)]
    struct Output<'a> {
        summary: &'a str,
    }
    let card = call.card;
    let request = SummarizeRequest {
        text: text(&input["input_text"], "input_text")?,
        max_tokens: count(input, "max_length")?.unwrap_or(DEFAULT_MAX_TOKENS),
        window: card.context_window.unwrap_or(u32::MAX),
    };
    let (summary, served) = job::one::<Summarize>(call, request).await?;
    let (read, written) = (summary.prompt_tokens, summary.completion_tokens);
    Ok(Answer {
        content: Content::json(&Output {
            summary: &summary.text,
        })?,
        served,
        cost: neurons::of_tokens(card.neurons, read.into(), written.into()),
        truncated: usize::from(summary.truncated > 0),
    })
}
