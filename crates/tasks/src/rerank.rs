//! Reranking: how well a text answers a query.

use std::sync::Arc;

use crate::Task;

/// Reranking: a pair of texts in, one score out. A request of many contexts is many jobs.
pub struct Rerank;

impl Task for Rerank {
    type Request = RerankRequest;
    type Event = Relevance;
    const NAME: &'static str = "Reranking";
}

/// A query and one text that may answer it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RerankRequest {
    /// The query, which the jobs of one request share.
    pub query: Arc<str>,
    /// The text.
    pub context: String,
    /// The window of the pair in tokens; longer pairs are cut.
    pub window: u32,
}

/// How well the text answers the query.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Relevance {
    /// The sigmoid of the model's logit, 0 to 1.
    pub score: f32,
    /// Tokens that were read.
    pub tokens: u32,
    /// Tokens that were cut off.
    pub truncated: u32,
}
