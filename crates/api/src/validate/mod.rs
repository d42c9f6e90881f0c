//! Validation of inputs with the verdicts, the messages and the defaults of the service's own
//! validator (`@cloudflare/cabidela` 0.2.4 with defaults applied and full errors), quirks included:
//! clients see its texts as error 5006.

#[cfg(test)]
mod examples;
mod failures;
mod javascript;
mod pattern;
mod schema;
#[cfg(test)]
mod texts;
mod value;
mod walk;

pub use schema::Schema;
use serde_json::Value;

/// Checks `input` against `schema` and writes its defaults into it.
///
/// # Errors
/// The validator's message, as it follows `Error: ` on the wire. The input is then of no more use.
pub fn validate(schema: &Schema, input: &mut Value) -> Result<(), String> {
    walk::Walk::over(input).check(schema)
}
