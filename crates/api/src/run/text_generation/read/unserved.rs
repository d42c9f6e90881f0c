//! What the chat dialect can ask for and no engine here can do. One table; README names the same.

use serde_json::Value;
use tasks::Failure;

use crate::run::fields::unserved;

/// Answers that one request may ask for (`n`); each is a job of its own.
pub(super) const CHOICES_MAX: u64 = 8;

/// Whether an input asks for something.
type IsAsked = fn(&Value) -> bool;

/// Names, as they are told to callers, and whether an input asks for them.
const ROWS: [(&str, IsAsked); 6] = [
    ("audio", |input| input["audio"].is_object()),
    ("modalities with audio", |input| {
        let kinds = input["modalities"].as_array();
        kinds.is_some_and(|kinds| kinds.iter().any(|kind| kind != "text"))
    }),
    ("n above 8", |input| {
        input["n"].as_f64().is_some_and(|n| n > CHOICES_MAX as f64)
    }),
    ("prediction", |input| input["prediction"].is_object()),
    ("web_search_options", |input| {
        input["web_search_options"].is_object()
    }),
    ("chat_template_kwargs.force_nonempty_content", |input| {
        input["chat_template_kwargs"]["force_nonempty_content"] == true
    }),
];

/// # Errors
/// [`Failure::Unsupported`], with the name of the first that is asked for.
pub(super) fn refuse(input: &Value) -> Result<(), Failure> {
    match ROWS.iter().find(|(_, is_asked)| is_asked(input)) {
        Some((name, _)) => Err(unserved(name)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_names_every_row() {
        let readme = include_str!("../../../../../../README.md").replace('`', "");
        let words: Vec<_> = readme.split_whitespace().collect();
        let readme = words.join(" ");
        for (name, _) in ROWS {
            assert!(readme.contains(name), "{name}");
        }
    }
}
