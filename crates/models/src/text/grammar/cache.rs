//! Grammars that were read, for requests that ask for the same again.

use std::sync::{Arc, Mutex, PoisonError};

use llguidance::Matcher;
use llguidance::toktrie::SimpleVob;

use super::held::Held;

/// Grammars that are kept, and the sum of their texts in bytes. What was read of a text takes some hundred times its
/// size, and with it stay the states of its lexer up to the first mask: tens of megabytes at the worst.
const GRAMMARS_MAX: usize = 8;
const TEXTS_MAX_BYTES: usize = 256 << 10;

/// A grammar before its first token.
pub(in crate::text) struct Grammar {
    pub(super) matcher: Matcher,
    /// Of the first token.
    pub(super) mask: SimpleVob,
}

impl Grammar {
    /// For another answer.
    pub(in crate::text) fn again(&self) -> Self {
        Self {
            matcher: self.matcher.deep_clone(),
            mask: self.mask.clone(),
        }
    }

    /// An answer before its first token.
    pub(super) fn begin(&self) -> Held {
        let Self { matcher, mask } = self.again();
        Held::of(matcher, Some(mask))
    }

    /// The same behind tokens; `None` where it does not allow them.
    pub(super) fn behind(&self, tokens: &[u32]) -> Option<Held> {
        let mut matcher = self.matcher.deep_clone();
        let taken = matcher.consume_tokens(tokens);
        taken.ok().map(|()| Held::of(matcher, None))
    }
}

/// Grammars by their texts, the one that was asked for last at the end. A vocabulary has one of these; families write
/// other texts.
#[derive(Default)]
pub(super) struct Cache(Mutex<Vec<(String, Arc<Grammar>)>>);

impl Cache {
    pub(super) fn find(&self, text: &str) -> Option<Grammar> {
        // Copied when the lock is free again: a grammar can be large.
        let found = {
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let place = kept.iter().position(|(known, _)| known == text)?;
            let found = kept.remove(place);
            let grammar = found.1.clone();
            kept.push(found);
            grammar
        };
        Some(found.again())
    }

    pub(super) fn keep(&self, text: String, grammar: &Grammar) {
        if text.len() > TEXTS_MAX_BYTES {
            return;
        }
        let grammar = Arc::new(grammar.again());
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(known, _)| *known != text);
        kept.push((text, grammar));
        let mut bytes: usize = kept.iter().map(|(text, _)| text.len()).sum();
        while kept.len() > GRAMMARS_MAX || bytes > TEXTS_MAX_BYTES {
            bytes -= kept.remove(0).0.len();
        }
    }
}
