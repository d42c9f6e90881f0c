//! Counted tokens, and the wire's words for them.

use catalog::Rate;
use serde::Serialize;
use serde_json::Number;
use tasks::Usage;

use crate::run::{fields, neurons};

/// The usage of older models.
#[derive(Debug, Serialize)]
#[allow(clippy::struct_field_names)] // the wire's own names
pub(super) struct UsageWords {
    prompt_tokens: u32,
    completion_tokens: u32,
    total_tokens: u32,
}

impl From<Usage> for UsageWords {
    fn from(usage: Usage) -> Self {
        Self {
            prompt_tokens: usage.prompt_tokens,
            completion_tokens: usage.completion_tokens,
            total_tokens: usage.prompt_tokens.saturating_add(usage.completion_tokens),
        }
    }
}

/// The usage of newer models.
#[derive(Debug, Serialize)]
pub(super) struct FullUsage {
    #[serde(flatten)]
    words: UsageWords,
    prompt_tokens_details: Details,
    #[serde(skip_serializing_if = "Option::is_none")]
    neurons: Option<Number>,
}

#[derive(Debug, Serialize)]
struct Details {
    cached_tokens: u32,
}

/// Digits behind the point of an answer's neurons.
const WHOLE_DIGITS: i32 = 2;
/// Digits behind the point of the neurons of one chunk, which are few.
const CHUNK_DIGITS: i32 = 3;

impl FullUsage {
    /// Of a whole answer.
    pub(super) fn of(usage: Usage, rate: Option<Rate>) -> Self {
        Self::with_digits(usage, rate, WHOLE_DIGITS)
    }

    /// Of a chunk of a stream: what it added.
    pub(super) fn of_chunk(usage: Usage, rate: Option<Rate>) -> Self {
        Self::with_digits(usage, rate, CHUNK_DIGITS)
    }

    fn with_digits(usage: Usage, rate: Option<Rate>, digits: i32) -> Self {
        let cost = neurons::of_tokens(
            rate,
            usage.prompt_tokens.into(),
            usage.completion_tokens.into(),
        );
        Self {
            words: usage.into(),
            prompt_tokens_details: Details {
                cached_tokens: usage.cached_tokens,
            },
            neurons: cost.neurons.and_then(|neurons| number(neurons, digits)),
        }
    }
}

/// A number as JavaScript writes it: without a point where it is whole.
fn number(value: f64, digits: i32) -> Option<Number> {
    let value = fields::rounded(value, digits);
    if value.fract() == 0.0 && value.abs() < f64::from(u32::MAX) {
        return Some(Number::from(value as u64));
    }
    Number::from_f64(value)
}
