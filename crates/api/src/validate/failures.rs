//! What failed on the way, for the list of a later message: each text once, in order.

use std::collections::HashSet;
use std::rc::Rc;

/// Distinct texts that are listed. The original has no such bound; a body of millions of bad items
/// would make a message of gigabytes.
const LISTED_MAX: usize = 1_000;
/// Bytes of listed texts after which nothing more is listed, for the same reason: a text repeats what
/// the client sent.
const LISTED_MAX_BYTES: usize = 1024 * 1024;

/// The texts of branches that failed.
#[derive(Debug, Default)]
pub(super) struct Failures {
    list: Vec<Rc<str>>,
    known: HashSet<Rc<str>>,
    bytes: usize,
}

impl Failures {
    pub(super) fn keep(&mut self, text: &str) {
        let is_full = self.list.len() >= LISTED_MAX || self.bytes >= LISTED_MAX_BYTES;
        if is_full || self.known.contains(text) {
            return;
        }
        let text: Rc<str> = text.into();
        self.bytes += text.len();
        self.known.insert(Rc::clone(&text));
        self.list.push(text);
    }

    /// The list behind a message, with what separates the two; empty where nothing failed.
    pub(super) fn after_message(&self) -> String {
        if self.list.is_empty() {
            String::new()
        } else {
            format!(": {}", self.list.join(", "))
        }
    }
}
