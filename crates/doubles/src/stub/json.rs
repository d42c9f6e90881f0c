//! Instances of JSON Schemas (drafts 7 to 2020-12): one is made from the keywords, and then held
//! against all of them. Whatever a schema says, the work and the size of the instance are bounded.

mod check;
mod generate;
mod number;
mod pattern;
mod text;
mod wanted;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use regex::Regex;
use serde_json::{Value, json};

/// Looks at a schema, or at an item of an instance, that making one instance may take.
const WORK_MAX_STEPS: u32 = 100_000;
/// Looks that a byte of a string costs, as a share: so many bytes are one.
const STRING_BYTES_PER_STEP: usize = 16;
/// The largest compiled pattern, in bytes.
const PATTERN_MAX_BYTES: usize = 512 << 10;
/// Looks that compiling a pattern costs: it grows to more than its letters.
const STEPS_PER_PATTERN: usize = 1000;

/// Why there is no instance.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unmet {
    /// The schema is no JSON.
    #[error("{0}")]
    NoJson(String),
    /// A keyword, a reference or a pattern that is not understood.
    #[error("{0} is not understood")]
    Unknown(String),
    /// Everything that was tried breaks some keyword.
    #[error("nothing was found that satisfies it")]
    Nothing,
    /// It would take too long, or be too large.
    #[error("it asks for more than {WORK_MAX_STEPS} steps")]
    TooMuch,
}

/// An instance of a schema, as text.
pub(super) fn instance(schema: &str) -> Result<String, Unmet> {
    made(&parsed(schema)?)
}

/// An instance of a schema that is an object as well, as text.
pub(super) fn object(schema: &str) -> Result<String, Unmet> {
    let mut schema = parsed(schema)?;
    match &mut schema {
        Value::Object(keywords) if !keywords.contains_key("type") => {
            keywords.insert("type".into(), json!("object"));
        }
        Value::Bool(true) => schema = json!({ "type": "object" }),
        _ => {}
    }
    let instance = made(&schema)?;
    if instance.starts_with('{') {
        Ok(instance)
    } else {
        Err(Unmet::Nothing)
    }
}

fn parsed(schema: &str) -> Result<Value, Unmet> {
    serde_json::from_str(schema).map_err(|error| Unmet::NoJson(error.to_string()))
}

/// With everything that a schema mentions; if that is too much, with what it needs.
fn made(schema: &Value) -> Result<String, Unmet> {
    let full = generate::instance(&Document::new(schema, false));
    let instance = match full {
        Err(Unmet::TooMuch) => generate::instance(&Document::new(schema, true)),
        done => done,
    };
    Ok(instance?.to_string())
}

/// A schema with what its parts refer to, and the steps that are left.
struct Document<'a> {
    root: &'a Value,
    steps: Cell<u32>,
    patterns: RefCell<HashMap<String, Regex>>,
    /// Nothing is made that need not be there.
    is_lean: bool,
}

impl<'a> Document<'a> {
    fn new(root: &'a Value, is_lean: bool) -> Self {
        Self {
            root,
            steps: Cell::new(WORK_MAX_STEPS),
            patterns: RefCell::default(),
            is_lean,
        }
    }

    /// Takes steps.
    fn spend(&self, steps: usize) -> Result<(), Unmet> {
        let left = self.steps.get() as usize;
        let left = left.checked_sub(steps).ok_or(Unmet::TooMuch)?;
        self.steps.set(left as u32);
        Ok(())
    }

    /// Takes the steps of a string.
    fn spend_bytes(&self, bytes: usize) -> Result<(), Unmet> {
        self.spend(bytes / STRING_BYTES_PER_STEP + 1)
    }

    /// Takes the steps of a value, `times` over: of comparing or copying it.
    fn spend_value(&self, value: &Value, times: usize) -> Result<(), Unmet> {
        self.spend(size(value).saturating_mul(times))
    }

    /// What a `$ref` means: the document, or a place in it by its JSON Pointer (RFC 6901).
    fn resolve(&self, reference: &str) -> Result<&'a Value, Unmet> {
        self.spend(1)?;
        let unknown = || Unmet::Unknown(format!("the reference {reference}"));
        let pointer = reference.strip_prefix('#').ok_or_else(unknown)?;
        let pointer = percent_decoded(pointer).ok_or_else(unknown)?;
        self.root.pointer(&pointer).ok_or_else(unknown)
    }

    fn matches(&self, pattern: &str, text: &str) -> Result<bool, Unmet> {
        self.spend_bytes(text.len())?;
        if let Some(compiled) = self.patterns.borrow().get(pattern) {
            return Ok(compiled.is_match(text));
        }
        self.spend(STEPS_PER_PATTERN)?;
        let compiled = regex::RegexBuilder::new(pattern)
            .size_limit(PATTERN_MAX_BYTES)
            .build()
            .map_err(|_| Unmet::Unknown(format!("the pattern {pattern}")))?;
        let is_match = compiled.is_match(text);
        self.patterns
            .borrow_mut()
            .insert(pattern.to_owned(), compiled);
        Ok(is_match)
    }
}

/// The steps of a value.
fn size(value: &Value) -> usize {
    let of_text = |text: &str| text.len() / STRING_BYTES_PER_STEP + 1;
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 1,
        Value::String(text) => of_text(text),
        Value::Array(items) => 1 + items.iter().map(size).sum::<usize>(),
        Value::Object(members) => {
            let members = members.iter();
            1 + members
                .map(|(name, value)| of_text(name) + size(value))
                .sum::<usize>()
        }
    }
}

/// The text behind `%20` and the like; `None` where it is no UTF-8.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = (*first == b'%').then(|| after.get(..2)).flatten();
        let hex = hex.and_then(|hex| std::str::from_utf8(hex).ok());
        if let Some(byte) = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            bytes.push(byte);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}
