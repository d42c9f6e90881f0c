//! `/client/v4/accounts/{account}/ai/v1`: the routes that speak OpenAI's dialect. A route is a file.

pub(crate) mod chat;
pub(crate) mod embeddings;
pub(crate) mod responses;

use serde_json::Value;
use tasks::Failure;

/// What callers of a gateway put in front of a model's name.
const PROVIDER: &str = "workers-ai/";

/// The model that a body names.
///
/// # Errors
/// [`Failure::Missing`].
pub(crate) fn model(body: &Value) -> Result<&str, Failure> {
    let name = body["model"].as_str().filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| Failure::Missing("model".into()))?;
    Ok(name.strip_prefix(PROVIDER).unwrap_or(name))
}
