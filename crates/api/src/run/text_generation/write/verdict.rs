//! The moderator's answers: words of the model, or the same as JSON.

use serde_json::{Value, json};
use tasks::Usage;

use crate::run::text_generation::outcome::Outcome;
use crate::run::text_generation::usage::UsageWords;

pub(super) fn write(as_json: bool, outcomes: Vec<Outcome>, usage: Usage) -> Value {
    let text: String = outcomes.into_iter().map(|outcome| outcome.text).collect();
    let text = text.trim_matches('\n');
    let response = if as_json {
        verdict(text)
    } else {
        Value::String(text.into())
    };
    json!({"response": response, "usage": UsageWords::from(usage)})
}

/// `safe`, or `unsafe` and on the next line the categories.
fn verdict(text: &str) -> Value {
    let mut lines = text.lines().map(str::trim);
    let is_safe = lines.next() == Some("safe");
    let categories: Vec<_> = lines
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .filter(|category| !category.is_empty())
        .collect();
    json!({"safe": is_safe, "categories": if is_safe { Vec::new() } else { categories }})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_a_verdict() {
        for (text, wanted) in [
            ("safe", r#"{"safe":true,"categories":[]}"#),
            (
                "unsafe\nS1,S10",
                r#"{"safe":false,"categories":["S1","S10"]}"#,
            ),
            ("unsafe", r#"{"safe":false,"categories":[]}"#),
            ("", r#"{"safe":false,"categories":[]}"#),
        ] {
            assert_eq!(verdict(text).to_string(), wanted);
        }
    }
}
