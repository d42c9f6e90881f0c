//! Reranking of the class `reranker`: which contexts answer a query best.

use std::sync::Arc;

use catalog::ModelCard;
use serde::Serialize;
use serde_json::Value;
use tasks::{Failure, Rerank, RerankRequest};

use super::answer::{Answer, Content};
use super::embedding::at_most;
use super::fields::{list, number, text, window};
use super::{Call, job, neurons};
use crate::errors::Refusal;

/// Contexts of one request; each is a job.
const REQUEST_MAX_CONTEXTS: usize = 2048;

/// Whether a model of the catalogue's text classification is a reranker.
pub(super) fn serves(card: &ModelCard) -> bool {
    card.schema_class == "reranker"
}

/// Answers a validated input.
pub(super) async fn answer(call: Call<'_>, input: &Value) -> Result<Answer, Refusal> {
    let card = call.card;
    let query: Arc<str> = text(&input["query"], "query")?.into();
    let contexts = list(&input["contexts"], "contexts")?;
    at_most(contexts.len(), "contexts", REQUEST_MAX_CONTEXTS)?;
    let contexts: Vec<_> = contexts
        .iter()
        .map(|context| text(&context["text"], "contexts[].text"))
        .collect::<Result<_, _>>()?;
    let requests = contexts.into_iter().map(|context| RerankRequest {
        query: query.clone(),
        context,
        window: window(card),
    });
    let (scores, served) = job::many::<Rerank>(call, requests).await?.all()?;
    let ranked = scores.iter().enumerate().map(|(id, relevance)| Rank {
        id,
        score: relevance.score,
    });
    let mut response: Vec<_> = ranked.collect();
    response.sort_by(|a, b| b.score.total_cmp(&a.score));
    if let Some(most) = number(input, "top_k") {
        response.truncate(most as usize);
    }
    let tokens = scores.iter().map(|score| u64::from(score.tokens)).sum();
    Ok(Answer {
        content: write(response)?,
        served,
        cost: neurons::of_tokens(card.neurons, tokens, 0),
        truncated: scores.iter().filter(|score| score.truncated > 0).count(),
    })
}

/// A context's place in the list and its score.
#[derive(Debug, Serialize)]
struct Rank {
    id: usize,
    score: f32,
}

fn write(response: Vec<Rank>) -> Result<Content, Failure> {
    #[derive(Serialize)]
    struct Output {
        response: Vec<Rank>,
    }
    Content::json(&Output { response })
}
