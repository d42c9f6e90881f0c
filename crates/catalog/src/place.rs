//! Where in the file something is wrong: from a range of bytes to the line and the key.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The most of a line that a message shows, in characters.
const LINE_SHOWN_MAX_CHARS: usize = 120;

/// Something in a catalogue file that cannot be used: where it is, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{origin}:{line}: {}{problem}", shown(key))]
pub struct CatalogError {
    /// The file, as the caller named it.
    pub origin: String,
    /// The line, counted from 1.
    pub line: usize,
    /// The key, such as `model."@cf/x/y".context_window`; empty where the text is no TOML.
    pub key: String,
    /// What is wrong with it.
    pub problem: String,
}

fn shown(key: &str) -> String {
    if key.is_empty() {
        String::new()
    } else {
        format!("{key}: ")
    }
}

/// A catalogue file that is being read.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) origin: &'a str,
    pub(crate) text: &'a str,
}

impl Place<'_> {
    /// What was written at `span` cannot be used.
    pub(crate) fn wrong(self, span: Range<usize>, problem: impl Into<String>) -> CatalogError {
        CatalogError {
            origin: self.origin.to_owned(),
            line: self.line(span.start),
            key: self.key(&span),
            problem: problem.into(),
        }
    }

    /// The entry whose name is at `span` lacks `key`.
    pub(crate) fn missing(self, span: Range<usize>, key: &str) -> CatalogError {
        let mut error = self.wrong(span, "is missing");
        error.key = joined(&error.key, key);
        error
    }

    /// The text is no TOML. No key can be told for certain, so the line itself is shown.
    pub(crate) fn not_toml(self, error: &toml::de::Error) -> CatalogError {
        let line = self.line(error.span().unwrap_or(0..0).start);
        let text = self.text.lines().nth(line - 1).unwrap_or_default().trim();
        let shown: String = text.chars().take(LINE_SHOWN_MAX_CHARS).collect();
        CatalogError {
            origin: self.origin.to_owned(),
            line,
            key: String::new(),
            problem: format!("{}, in `{shown}`", error.message().trim()),
        }
    }

    /// The text is TOML, but its keys and types are not those of a catalogue.
    pub(crate) fn not_ours(self, error: &toml::de::Error) -> CatalogError {
        self.wrong(error.span().unwrap_or(0..0), error.message().trim())
    }

    fn line(self, offset: usize) -> usize {
        let before = self.text.as_bytes().iter().take(offset);
        before.filter(|byte| **byte == b'\n').count() + 1
    }

    /// The key whose name or value is the smallest that covers the start of `span`. The text is parsed once more,
    /// because this is only asked for the one error that is told.
    fn key(self, span: &Range<usize>) -> String {
        let Ok(root) = DeTable::parse(self.text) else {
            return String::new();
        };
        let mut nearest = Nearest {
            offset: span.start,
            length: usize::MAX,
            key: String::new(),
        };
        nearest.table("", root.get_ref());
        nearest.key
    }
}

/// The smallest key or value found so far that covers an offset.
struct Nearest {
    offset: usize,
    length: usize,
    key: String,
}

impl Nearest {
    fn table(&mut self, parent: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let key = joined(parent, name.get_ref());
            self.try_span(&name.span(), &key);
            self.value(&key, value);
        }
    }

    fn value(&mut self, key: &str, value: &Spanned<DeValue<'_>>) {
        self.try_span(&value.span(), key);
        match value.get_ref() {
            DeValue::Table(table) => self.table(key, table),
            DeValue::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.value(&format!("{key}[{index}]"), item);
                }
            }
            _ => {}
        }
    }

    /// At equal lengths the later, deeper one is taken: a table is given the span of its own header's last key.
    fn try_span(&mut self, span: &Range<usize>, key: &str) {
        if span.contains(&self.offset) && span.len() <= self.length {
            self.length = span.len();
            key.clone_into(&mut self.key);
        }
    }
}

/// `parent.name`, with quotes where TOML asks for them.
fn joined(parent: &str, name: &str) -> String {
    let bare = !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    let name = if bare {
        name.to_owned()
    } else {
        format!("{name:?}")
    };
    if parent.is_empty() {
        name
    } else {
        format!("{parent}.{name}")
    }
}
