//! The contract's worked examples, to the letter: class, input, and what becomes of it.

use serde_json::Value;

use super::validate;
use crate::run::classes;

/// A line each: class, input, `becomes` or `fails`, the input with its defaults or the message.
const WORKED: &str = include_str!("examples/worked.tsv");
/// The contract's own count of its examples.
const WORKED_COUNT: usize = 96;

/// What the class makes of an input.
fn verdict(class: &str, input: &str) -> (&'static str, String) {
    let mut value: Value = serde_json::from_str(input).unwrap();
    let class = classes::of(class).unwrap_or_else(|| panic!("no class {class}"));
    match validate(&class.input, &mut value) {
        Ok(()) => ("becomes", value.to_string()),
        Err(message) => ("fails", message),
    }
}

#[test]
fn worked_examples_give_the_services_texts() {
    let mut count = 0;
    for line in WORKED.lines() {
        let fields: Vec<_> = line.split('\t').collect();
        let [class, input, kind, text] = fields[..] else {
            panic!("{line}");
        };
        assert_eq!(
            verdict(class, input),
            (kind, text.to_owned()),
            "{class} {input}"
        );
        count += 1;
    }
    assert_eq!(count, WORKED_COUNT);
}
