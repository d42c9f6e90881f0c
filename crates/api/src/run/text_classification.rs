//! Text classification: a bare list of labels with their scores, in the order of the checkpoint.

use serde::Serialize;
use serde_json::Value;
use tasks::{Classify, ClassifyRequest, Scored};

use super::answer::{Answer, Content};
use super::fields::{text, window};
use super::{Call, job, neurons};
use crate::errors::Refusal;

/// A label with its score, as the wire has it.
#[derive(Debug, Serialize)]
pub(super) struct Label {
    label: String,
    score: f32,
}

impl From<Scored> for Label {
    fn from(Scored { label, score }: Scored) -> Self {
        Self { label, score }
    }
}

/// Answers a validated input.
pub(super) async fn answer(call: Call<'_>, input: &Value) -> Result<Answer, Refusal> {
    let card = call.card;
    let request = ClassifyRequest {
        text: text(&input["text"], "text")?,
        window: window(card),
    };
    let (classes, served) = job::one::<Classify>(call, request).await?;
    let labels: Vec<_> = classes.scores.into_iter().map(Label::from).collect();
    Ok(Answer {
        content: Content::json(&labels)?,
        served,
        cost: neurons::of_tokens(card.neurons, u64::from(classes.tokens), 0),
        truncated: usize::from(classes.truncated > 0),
    })
}
