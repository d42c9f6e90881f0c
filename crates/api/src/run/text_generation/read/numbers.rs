//! Numbers of fields that the validator lets through whatever they are.

use std::ops::RangeInclusive;

use serde_json::Value;
use tasks::Failure;

use crate::run::fields;

/// A number within bounds; `None` where there is none, or `null`.
///
/// # Errors
/// [`Failure::BadInput`].
pub(super) fn within(
    input: &Value,
    name: &str,
    range: RangeInclusive<f64>,
) -> Result<Option<f64>, Failure> {
    match input.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_f64() {
            Some(number) if range.contains(&number) => Ok(Some(number)),
            _ => Err(Failure::BadInput(format!(
                "{name} is no number from {} to {}",
                range.start(),
                range.end()
            ))),
        },
    }
}

/// The most tokens to generate, from the first of these fields that has a number.
///
/// # Errors
/// [`Failure::BadInput`] for numbers below 1, and for what is no number.
pub(super) fn max_tokens(input: &Value, names: &[&str]) -> Result<Option<u32>, Failure> {
    for name in names {
        if let Some(number) = within(input, name, 1.0..=f64::MAX)? {
            return Ok(Some(number as u32)); // saturates; every window is smaller
        }
    }
    Ok(None)
}

/// A seed: any whole number.
///
/// # Errors
/// [`Failure::BadInput`].
pub(super) fn seed(input: &Value) -> Result<Option<u64>, Failure> {
    match input.get("seed") {
        None | Some(Value::Null) => Ok(None),
        Some(_) => {
            let seed = fields::seed(input);
            let no_number = || Failure::BadInput("seed is no number".into());
            Ok(Some(seed.ok_or_else(no_number)?))
        }
    }
}
